"""Train, stop, continue. The folder of a run (`runs.py`) is all there is to it.

From top to bottom: `train`, the order of the exams, what happens at the end of an epoch, the
checkpoints. Explained in notebooks/03_training.ipynb.
"""

import functools
import json
import time
import zipfile
import zlib
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from radiogan_lib import paths
from radiogan_lib.config import Config, RadioganError
from radiogan_lib.gan import diagnosis, engine, sampling
from radiogan_lib.gan.radiogan import RadioGAN, compiled
from radiogan_lib.gan.runs import Run, RunError, claim, load_run, read_history
from radiogan_lib.machine import Progress

NETWORKS = ("generator", "discriminator")


class TrainingError(RadioganError):
    """A training that cannot go on; the sentence says what to change."""


def train(cfg: Config, mips, run_dir, checkpoint_seconds: float = 30.0, build=compiled) -> Run:
    """Train the GAN of `cfg`; continue where the folder's run stopped; return a finished one.

    Args:
        mips: a `data.MipDataset`.
        checkpoint_seconds: how often the state is written, at the end of an epoch.
        build: makes the model; `memoriser.build_model` for the CGAN that memorises.

    Raises:
        RunError: the folder holds a run with other settings or exams.
        TrainingError: out of memory, or losses that are no numbers.
    """
    run_dir = Path(run_dir)
    if not len(mips):
        raise RunError(
            "there are no exams to train on; see rejects.csv in the dataset's folder for the "
            "reasons."
        )
    if tuple(mips.suv.shape[1:3]) != tuple(cfg.canvas):
        there, wanted = (f"{h} x {w}" for h, w in (mips.suv.shape[1:3], cfg.canvas))
        raise RunError(
            f"the exams have {there} pixels, but doublings = {cfg.doublings} trains on {wanted}: "
            "prepare them with the same settings (notebooks/01_data_preparation.ipynb)."
        )
    engine.prepare()
    shared_by = engine.chosen_devices(cfg.devices, min(cfg.batch_size, len(mips)))
    claim(run_dir, cfg, mips, shared_by)
    if all((run_dir / f"{name}.keras").exists() for name in NETWORKS):
        try:
            run = load_run(run_dir)
            if run.finished:
                return run
        except RunError as e:  # a network cut short by a power cut is made again from the states
            print(f"{e} Its checkpoints are tried first.")
    with engine.sharing(shared_by):
        _fit(cfg, mips, run_dir, checkpoint_seconds, build)
    return load_run(run_dir)


def _fit(cfg: Config, mips, run_dir: Path, checkpoint_seconds: float, build) -> None:
    """Build the model, continue from its newest state, train to the end, export both networks."""
    from radiogan_lib.data import encode

    states_dir, history = run_dir / "checkpoints", read_history(run_dir)
    model = build(cfg, len(mips.class_names), mips.suv_max)
    if cfg.start_from:
        start_from(model, cfg.start_from, list(mips.class_names))
    done = restore(model, states_dir, newest=len(history))
    grey = functools.partial(encode, curve=cfg.intensity, suv_max=mips.suv_max)
    order = {"balanced": cfg.balanced, "first_epoch": done, "grey": grey}
    batches = Batches(mips.suv, mips.labels, cfg.batch_size, cfg.seed, **order)
    recorder = Recorder(cfg, run_dir, mips, batches, history.head(done), checkpoint_seconds)
    pace = keras.callbacks.LearningRateScheduler(lambda epoch: learning_rate(cfg, epoch))
    try:
        if done < cfg.epochs:
            model.fit(
                batches,
                epochs=cfg.epochs,
                initial_epoch=done,
                steps_per_epoch=len(batches),
                verbose=0,
                shuffle=False,
                callbacks=[pace, recorder],
            )
            # `fit` ends by writing its averages over both networks; the state has both.
            restore(model, states_dir)
    except KeyboardInterrupt:
        if recorder.saved_epoch:
            restore(model, states_dir)
            _export(model, mips.labels, run_dir)
        raise KeyboardInterrupt(
            f"Stopped after epoch {len(recorder.rows)} of {cfg.epochs}; the state after epoch "
            f"{recorder.saved_epoch} is in {paths.shown(run_dir)}. The same call continues from "
            "there."
        ) from None
    except Exception as e:
        if not _out_of_memory(e):
            raise
        raise TrainingError(
            f"out of memory with batch_size={cfg.batch_size} at {cfg.canvas[0]} x {cfg.canvas[1]}: "
            "halve batch_size, or set precision='mixed_bfloat16', fewer channels, or smaller "
            "doublings."
        ) from e
    _export(model, mips.labels, run_dir)


