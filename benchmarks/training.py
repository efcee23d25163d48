"""Images per second of training: this library, the usual Keras loop, and a PyTorch twin, side by side on this machine.

    python benchmarks/training.py                                    # ours and the usual loop, 80 × 48, batch 32
    python -m venv /tmp/twin && /tmp/twin/bin/pip install torch      # the twin needs an interpreter with PyTorch
    python benchmarks/training.py --torch /tmp/twin/bin/python --doublings 4 5
    KERAS_BACKEND=jax python benchmarks/training.py --torch … --doublings 6 7    # on a GPU

Each contestant runs in a process of its own, in turns, so that a busy machine is busy for all; the paper's recipe, the
`teach` widths, the same random images. The usual loop is two compiled models with `train_on_batch` and `predict`, plain
Keras layers, in the variant that does train the discriminator. Ratios are of medians, with the smallest and largest round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path


def settings(doublings: int, batch_size: int, steps: int, rounds: int, threads: int) -> dict:
    from radiogan_lib import config
    from radiogan_lib.gan import networks
    cfg = config.load("teach", recipe="paper", doublings=doublings, batch_size=batch_size)
    return {"doublings": doublings, "batch_size": batch_size, "steps": steps, "rounds": rounds, "threads": threads, "canvas": cfg.canvas,
            "noise_dim": cfg.noise_dim, "embedding_dim": cfg.embedding_dim, "generator_kernel": cfg.generator_kernel,
            "dropout": cfg.dropout, "generator_channels": min(cfg.generator_channels, cfg.max_channels),
            "generator_widths": networks.generator_widths(cfg), "discriminator_widths": networks.discriminator_widths(cfg)}


def contest(name: str, s: dict) -> None:
    """Run one Keras contestant in this process and print the seconds of each round."""
    import keras
    import numpy as np

    from radiogan_lib import config
    from radiogan_lib.gan import fast, networks, radiogan
    cfg = config.load("teach", recipe="paper", doublings=s["doublings"], batch_size=s["batch_size"])
    b, rng, rounds = s["batch_size"], np.random.default_rng(0), []
    images = rng.uniform(-1, 1, (b * s["steps"], *cfg.canvas, 1)).astype("float32")
    labels = (np.arange(len(images)) % 5).astype("int32")
    if name == "ours":
        game = radiogan.compiled(cfg, 5)

        def play():
            game.fit((images, labels), batch_size=b, shuffle=False, verbose=0)
    else:
        fast.BatchNormalization, fast.Dropout = keras.layers.BatchNormalization, keras.layers.Dropout
        generator, discriminator = networks.build_generator(cfg), networks.build_discriminator(cfg)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        discriminator.compile(keras.optimizers.Adam(2e-4, beta_1=0.5), loss, metrics=["accuracy"])
        discriminator.make_train_function()
        twin = keras.models.clone_model(discriminator)  # frozen copy of the combined model: the flag must not reach the first
        twin.trainable = False
        z, y = keras.Input((cfg.noise_dim,)), keras.Input((), dtype="int32")
        combined = keras.Model([z, y], twin([generator([z, y]), y]))
        combined.compile(keras.optimizers.Adam(2e-4, beta_1=0.5), loss)
        one, zero = np.ones((b, 1), "float32"), np.zeros((b, 1), "float32")

        def play():
            for i in range(s["steps"]):
                x, label = images[i * b:(i + 1) * b], labels[i * b:(i + 1) * b]
                noise = rng.standard_normal((b, cfg.noise_dim)).astype("float32")
                fake = generator.predict([noise, label], batch_size=b, verbose=0)
                discriminator.train_on_batch([x, label], one)
                discriminator.train_on_batch([fake, label], zero)
                twin.set_weights(discriminator.get_weights())
                combined.train_on_batch([noise, label], one)
    play()
    play()
    for _ in range(s["rounds"]):
        started = time.perf_counter()
        play()
        rounds.append(time.perf_counter() - started)
    print(json.dumps(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--doublings", type=int, nargs="+", default=[4])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="steps per round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has PyTorch")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--json", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        return contest(given.contestant, json.loads(given.json))
    here, quiet = Path(__file__).parent, {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    print(f"{'canvas':>10} {'contestant':>12} {'img/s':>8} {'range':>15} {'ours is':>9}")
    for doublings in given.doublings:
        s = settings(doublings, given.batch_size, given.steps, given.rounds, given.threads)
        commands = {n: [sys.executable, str(here / "training.py"), "--contestant", n, "--json", json.dumps(s)] for n in ("ours", "usual")}
        if given.torch:
            commands["torch"] = [given.torch, str(here / "torch_twin.py"), json.dumps(s)]
        seconds: dict[str, list] = {n: [] for n in commands}
        for _ in range(given.turns):
            for name, command in commands.items():
                out = subprocess.run(command, env=quiet, capture_output=True, text=True)
                if out.returncode:
                    sys.exit(f"{name} failed:\n{out.stderr[-2000:]}")
                seconds[name] += json.loads(out.stdout.strip().splitlines()[-1])
        images = s["batch_size"] * s["steps"]
        base = statistics.median(seconds["ours"])
        for name, found in seconds.items():
            rate = [images / t for t in found]
            print(f"{s['canvas'][0]:>5} x {s['canvas'][1]:<3}{name:>12} {images / statistics.median(found):8.0f} "
                  f"{min(rate):7.0f}-{max(rate):<7.0f} {statistics.median(found) / base:8.2f}x", flush=True)


if __name__ == "__main__":
    main()
