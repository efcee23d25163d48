"""What happens between the epochs of a run: data order, history, pictures, health, checkpoints.

Explained in notebooks/03_training.ipynb.
"""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from radiogan_lib import paths
from radiogan_lib.config import Config, RadioganError
from radiogan_lib.gan import checkpoints, health, memory, sampling
from radiogan_lib.progress import Progress


class TrainingError(RadioganError):
    """A training that cannot go on; the sentence says what to change."""


class Batches(keras.utils.PyDataset):
    """Batches of (images, labels) in an order that depends on seed and epoch only: a resumed run sees the same ones.

    Without end: item `i` lies in epoch `first_epoch + i // len(self)`. Keras then keeps one stream for the whole training; with
    one stream per epoch, TensorFlow takes up to a second between two epochs to end the old one.

    Args:
        images: (n, h, w, 1) grey values.
        labels: (n,) classes.
        balanced: draw every class equally often instead of every exam once.
        first_epoch: what the training starts or continues with.
    """

    def __init__(
        self,
        images,
        labels,
        batch_size: int,
        seed: int,
        balanced: bool = False,
        first_epoch: int = 0,
    ):
        super().__init__(workers=1)
        self.images, self.labels, self.batch_size = (
            images,
            np.asarray(labels, "int32"),
            min(batch_size, len(labels)),
        )
        self.seed, self.balanced, self.first_epoch = seed, balanced, first_epoch
        self.known = (-1, None)

    def order(self, epoch: int) -> np.ndarray:
        """Indices of the exams in the order of this epoch."""
        if self.known[0] != epoch:
            self.known = epoch, self._shuffled(epoch)
        return self.known[1]

    def _shuffled(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.labels))
        if (
            self.balanced
        ):  # each class's exams in a random order, repeated as often as needed; classes take turns
            classes = [order[self.labels[order] == c] for c in np.unique(self.labels)]
            turns = -(-len(order) // len(classes))
            order = np.stack([np.resize(c, turns) for c in classes], 1)
            order = rng.permuted(order, axis=1).reshape(-1)[: len(self.labels)]
        return order

    @property
    def num_batches(self):
        """None is Keras' word for a stream without end; `len` is what an epoch has."""
        return None

    def __len__(self) -> int:
        return (
            len(self.labels) // self.batch_size
        )  # what is left over waits for the next epoch's order

    def __getitem__(self, i: int):
        epoch, turn = divmod(i, len(self))
        chosen = self.order(self.first_epoch + epoch)[
            turn * self.batch_size : (turn + 1) * self.batch_size
        ]
        return ((self.images[chosen], self.labels[chosen]),)


def learning_rate(cfg: Config, epoch: int) -> float:
    """Adam's step in an epoch (0, 1, …): `cfg.learning_rate`, falling in a straight line to its fiftieth over the last
    `cfg.cooldown` of the training. It depends on nothing else, so that a resumed run takes the same steps."""
    left = (cfg.epochs - epoch) / cfg.epochs
    return cfg.learning_rate * (min(1.0, max(0.02, left / cfg.cooldown)) if cfg.cooldown else 1.0)


class Keeper(keras.callbacks.Callback):
    """Keeps a run's folder in step with its training.

    Args:
        run_dir: where to write.
        batches: what it is trained on.
        yardstick: of the health measures, on SUV.
        history: rows of the epochs that are already done.
        checkpoint_seconds: a state is written when this time has passed since the last one, and at the end.
    """

    def __init__(
        self,
        cfg: Config,
        run_dir: Path,
        batches: Batches,
        yardstick: health.Yardstick | None,
        class_names: list[str],
        history: pd.DataFrame,
        checkpoint_seconds: float,
    ):
        super().__init__()
        self.cfg, self.run_dir, self.batches, self.yardstick = (
            cfg,
            Path(run_dir),
            batches,
            yardstick,
        )
        self.names, self.rows, self.pause = (
            class_names,
            history.to_dict("records"),
            checkpoint_seconds,
        )
        self.saved_at = time.monotonic()
        self.saved_epoch = len(self.rows)

    def on_train_begin(self, logs=None):
        self.progress = Progress(
            self.cfg.epochs * len(self.batches), "training", lines=15
        ).__enter__()
        self.progress.update(len(self.rows) * len(self.batches))

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()
        if (
            self.cfg.transitional
        ):  # unconditional first, the condition fades in (Shahbazi et al., ICLR 2022)
            amount = min(1.0, epoch / max(1.0, self.cfg.transitional * self.cfg.epochs))
            for network in (self.model.generator, self.model.discriminator):
                for layer in network.layers:
                    if layer.name.endswith("_fade"):
                        layer.amount.assign(amount)

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            memory.keep()  # here and not earlier: TensorFlow's dataset, made with the first batch, undoes a part of it

    def on_train_batch_end(self, batch, logs=None):
        self.progress.update(1)

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        seconds = time.perf_counter() - self.started
        row = {"epoch": done, "steps": done * len(self.batches)} | {
            k: float(v) for k, v in logs.items() if k != "loss"
        }
        row |= {
            "seconds": round(seconds, 3),
            "images_per_s": round(len(self.batches) * self.batches.batch_size / seconds, 1),
        }
        if not np.isfinite([row["d_loss"], row["g_loss"]]).all():
            raise TrainingError(
                f"the losses became NaN in epoch {done}: lower learning_rate (now {self.cfg.learning_rate:g})"
                f"{', or use precision=float32' if self.cfg.precision != 'float32' else ''}; the state after epoch "
                f"{self.saved_epoch} is kept in {paths.shown(self.run_dir)}."
            )
        if done % self.cfg.samples_every == 0 or done == self.cfg.epochs:
            row |= self._look(done)
        self.rows.append(row)
        self.rows[-1]["health"] = " ".join(health.diagnose(pd.DataFrame(self.rows)).signs) or "ok"
        write_history(self.run_dir, self.rows)
        self.progress.update(
            0, f"D {row['d_loss']:.2f} G {row['g_loss']:.2f} accuracy {row['d_accuracy']:.2f}"
        )
        if done == self.cfg.epochs or time.monotonic() - self.saved_at >= self.pause:
            self.save(done)

    def on_train_end(self, logs=None):
        self.progress.__exit__()

    def save(self, epoch: int) -> None:
        checkpoints.save(self.model, self.run_dir / "checkpoints", epoch)
        self.saved_at, self.saved_epoch = time.monotonic(), epoch

    def _look(self, done: int) -> dict:
        """Draw the fixed latent grid, keep it as picture and numbers, and measure it."""
        from radiogan_lib.gan.training import playable

        generator, n = playable(self.model, self.batches.labels), len(self.names)
        labels = np.tile(np.arange(n), -(-100 // n))
        suv = sampling.sample(generator, labels, seed=self.cfg.seed)
        write_samples(
            self.run_dir,
            done,
            suv[: 4 * n].reshape(4, n, *suv.shape[1:]),
            generator.layers[-1].suv_max,
        )
        return self.yardstick.measure(suv, labels) if self.yardstick else {}


def write_history(run_dir: Path, rows: list[dict]) -> None:
    """history.csv, whole, at once."""
    with paths.atomic(Path(run_dir) / "history.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def write_samples(run_dir: Path, epoch: int, suv: np.ndarray, suv_max: float) -> None:
    """The latent grid (4 noise vectors, classes, h, w): bytes on a root scale (.npy) and a picture at SUV 0 to 7 (.png)."""
    from PIL import Image

    folder = Path(run_dir) / "samples"
    with paths.atomic(folder / f"epoch-{epoch:06d}.npy") as temporary:
        np.save(temporary, np.round(255 * np.sqrt(np.clip(suv / suv_max, 0, 1))).astype("uint8"))
    rows, columns, h, w = suv.shape
    grid = suv.transpose(0, 2, 1, 3).reshape(rows * h, columns * w)
    with paths.atomic(folder / f"epoch-{epoch:06d}.png") as temporary:
        Image.fromarray((255 * (1 - np.clip(grid / 7, 0, 1))).astype("uint8")).save(temporary)
