"""Train, stop, continue. The folder of a run (`runs.py`) is all there is to it.

Explained in notebooks/03_training.ipynb.
"""

from __future__ import annotations

from pathlib import Path

import keras

from radiogan_lib import paths
from radiogan_lib.config import Config
from radiogan_lib.gan import callbacks, checkpoints, devices, health, sampling
from radiogan_lib.gan.radiogan import RadioGAN, compiled
from radiogan_lib.gan.runs import Run, RunError, claim, load_run, read_history


def train(cfg: Config, mips, run_dir, checkpoint_seconds: float = 30.0, build=compiled) -> Run:
    """Train the GAN of `cfg` on a dataset; continue where the folder's run stopped; return at once if it is finished.

    Args:
        cfg: the settings; their `gan` stage decides the result.
        mips: a `data.MipDataset` (`.suv`, `.labels`, `.class_names`, `.suv_max`, `.sha256` are used).
        run_dir: the run's folder, made if missing.
        checkpoint_seconds: how often the state is written, at the end of an epoch.
        build: makes the game; `baseline.game` for the CGAN that memorises.

    Raises:
        RunError: the folder holds a run with other settings or exams.
        TrainingError: out of memory, or losses that are no numbers.
    """
    run_dir = Path(run_dir)
    if not len(mips):
        raise RunError(
            "there are no exams to train on; see rejects.csv in the dataset's folder for the reasons."
        )
    if tuple(mips.suv.shape[1:3]) != tuple(cfg.canvas):
        raise RunError(
            f"the exams have {mips.suv.shape[1]} x {mips.suv.shape[2]} pixels, but doublings = {cfg.doublings} trains on "
            f"{cfg.canvas[0]} x {cfg.canvas[1]}: prepare them with the same settings (notebooks/01_data_preparation.ipynb)."
        )
    shared_by = devices.chosen(cfg.devices, min(cfg.batch_size, len(mips)))
    claim(run_dir, cfg, mips, shared_by)
    if (run_dir / "generator.keras").exists() and (run_dir / "discriminator.keras").exists():
        try:
            run = load_run(run_dir)
            if run.finished:
                return run
        except RunError as e:  # a network cut short by a power cut is made again from the states
            print(f"{e} Its checkpoints are tried first.")
    with devices.shared(shared_by):
        _play(cfg, mips, run_dir, checkpoint_seconds, build)
    return load_run(run_dir)


def _play(cfg: Config, mips, run_dir: Path, checkpoint_seconds: float, build) -> None:
    """Build the game, continue from its newest state, train to the end, export both networks."""
    from radiogan_lib.data import encode

    names = list(mips.class_names)
    game = build(cfg, len(names), mips.suv_max)
    history = read_history(run_dir)
    done = checkpoints.restore(game, run_dir / "checkpoints", newest=len(history))
    images = encode(
        mips.suv, curve=cfg.intensity, suv_max=mips.suv_max, value_range=cfg.value_range
    )
    batches = callbacks.Batches(
        images, mips.labels, cfg.batch_size, cfg.seed, cfg.balanced, first_epoch=done
    )
    yardstick = health.Yardstick(mips.suv, mips.labels, len(names), cfg.seed)
    keeper = callbacks.Keeper(
        cfg, run_dir, batches, yardstick, names, history.head(done), checkpoint_seconds
    )
    try:
        if done < cfg.epochs:
            pace = keras.callbacks.LearningRateScheduler(
                lambda epoch: callbacks.learning_rate(cfg, epoch)
            )
            game.fit(
                batches,
                epochs=cfg.epochs,
                initial_epoch=done,
                steps_per_epoch=len(batches),
                verbose=0,
                shuffle=False,
                callbacks=[pace, keeper],
            )
            checkpoints.restore(
                game, run_dir / "checkpoints"
            )  # fit ends by writing its averages over both networks
    except KeyboardInterrupt:
        if keeper.saved_epoch:
            checkpoints.restore(game, run_dir / "checkpoints")
            _export(game, mips.labels, run_dir)
        raise KeyboardInterrupt(
            f"Stopped after epoch {len(keeper.rows)} of {cfg.epochs}; the state after epoch {keeper.saved_epoch} is in "
            f"{paths.shown(run_dir)}. The same call continues from there."
        ) from None
    except (MemoryError, Exception) as e:
        if not _out_of_memory(e):
            raise
        raise callbacks.TrainingError(
            f"out of memory with batch_size={cfg.batch_size} at {cfg.canvas[0]} x {cfg.canvas[1]}: halve "
            "batch_size, or set precision='mixed_bfloat16', fewer channels, or smaller doublings."
        ) from e
    _export(game, mips.labels, run_dir)


def playable(game: RadioGAN, labels) -> keras.Model:
    """A generator to sample from: the trained one, or with `ema` a copy with averaged weights and their own statistics."""
    if not game.cfg.ema:
        return game.generator
    copy = keras.models.clone_model(game.generator)
    copy.set_weights(game.generator.get_weights())
    averages = {
        id(v): a
        for v, a in zip(
            game.trainable_variables, game.optimizer._model_variables_moving_average, strict=True
        )
    }
    for target, source in zip(
        copy.trainable_variables, game.generator.trainable_variables, strict=True
    ):
        target.assign(averages[id(source)])
    sampling.recalibrate(copy, labels, seed=game.cfg.seed)
    return copy


def _export(game: RadioGAN, labels, run_dir: Path) -> None:
    for name, network in (
        ("generator", playable(game, labels)),
        ("discriminator", game.discriminator),
    ):
        with paths.atomic(run_dir / f"{name}.keras") as temporary:
            network.save(temporary)


def _out_of_memory(e: BaseException) -> bool:
    text = f"{type(e).__name__} {e}"
    return isinstance(e, MemoryError) or any(
        s in text for s in ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OOM when")
    )