def start_from(model: RadioGAN, folder: str, class_names: list[str]) -> None:
    """Transfer learning: both networks take the weights of an earlier run, in place.

    Every weight whose layer has the same name and shape is taken. A class that the earlier run knew
    keeps its vector; any other starts at the mean of all vectors.

    Args:
        folder: of the earlier run; a bare name is one in the repository's `weights/`.
        class_names: the new run's classes, in the order of their labels.

    Raises:
        RunError: no finished run is there, or it has another canvas.
    """
    path = Path(folder) if Path(folder).exists() else paths.REPO / "weights" / folder
    try:
        former = load_run(path)
    except RunError as e:
        raise RunError(f"start_from = {folder!r} cannot be used: {e}") from None
    if former.config.canvas != model.cfg.canvas:
        there, wanted = (f"{h} x {w}" for h, w in (former.config.canvas, model.cfg.canvas))
        raise RunError(
            f"{paths.shown(path)} was trained on {there} pixels, this run has {wanted}: leave "
            "start_from empty, or train phantoms at this size."
        )
    for name in NETWORKS:
        new, old = getattr(model, name), getattr(former, name)
        known = {layer.name: layer.get_weights() for layer in old.layers}
        for layer in new.layers:
            values = known.get(layer.name, [])
            if layer.name == "label_embedding":
                vectors = dict(zip(former.class_names, values[0], strict=True))
                values = [np.stack([vectors.get(c, values[0].mean(0)) for c in class_names])]
            if [v.shape for v in values] == [tuple(w.shape) for w in layer.weights]:
                layer.set_weights(values)


def averaged_generator(model: RadioGAN, labels) -> keras.Model:
    """A generator to sample from: with `ema` a copy with averaged weights and their statistics."""
    if not model.cfg.ema:
        return model.generator
    copy = keras.models.clone_model(model.generator)
    copy.set_weights(model.generator.get_weights())
    averages = model.optimizer._model_variables_moving_average
    average_of = {id(v): a for v, a in zip(model.trainable_variables, averages, strict=True)}
    sources = model.generator.trainable_variables
    for target, source in zip(copy.trainable_variables, sources, strict=True):
        target.assign(average_of[id(source)])
    sampling.recalibrate(copy, labels, seed=model.cfg.seed)
    return copy


def _export(model: RadioGAN, labels, run_dir: Path) -> None:
    networks = (averaged_generator(model, labels), model.discriminator)
    for name, network in zip(NETWORKS, networks, strict=True):
        with paths.atomic(run_dir / f"{name}.keras") as temporary:
            network.save(temporary)


def _out_of_memory(e: BaseException) -> bool:
    text = f"{type(e).__name__} {e}"
    signs = ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OOM when")
    return isinstance(e, MemoryError) or any(sign in text for sign in signs)


