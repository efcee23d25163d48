"""Images per second of training: this library, the usual Keras loop and a PyTorch twin.

    python benchmarks/training.py       # ours and the usual loop, 80 × 48, batch 32
    python -m venv /tmp/twin && /tmp/twin/bin/pip install torch      # the twin needs PyTorch
    python benchmarks/training.py --torch /tmp/twin/bin/python --doublings 4 5

On one NVIDIA GPU (JAX engine against the twin under torch.compile, both in bfloat16; an H200's peak
and bandwidth):

    export KERAS_BACKEND=jax XLA_PYTHON_CLIENT_PREALLOCATE=false
    python benchmarks/training.py --torch /tmp/twin/bin/python --only ours torch --profile paper \\
        --doublings 6 7 --precision mixed_bfloat16 --compile --steps 50 \\
        --peak-tflops 989 --bandwidth-tb 4.8

Every contestant is one process that stays; they take turns, one round each, so that a busy machine
is busy for all. The same layers and widths, the paper's recipe, random images of the same size. A
ratio is of two rounds of the same turn; shown are the median over the turns, the smallest and the
largest.

The usual loop is what most Keras GANs do: two compiled models, `predict`, three `train_on_batch`
calls, plain Keras layers, in the variant that does train the discriminator (its `trainable` is
switched round each call). Once that is found to have moved both networks, it is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
EXAMS, EPOCHS = 1606, 300  # the paper's training
CONTESTANTS = ("ours", "unkept", "cut", "plain", "usual", "torch")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="teach", help="whose channel widths")
    parser.add_argument("--doublings", type=int, nargs="+", default=[4])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", default="float32", choices=("float32", "mixed_bfloat16"))
    parser.add_argument("--steps", type=int, default=10, help="steps per round")
    parser.add_argument("--turns", type=int, default=7, help="rounds of each contestant")
    parser.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count(),
        help="of cut, usual and torch; ours has what engine.prepare chooses",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=CONTESTANTS,
        default=["ours", "usual", "torch"],
        help="ours without engine.keep_memory (unkept), its threads (cut), its layers (plain)",
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has PyTorch")
    parser.add_argument("--compile", action="store_true", help="the twin under torch.compile")
    parser.add_argument(
        "--peak-tflops", type=float, help="the card's peak in that precision, for its roofline"
    )
    parser.add_argument("--bandwidth-tb", type=float, help="the card's memory bandwidth, TB/s")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--json", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if min(given.steps, given.turns, given.batch_size, *given.doublings) < 1:
        parser.error("--steps, --turns, --batch-size and --doublings are numbers from 1.")
    return given


def configuration(s):
    """The settings of a contest as a `Config`: the paper's recipe at another size."""
    from radiogan_lib import config

    return config.load(
        s["profile"],
        recipe="paper",
        doublings=s["doublings"],
        batch_size=s["batch_size"],
        precision=s["precision"],
    )


def settings(given: argparse.Namespace, doublings: int) -> dict:
    """What every contestant is told, as plain values; the twin reads layer widths from it."""
    from radiogan_lib.gan import networks

    s = {
        "profile": given.profile,
        "doublings": doublings,
        "batch_size": given.batch_size,
        "precision": given.precision,
        "steps": given.steps,
        "threads": given.threads,
        "compile": given.compile,
    }
    cfg = configuration(s)
    return s | {
        "canvas": cfg.canvas,
        "noise_dim": cfg.noise_dim,
        "embedding_dim": cfg.embedding_dim,
        "dropout": cfg.dropout,
        "generator_kernel": cfg.generator_kernel,
        "generator_channels": min(cfg.generator_channels, cfg.max_channels),
        "generator_widths": networks.generator_widths(cfg),
        "discriminator_widths": networks.discriminator_widths(cfg),
    }


WARM_UP = 2  # rounds that are not timed


def clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def told(since: tuple[float, float]) -> None:
    """Print what a round took: wall clock, and CPU of all threads."""
    wall, cpu = clock()
    print(json.dumps([wall - since[0], cpu - since[1]]), flush=True)


def rounds(play) -> None:
    """Warm up, then play one round per line of input and print its seconds."""
    for _ in range(WARM_UP):
        play()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = clock()
        play()
        told(start)


