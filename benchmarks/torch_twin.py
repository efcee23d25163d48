"""The paper's GAN in PyTorch, layer by layer what radiogan_lib.gan builds: a contestant of benchmarks/training.py.

Needs PyTorch, which the project itself does not: run it with an interpreter of its own (see benchmarks/training.py --torch).
Reads the settings as JSON from the command line and prints one JSON line with the seconds of each timed round.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


def same(kernel):
    """Padding that halves or doubles exactly (3 → 1 with an output padding, 4 → 1)."""
    return dict(padding=1, output_padding=1) if kernel == 3 else dict(padding=1)


class Generator(nn.Module):
    def __init__(self, s):
        super().__init__()
        c = s["generator_channels"]
        self.wide, self.dense, self.norm = c, nn.Linear(s["noise_dim"], 15 * c, bias=False), nn.BatchNorm2d(c, momentum=0.2)
        self.embedding, self.label = nn.Embedding(5, s["embedding_dim"]), nn.Linear(s["embedding_dim"], 15)
        blocks, before = [], c + 1
        for width in s["generator_widths"]:
            blocks += [nn.ConvTranspose2d(before, width, s["generator_kernel"], 2, bias=False, **same(s["generator_kernel"])),
                       nn.BatchNorm2d(width, momentum=0.2), nn.ReLU()]
            before = width
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(before, 1, 3, 1, 1), nn.Tanh())

    def forward(self, z, y):
        x = self.norm(self.dense(z).view(-1, self.wide, 5, 3))
        return self.blocks(torch.cat([x, self.label(self.embedding(y)).view(-1, 1, 5, 3)], 1))


class Discriminator(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.size = s["canvas"]
        h, w = self.size
        self.embedding, self.label = nn.Embedding(5, s["embedding_dim"]), nn.Linear(s["embedding_dim"], h * w)
        blocks, before = [], 2
        for k, width in enumerate(s["discriminator_widths"], 1):
            normed = 1 < k < len(s["discriminator_widths"])
            blocks += [nn.Conv2d(before, width, 3, 2, 1, bias=not normed), *([nn.BatchNorm2d(width, momentum=0.2)] if normed else []),
                       nn.LeakyReLU(0.2), nn.Dropout(s["dropout"])]
            before = width
        self.blocks = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(15 * before, 1))

    def forward(self, x, y):
        return self.blocks(torch.cat([x, self.label(self.embedding(y)).view(-1, 1, *self.size)], 1))


def main():
    s = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(s["threads"])
    form = torch.channels_last
    generator, discriminator = Generator(s).to(memory_format=form), Discriminator(s).to(memory_format=form)
    adam = {n: torch.optim.Adam(m.parameters(), 2e-4, (0.5, 0.999), fused=True) for n, m in (("g", generator), ("d", discriminator))}
    b = s["batch_size"]
    images = torch.rand(b, 1, *s["canvas"]).mul(2).sub(1).to(memory_format=form)
    y, one, zero = torch.arange(b) % 5, torch.ones(b, 1), torch.zeros(b, 1)

    def step():
        fake = generator(torch.randn(b, s["noise_dim"]), y)
        adam["d"].zero_grad(set_to_none=True)
        d = (F.binary_cross_entropy_with_logits(discriminator(images, y), one)
             + F.binary_cross_entropy_with_logits(discriminator(fake.detach(), y), zero)) / 2
        d.backward()
        discriminator.requires_grad_(False)  # the generator's look needs no gradient of these weights
        adam["g"].zero_grad(set_to_none=True)
        F.binary_cross_entropy_with_logits(discriminator(fake, y), one).backward()
        discriminator.requires_grad_(True)
        adam["d"].step()
        adam["g"].step()

    for _ in range(5):
        step()
    rounds = []
    for _ in range(s["rounds"]):
        started = time.perf_counter()
        for _ in range(s["steps"]):
            step()
        rounds.append(time.perf_counter() - started)
    print(json.dumps(rounds))


if __name__ == "__main__":
    main()