class Batches(keras.utils.PyDataset):
    """Batches of (images, labels) in an order that depends on seed and epoch only.

    Without end: item `i` lies in epoch `first_epoch + i // len(self)`. Keras then keeps one stream
    for the whole training; TensorFlow takes up to a second to end one between two epochs.

    Args:
        images, labels: (n, …) exams and (n,) classes.
        batch_size: images per batch; all of them where there are fewer.
        seed: of the order.
        balanced: draw every class equally often instead of every exam once.
        first_epoch: what the training starts or continues with.
        grey: turns a batch of images into what the networks see, (batch, h, w, 1).
    """

    def __init__(
        self,
        images,
        labels,
        batch_size: int,
        seed: int,
        balanced: bool = False,
        first_epoch: int = 0,
        grey=np.asarray,
    ):
        super().__init__(workers=1)
        self.images, self.labels = images, np.asarray(labels, "int32")
        self.batch_size, self.seed = min(batch_size, len(labels)), seed
        self.balanced, self.first_epoch, self.grey = balanced, first_epoch, grey
        self.known = (-1, None)

    def order(self, epoch: int) -> np.ndarray:
        """Indices of the exams in the order of this epoch."""
        if self.known[0] != epoch:
            self.known = epoch, self._shuffled(epoch)
        return self.known[1]

    def _shuffled(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.labels))
        if self.balanced:
            # Each class's exams in a random order, repeated as needed; the classes take turns.
            classes = [order[self.labels[order] == c] for c in np.unique(self.labels)]
            turns = -(-len(order) // len(classes))
            order = np.stack([np.resize(c, turns) for c in classes], 1)
            order = rng.permuted(order, axis=1).reshape(-1)[: len(self.labels)]
        return order

    @property
    def num_batches(self):
        """None: Keras' word for a stream without end. `len` is what an epoch has."""
        return None

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size  # what is left waits for the next epoch's order

    def __getitem__(self, i: int):
        epoch, k = divmod(i, len(self))
        order = self.order(self.first_epoch + epoch)
        chosen = order[k * self.batch_size : (k + 1) * self.batch_size]
        return ((self.grey(self.images[chosen]), self.labels[chosen]),)


def learning_rate(cfg: Config, epoch: int) -> float:
    """Adam's step in an epoch (0, 1, …): `cfg.learning_rate`, falling in a straight line to its
    fiftieth over the last `cfg.cooldown` of the training."""
    left = (cfg.epochs - epoch) / cfg.epochs
    return cfg.learning_rate * (min(1.0, max(0.02, left / cfg.cooldown)) if cfg.cooldown else 1.0)


class Recorder(keras.callbacks.Callback):
    """Writes history, sample pictures, measures and checkpoints into the run's folder.

    Args:
        mips, batches: the exams, and the order in which they are trained on.
        history: rows of the epochs that are already done.
        checkpoint_seconds: between two states; one more is written at the end.
    """

    def __init__(
        self, cfg: Config, run_dir: Path, mips, batches: Batches, history, checkpoint_seconds: float
    ):
        super().__init__()
        self.cfg, self.run_dir, self.batches = cfg, run_dir, batches
        self.n_classes, self.rows = len(mips.class_names), history.to_dict("records")
        exams = mips.suv, mips.labels
        self.measures = diagnosis.SampleMeasures(*exams, self.n_classes, cfg.seed)
        self.checkpoint_seconds = checkpoint_seconds
        self.saved_at, self.saved_epoch = time.monotonic(), len(self.rows)

    def on_train_begin(self, logs=None):
        total = self.cfg.epochs * len(self.batches)
        done = len(self.rows) * len(self.batches)
        self.progress = Progress(total, "training", lines=15, done=done).__enter__()

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            # Not earlier: TensorFlow's dataset, made with the first batch, undoes a part of it.
            engine.keep_memory()

    def on_train_batch_end(self, batch, logs=None):
        self.progress.update(1)

    def on_epoch_end(self, epoch, logs=None):
        done, steps = epoch + 1, len(self.batches)
        seconds = time.perf_counter() - self.started
        row = {"epoch": done, "steps": done * steps}
        row |= {k: float(v) for k, v in logs.items() if k != "loss"}
        speed = steps * self.batches.batch_size / seconds
        row |= {"seconds": round(seconds, 3), "images_per_s": round(speed, 1)}
        if not np.isfinite([row["d_loss"], row["g_loss"]]).all():
            half = ", or use precision=float32" if self.cfg.precision != "float32" else ""
            raise TrainingError(
                f"the losses became NaN in epoch {done}: lower learning_rate (now "
                f"{self.cfg.learning_rate:g}){half}; the state after epoch {self.saved_epoch} is "
                f"kept in {paths.shown(self.run_dir)}."
            )
        if done % self.cfg.samples_every == 0 or done == self.cfg.epochs:
            row |= self._samples(done)
        self.rows.append(row)
        row["health"] = " ".join(diagnosis.diagnose(pd.DataFrame(self.rows)).signs) or "ok"
        with paths.atomic(self.run_dir / "history.csv") as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
        losses = f"D {row['d_loss']:.2f} G {row['g_loss']:.2f}"
        self.progress.update(0, f"{losses} accuracy {row['d_accuracy']:.2f}")
        if done == self.cfg.epochs or time.monotonic() - self.saved_at >= self.checkpoint_seconds:
            save(self.model, self.run_dir / "checkpoints", done)
            self.saved_at, self.saved_epoch = time.monotonic(), done

    def on_train_end(self, logs=None):
        self.progress.__exit__()

    def _samples(self, done: int) -> dict:
        """Draw the fixed latent grid, keep it as picture and numbers, and measure it."""
        generator, n = averaged_generator(self.model, self.batches.labels), self.n_classes
        labels = np.tile(np.arange(n), -(-100 // n))
        suv = sampling.sample(generator, labels, seed=self.cfg.seed)  # (100 or more, h, w)
        grid = suv[: 4 * n].reshape(4, n, *suv.shape[1:])
        write_samples(self.run_dir / "samples", done, grid, generator.layers[-1].suv_max)
        return self.measures.measure(suv, labels)


def write_samples(folder: Path, epoch: int, suv: np.ndarray, suv_max: float) -> None:
    """The latent grid (4 noise vectors, classes, h, w) as numbers and as a picture.

    The numbers are bytes on a root scale (.npy), the picture (.png) shows SUV 0 to 7.
    """
    from PIL import Image

    with paths.atomic(folder / f"epoch-{epoch:06d}.npy") as temporary:
        np.save(temporary, np.round(255 * np.sqrt(np.clip(suv / suv_max, 0, 1))).astype("uint8"))
    rows, columns, h, w = suv.shape
    grid = suv.transpose(0, 2, 1, 3).reshape(rows * h, columns * w)
    with paths.atomic(folder / f"epoch-{epoch:06d}.png") as temporary:
        Image.fromarray((255 * (1 - np.clip(grid / 7, 0, 1))).astype("uint8")).save(temporary)


# A checkpoint is `state-EPOCH.npz` (weights, optimizer, averages, noise and dropout seeds; plain
# arrays, no pickle) and `state-EPOCH.json` with its SHA-256, checked before it is believed.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


def _variables(model: keras.Model) -> list:
    """Everything that the next step depends on, in an order that is the same in every process."""
    return model.trainable_variables + model.non_trainable_variables + model.optimizer.variables


def save(model: keras.Model, folder: Path, epoch: int) -> None:
    """Write the state after `epoch` finished epochs, then drop all but the newest two."""
    path = Path(folder) / f"state-{epoch:06d}.npz"
    # One variable at a time: `np.savez` would hold all of them twice.
    with paths.atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for i, variable in enumerate(_variables(model)):
            with archive.open(f"{i:04d}.npy", "w", force_zip64=True) as f:
                np.lib.format.write_array(f, np.asarray(keras.ops.convert_to_numpy(variable)))
    paths.write_json(path.with_suffix(".json"), {"epoch": epoch, "sha256": paths.sha256(path)})
    for old in states(folder)[2:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".json").unlink(missing_ok=True)


def states(folder: Path) -> list[Path]:
    """The state files, newest first; `restore` finds out whether they are whole."""
    return sorted(Path(folder).glob("state-*.npz"), reverse=True)


def restore(model: keras.Model, folder: Path, newest: int | None = None) -> int:
    """Put the newest whole state into the model and return its epoch; 0 if there is none.

    Args:
        newest: epochs that history.csv knows; a later state waits until they have been made again.
    """
    for path in states(folder):
        if newest is not None and path.stem > f"state-{newest:06d}":
            continue
        try:
            known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            if paths.sha256(path) != known["sha256"]:
                raise ValueError("the checksum differs")
            variables = _variables(model)
            with np.load(path, allow_pickle=False) as stored:
                # One at a time, twice: nothing is assigned before all of it was read and fits.
                names = sorted(stored.files)
                if [stored[name].shape for name in names] != [tuple(v.shape) for v in variables]:
                    raise ValueError("it belongs to other networks")
                for variable, name in zip(variables, names, strict=True):
                    variable.assign(stored[name])
            return int(known["epoch"])
        except _DAMAGED as e:
            print(
                f"{paths.shown(path)} is left out: {type(e).__name__}, {e}. An older state is "
                "used, or training starts again."
            )
    return 0
