"""The paper's GAN in PyTorch, layer by layer what radiogan_lib.gan builds: a contestant of
benchmarks/training.py.

Needs PyTorch, which the project itself does not: run it with an interpreter of its own (see
benchmarks/training.py --torch). Reads the settings as JSON from the command line; plays one round
per line of input and prints its seconds (wall, CPU).
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
        self.wide, self.dense, self.norm = (
            c,
            nn.Linear(s["noise_dim"], 15 * c, bias=False),
            nn.BatchNorm2d(c, momentum=0.2),
        )
        self.embedding, self.label = (
            nn.Embedding(5, s["embedding_dim"]),
            nn.Linear(s["embedding_dim"], 15),
        )
        blocks, before = [], c + 1
        for width in s["generator_widths"]:
            blocks += [
                nn.ConvTranspose2d(
                    before,
                    width,
                    s["generator_kernel"],
                    2,
                    bias=False,
                    **same(s["generator_kernel"]),
                ),
                nn.BatchNorm2d(width, momentum=0.2),
                nn.ReLU(),
            ]
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
        self.embedding, self.label = (
            nn.Embedding(5, s["embedding_dim"]),
            nn.Linear(s["embedding_dim"], h * w),
        )
        blocks, before = [], 2
        for k, width in enumerate(s["discriminator_widths"], 1):
            normed = 1 < k < len(s["discriminator_widths"])
            blocks += [
                nn.Conv2d(before, width, 3, 2, 1, bias=not normed),
                *([nn.BatchNorm2d(width, momentum=0.2)] if normed else []),
                nn.LeakyReLU(0.2),
                nn.Dropout(s["dropout"]),
            ]
            before = width
        self.blocks = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(15 * before, 1))

    def forward(self, x, y):
        return self.blocks(torch.cat([x, self.label(self.embedding(y)).view(-1, 1, *self.size)], 1))


def main():
    s = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(s["threads"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    form, half = torch.channels_last, s["precision"] == "mixed_bfloat16"
    generator, discriminator = (
        m.to(device, memory_format=form) for m in (Generator(s), Discriminator(s))
    )
    adam = {
        n: torch.optim.Adam(m.parameters(), 2e-4, (0.5, 0.999), fused=True)
        for n, m in (("g", generator), ("d", discriminator))
    }
    play_g, play_d = (torch.compile(m) if s["compile"] else m for m in (generator, discriminator))
    b = s["batch_size"]
    data = torch.rand(b * s["steps"], 1, *s["canvas"]).mul(2).sub(1).contiguous(memory_format=form)
    labels = torch.arange(len(data)) % 5
    one, zero = torch.ones(b, 1, device=device), torch.zeros(b, 1, device=device)

    def loss(logit, target):
        return F.binary_cross_entropy_with_logits(logit.float(), target)

    def step(images, y):
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            fake = play_g(torch.randn(b, s["noise_dim"], device=device), y)
            d = (loss(play_d(images, y), one) + loss(play_d(fake.detach(), y), zero)) / 2
        adam["d"].zero_grad(set_to_none=True)
        d.backward()
        discriminator.requires_grad_(
            False
        )  # the generator's look needs no gradient of these weights
        adam["g"].zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            g = loss(play_d(fake, y), one)
        g.backward()
        discriminator.requires_grad_(True)
        adam["d"].step()
        adam["g"].step()

    def play():
        for i in range(0, len(data), b):
            step(
                data[i : i + b].to(device, non_blocking=True),
                labels[i : i + b].to(device, non_blocking=True),
            )
        if device.type == "cuda":
            torch.cuda.synchronize()

    play()
    play()
    print("ready", flush=True)
    for _ in sys.stdin:  # a line of input asks for one round
        wall, cpu = time.perf_counter(), time.process_time()
        play()
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


if __name__ == "__main__":
    main()