def ours(s: dict, images, labels) -> None:
    """One training as in `gan.train`; every epoch is a round and waits for its line of input."""
    import keras

    from radiogan_lib.gan import engine, radiogan, training

    if s["plain"]:
        plain_layers()
    model = radiogan.compiled(configuration(s), 5)
    batches = training.Batches(images, labels, s["batch_size"], seed=0)

    class Turns(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == WARM_UP:
                print("ready", flush=True)
            if epoch >= WARM_UP and not sys.stdin.readline():
                raise EOFError
            self.start = clock()

        def on_train_batch_begin(self, batch, logs=None):
            if batch == 0 and not s["give_back"]:
                engine.keep_memory()  # as `gan.train` does

        def on_epoch_end(self, epoch, logs=None):
            if epoch >= WARM_UP:
                told(self.start)

    with contextlib.suppress(EOFError):
        model.fit(
            batches,
            epochs=10**6,
            steps_per_epoch=s["steps"],
            shuffle=False,
            verbose=0,
            callbacks=[Turns()],
        )


def plain_layers() -> None:
    """Keras' own layers in the place of ours."""
    import keras

    from radiogan_lib.gan import engine

    engine.BatchNormalization = keras.layers.BatchNormalization
    engine.Dropout = keras.layers.Dropout


def usual(s: dict, images, labels):
    import keras
    import numpy as np

    from radiogan_lib.gan import networks

    plain_layers()
    cfg, b, rng = configuration(s), s["batch_size"], np.random.default_rng(0)
    generator, discriminator = networks.build_generator(cfg), networks.build_discriminator(cfg)
    loss, adam = (
        keras.losses.BinaryCrossentropy(from_logits=True),
        dict(learning_rate=2e-4, beta_1=0.5),
    )
    discriminator.compile(keras.optimizers.Adam(**adam), loss, metrics=["accuracy"])
    discriminator.trainable = False
    z, y = keras.Input((cfg.noise_dim,)), keras.Input((), dtype="int32")
    combined = keras.Model([z, y], discriminator([generator([z, y]), y]))
    combined.compile(keras.optimizers.Adam(**adam), loss)
    one, zero = np.ones((b, 1), "float32"), np.zeros((b, 1), "float32")

    def play():
        for i in range(s["steps"]):
            x, label = images[i * b : (i + 1) * b], labels[i * b : (i + 1) * b]
            noise = rng.standard_normal((b, cfg.noise_dim)).astype("float32")
            fake = generator.predict([noise, label], batch_size=b, verbose=0)
            discriminator.trainable = True
            discriminator.train_on_batch([x, label], one)
            discriminator.train_on_batch([fake, label], zero)
            discriminator.trainable = False
            combined.train_on_batch([noise, label], one)

    before = [
        np.array(m.get_layer(n).kernel) for m, n in ((generator, "up1"), (discriminator, "down1"))
    ]
    play()
    after = [
        np.array(m.get_layer(n).kernel) for m, n in ((generator, "up1"), (discriminator, "down1"))
    ]
    if any((a == b).all() for a, b in zip(before, after, strict=True)):
        sys.exit(
            "the usual loop left one of its networks untrained: it would be timed for less work."
        )
    return play


def contest(name: str, s: dict) -> None:
    """Be one Keras contestant."""
    if name in ("cut", "usual"):
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(s["threads"])
    import numpy as np

    n = s["batch_size"] * s["steps"]
    images = np.random.default_rng(0).uniform(-1, 1, (n, *s["canvas"], 1)).astype("float32")
    labels = (np.arange(n) % 5).astype("int32")
    if name == "usual":
        rounds(usual(s, images, labels))
    else:
        ours(s | {"give_back": name == "unkept", "plain": name == "plain"}, images, labels)


def least_seconds(s: dict, peak_tflops: float, bandwidth_tb: float) -> float:
    """The roofline of one step: no machine with this peak and bandwidth is faster, however good its
    program.

    Multiplications of the convolutions, and every convolution's input and output once through
    memory, for the passes of a
    step: the generator forward and twice back; the discriminator that for real and for fake images,
        and forward and once back for the generator's sake.
    """
    b, kernel, size = (
        s["batch_size"],
        s["generator_kernel"],
        2 if s["precision"] == "mixed_bfloat16" else 4,
    )
    flops = traffic = 0.0
    rows, columns, before = 5, 3, s["generator_channels"] + 1
    for width in s["generator_widths"]:
        flops += 3 * 2 * b * rows * columns * kernel**2 * before * width
        traffic += 3 * b * size * rows * columns * (before + 4 * width)
        rows, columns, before = 2 * rows, 2 * columns, width
    flops += 3 * 2 * b * rows * columns * 9 * before
    traffic += 3 * b * size * rows * columns * (before + 1)
    before = 2
    for width in s["discriminator_widths"]:
        flops += 8 * 2 * b * rows // 2 * columns // 2 * 9 * before * width
        traffic += 8 * b * size * rows * columns * (before + width / 4)
        rows, columns, before = rows // 2, columns // 2, width
    return max(flops / (peak_tflops * 1e12), traffic / (bandwidth_tb * 1e12))


def show(s: dict, seconds: dict[str, list], given: argparse.Namespace) -> None:
    n = s["batch_size"] * s["steps"]
    for name, found in seconds.items():
        rate = [n / wall for wall, _ in found]
        ratio = sorted(
            theirs[0] / mine[0] for theirs, mine in zip(found, seconds["ours"], strict=True)
        )
        faster = (
            f"{statistics.median(ratio):6.2f} x ({ratio[0]:.2f} to {ratio[-1]:.2f})"
            if name != "ours"
            else ""
        )
        print(
            f"{s['canvas'][0]:>4} x {s['canvas'][1]:<4}{name:>8} "
            f"{statistics.median(rate):9.1f} ({min(rate):.0f} to {max(rate):.0f})".ljust(48)
            + f"{1000 * statistics.median(cpu for _, cpu in found) / n:9.1f}   {faster}",
            flush=True,
        )
        if given.peak_tflops and given.bandwidth_tb:
            share = (
                least_seconds(s, given.peak_tflops, given.bandwidth_tb)
                * s["steps"]
                / statistics.median(w for w, _ in found)
            )
            print(
                f"{'':>20}{share:.1%} of the card's roofline; {EPOCHS} epochs of {EXAMS} exams: "
                f"{EPOCHS * EXAMS / statistics.median(rate) / 60:.1f} min"
            )


def main(arguments: list[str] | None = None) -> None:
    given = parse(arguments)
    if given.contestant:
        return contest(given.contestant, json.loads(given.json))
    if hasattr(os, "getloadavg"):
        print(
            f"{os.cpu_count()} cores, load before the start {os.getloadavg()[0]:.1f}, batch "
            f"{given.batch_size}, {given.turns} turns of "
            f"{given.steps} steps, {given.precision}, engine "
            f"{os.environ.get('KERAS_BACKEND', 'tensorflow')}"
        )
    here, quiet = Path(__file__).parent, {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    print(
        f"{'canvas':>10} {'who':>8} {'img/s':>9} (range)        CPU ms per image   ours is "
        "faster by (range)"
    )
    for doublings in given.doublings:
        s = settings(given, doublings)
        commands = {
            n: [
                sys.executable,
                str(here / "training.py"),
                "--contestant",
                n,
                "--json",
                json.dumps(s),
            ]
            for n in CONTESTANTS[:-1]
        }
        commands["torch"] = [given.torch, str(here / "torch_twin.py"), json.dumps(s)]
        names = [
            n
            for n in commands
            if (n in given.only or n == "ours") and (n != "torch" or given.torch)
        ]
        with contextlib.ExitStack() as stack:
            running = {}
            for n in (
                names
            ):  # one after the other: building and warming up is not timed, and disturbs nobody
                running[n] = stack.enter_context(
                    subprocess.Popen(
                        commands[n],
                        env=quiet,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        text=True,
                    )
                )
                _said(running[n], n)
            seconds: dict[str, list] = {n: [] for n in names}
            for _ in range(given.turns):
                for n, process in running.items():
                    process.stdin.write("\n")
                    process.stdin.flush()
                    seconds[n].append(_said(process, n))
            for process in running.values():
                process.stdin.close()
        show(s, seconds, given)


def _said(process: subprocess.Popen, name: str):
    """The contestant's next answer; chatter of its libraries is passed over."""
    for line in process.stdout:
        if line.startswith(("ready", "[")):
            return json.loads(line) if line.startswith("[") else None
    sys.exit(
        f"{name} stopped with {process.wait()}; run it alone to see "
        f"why:\n{' '.join(process.args[:3])} …"
    )


if __name__ == "__main__":
    main()
