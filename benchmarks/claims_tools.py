"""What the experiments of claims.py share: exams, trainings that stop for a look, judging, and
cells that are kept.

A *cell* is one row of an experiment, such as "five models, seed 1". Its numbers are one small JSON
file; a finished cell is not made again, so a killed command continues with the next cell.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd

from radiogan_lib import config, data, evaluation, paths
from radiogan_lib.evaluation.features import common_shape, nearest_k, pooled
from radiogan_lib.evaluation.memorisation import Near
from radiogan_lib.evaluation.quality import coverage_density, kid, vendi_ratio
from radiogan_lib.evaluation.statistics import Measure, auc, wilson

TABLES = paths.REPO / "docs" / "claims"
STRETCH = 50  # steps between two possible looks at a generator in training
NEIGHBOURS = 20  # the local scale of the copy fraction, as in the verdict
_BUILT: dict = {}  # compiled models by settings: tracing one takes longer than many of its steps


@dataclasses.dataclass(frozen=True)
class World:
    """Exams of one kind: `train` and `test` as datasets at one canvas, and the settings that train
    on them."""

    name: str
    train: data.MipDataset
    test: data.MipDataset
    cfg: config.Config


def world(name: str, dataset: str, doublings: int) -> World:
    """The prepared phantoms of `teach` or real exams of `real`, averaged down to 5·2^d × 3·2^d
    pixels.

    Args:
        name: "phantoms" or "real".
        dataset: a prepared dataset; empty = where notebook 01 puts it.
        doublings: of the canvas.
    """
    cfg = config.load("teach" if name == "phantoms" else "real")
    folder = paths.need(
        Path(dataset or paths.dataset_dir(cfg)) / "dataset.json", "01_data_preparation"
    ).parent
    # 32 exams a step: the same number of exams costs less time than in steps of 16
    cfg = dataclasses.replace(cfg, doublings=doublings, batch_size=32)
    parts = [data.load(folder, split=split) for split in ("train", "test")]
    smaller = [
        dataclasses.replace(part, suv=evaluation.area_average(part.suv, cfg.canvas))
        for part in parts
    ]
    return World(name, *smaller, cfg)


def as_images(mips: data.MipDataset) -> evaluation.ImageSet:
    """The exams as the evaluation takes them."""
    return evaluation.ImageSet(mips.suv, mips.labels, np.asarray(mips.patient_ids))


# -------------------------------------------------------------------------------------------- cells


def cell(results: Path, experiment: str, key: dict, make) -> list[dict]:
    """The rows of one cell, made by `make()` unless its file is there already.

    Args:
        results: folder of all experiments.
        experiment: its name; a folder below `results`.
        key: what names the cell, such as {"arm": "five models", "seed": 1}; becomes columns.
        make: returns a list of dicts, the rows.
    """
    name = "-".join(f"{k}={v}" for k, v in key.items()).replace(" ", "_").replace("/", "_")
    path = Path(results) / experiment / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    started = time.perf_counter(), time.process_time()
    rows = [key | row for row in make()]
    paths.write_json(path, rows)
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    print(f"{experiment}: {name}: {wall:.0f} s, {cpu:.0f} s of processor", flush=True)
    return rows


def collect(
    results: Path, experiment: str, folder: Path = TABLES, every_walk: bool = True
) -> pd.DataFrame:
    """Write all finished cells of an experiment as one csv of numbers.

    Without `every_walk`, a measure of many walks is one row: the mean of `blend`, which is 0 or 1,
    and of the others the median with the middle half as its interval.
    """
    files = sorted((Path(results) / experiment).glob("*.json"))
    rows = [row for f in files for row in json.loads(f.read_text(encoding="utf-8"))]
    table = pd.DataFrame(rows).dropna(axis=1, how="all")
    if not every_walk and "walk" in table:
        of_walks = table[table["walk"].notna()]
        key = [c for c in table if c not in ("walk", "value", "low", "high")]
        groups = of_walks.groupby(key, sort=False, dropna=False)["value"]
        short = groups.describe()[["50%", "25%", "75%", "mean"]].reset_index()
        short.columns = [*key, "value", "low", "high", "mean"]
        blends = short["measure"] == "blend"
        short.loc[blends, "value"] = short.loc[blends, "mean"]
        short.loc[blends, ["low", "high"]] = np.nan
        short = short.drop(columns="mean")
        table = pd.concat([table[table["walk"].isna()].drop(columns="walk"), short])
    if len(table):
        text = table.to_csv(index=False, float_format="%.4g")
        paths.write_text(Path(folder) / f"{experiment}.csv", text)
    return table


def keep(results: Path, experiment: str, name: str, walks: dict) -> None:
    """Keep a few walks of a cell for its picture.

    Args:
        results: folder of all experiments.
        experiment: its name.
        name: of the cell.
        walks: {what it shows: (frames (steps, h, w), what `WalkReference.measure` returned)}.
    """
    path = Path(results) / experiment / name.replace("/", "_")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(f"{path}.npz", **{k: frames for k, (frames, _) in walks.items()})
    paths.write_json(Path(f"{path}.walks"), {k: m for k, (_, m) in walks.items()})


def kept(results: Path, experiment: str, name: str) -> dict:
    """What `keep` kept; empty if the cell was made without."""
    path = Path(results) / experiment / name.replace("/", "_")
    if not Path(f"{path}.npz").exists():
        return {}
    measures = json.loads(Path(f"{path}.walks").read_text(encoding="utf-8"))
    with np.load(f"{path}.npz") as frames:
        return {k: (frames[k], m) for k, m in measures.items()}


def strips(path: Path, walks: dict, class_names, unit: str, red: bool = True) -> None:
    """Draw kept walks below each other, with residuals, and the red frame if `red`."""
    from types import SimpleNamespace

    from PIL import Image

    from radiogan_lib import lab

    if not walks:
        return
    frames = {k: SimpleNamespace(frames=f) for k, (f, _) in walks.items()}
    measures = {k: m for k, (_, m) in walks.items()} if red else {}
    figure = lab.walk_strips(frames, measures, class_names, unit=unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(drawn := io.BytesIO(), dpi=100)
    Image.open(drawn).convert("RGB").quantize(128).save(path, optimize=True)


def row(measure: str, found, **more) -> dict:
    """One line of a table: a measure, or a bare number, by name."""
    m = found if isinstance(found, dict) else {"value": float(found), "low": None, "high": None}
    return more | {"measure": measure} | {k: m[k] for k in ("value", "low", "high")}


# ---------------------------------------------------------------------------------------- trainings


def filled(n: int, least: int = 512) -> np.ndarray:
    """Indices that repeat n exams until an epoch holds at least `least`: batches stay full however
    few there are."""
    return np.arange(n) if n >= least else np.resize(np.arange(n), -(-least // n) * n)


def train(cfg, mips, steps: int, look, at=None, n_classes: int | None = None, build=None) -> dict:
    """Train without a run's folder, and look at the generator after some of the steps.

    The losses, the order of the batches and the averaged weights are the library's. Models of equal
    settings are compiled once and given fresh weights.

    Args:
        cfg: the settings; `epochs` is replaced by `steps`.
        mips: the exams, with `suv`, `labels` and `suv_max`.
        steps: how many, rounded up to a multiple of `STRETCH`.
        look: called with the generator (averaged weights); what it returns is kept.
        at: steps after which to look; default the last.
        n_classes: of the networks; default the dataset's.
        build: makes the model, as for `gan.train`.

    Returns:
        {step: what `look` returned}.
    """
    import keras

    from radiogan_lib.gan import engine, radiogan, training

    stretches = -(-steps // STRETCH)
    # The weights are averaged over the last quarter of the steps before the first look, or less. A
    # longer average would still hold the random start, which made one model per class look worse
    # than its weights are.
    ema = min(cfg.ema, max(0.0, 1 - 4 / min(at or [steps])))
    cfg = dataclasses.replace(cfg, epochs=stretches, ema=ema)
    n_classes = n_classes or len(mips.class_names)
    model = _model(cfg, n_classes, mips.suv_max, build or radiogan.compiled)
    rows = filled(len(mips))
    grey = data.encode(mips.suv[rows], curve=cfg.intensity, suv_max=mips.suv_max)
    labels = np.asarray(mips.labels)[rows] % n_classes
    batches = training.Batches(grey, labels, cfg.batch_size, cfg.seed, cfg.balanced)
    wanted = {-(-s // STRETCH) for s in (at or [steps])}
    found = {}

    def after(stretch, logs=None):
        if stretch + 1 in wanted:
            found[(stretch + 1) * STRETCH] = look(training.averaged_generator(model, labels))

    def before(batch, logs=None):
        if batch == 0:
            engine.keep_memory()

    model.fit(
        batches,
        epochs=stretches,
        steps_per_epoch=STRETCH,
        verbose=0,
        shuffle=False,
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda epoch: training.learning_rate(cfg, epoch)),
            keras.callbacks.LambdaCallback(on_epoch_end=after, on_train_batch_begin=before),
        ],
    )
    return found


def _model(cfg, n_classes: int, suv_max: float, build):
    from radiogan_lib.gan import training

    fresh = build(cfg, n_classes, suv_max)
    known = _BUILT.setdefault(
        (dataclasses.replace(cfg, seed=0), n_classes, suv_max, build.__qualname__), fresh
    )
    if known is not fresh:
        pairs = zip(training._variables(known), training._variables(fresh), strict=True)
        for variable, start in pairs:
            variable.assign(start)
        known.cfg = cfg
    return known


# ------------------------------------------------------------------------------------------ judging


def draw(generator, counts, seed: int) -> evaluation.ImageSet:
    """`counts[c]` images of each class c."""
    from radiogan_lib import gan

    labels = np.repeat(np.arange(len(counts)), counts)
    return evaluation.ImageSet(gan.sample(generator, labels, seed=seed), labels)


def scaled(reference: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Features centred and scaled by the reference's mean and overall spread."""
    mean, spread = reference.mean(axis=0), max(float(reference.std(axis=0).mean()), 1e-6)
    return [((x - mean) / spread).astype(np.float64) for x in (reference, *others)]


def quality(train, holdout, made, rounds: int = 200) -> list[dict]:
    """KID with its floor, coverage and Vendi ratio of three image sets in pooled pixels; real
    against real beside each."""
    shape = common_shape(*(s.images.shape[1:] for s in (train, holdout, made)))
    p, t, q = (pooled(s.images, shape) for s in (holdout, train, made))
    ps, ts, qs = scaled(p, t, q)
    n = min(len(t), len(q))  # coverage grows with the number of images
    covered_q, covered_t = (coverage_density(p, x[:n])[0] for x in (_mixed(q), _mixed(t)))
    return [
        row("kid", kid(qs, ps, rounds=rounds)),
        row("kid_floor", kid(ts, ps, rounds=rounds)),
        row("coverage", share(covered_q)),
        row("coverage_of_training_exams", share(covered_t)),
        row("vendi_ratio", vendi_ratio(p, q)),
    ]


def _mixed(x: np.ndarray) -> np.ndarray:
    return x[np.random.default_rng(0).permutation(len(x))]


def share(hits) -> Measure:
    """A share with Wilson's interval."""
    hits = np.asarray(hits, bool)
    return Measure(hits.mean(), *wilson(int(hits.sum()), len(hits)))


def memory(train, holdout, made) -> list[dict]:
    """Membership AUC and copy fraction, as the verdict defines them, of three image sets."""
    shape = common_shape(*(s.images.shape[1:] for s in (train, holdout, made)))
    t, p, q = (pooled(s.images, shape) for s in (train, holdout, made))
    k = max(1, min(NEIGHBOURS, len(t) - 1))
    to_made = [nearest_k(x, q)[0][:, 0] for x in (t, p)]
    score = [Near.of(*nearest_k(x, t, k + 1)).score for x in (q, p)]
    return [
        row("membership_auc", auc(-to_made[0], -to_made[1], rounds=1)),
        row("copy_fraction", share(score[0] <= np.quantile(score[1], 0.05))),
    ]


def recalls(classifier, test, names, measure: str) -> list[dict]:
    """Recall of each class, and their mean as the class "all"."""
    right = classifier.predict(test.images) == test.labels
    found = [right[test.labels == c] for c in range(len(names))]
    rows = [row(measure, share(r), **{"class": name}) for name, r in zip(names, found)]
    mean = float(np.mean([r.mean() for r in found]))
    spread = float(np.sqrt(sum(r.var() / len(r) for r in found)) / len(found))
    balanced = Measure(mean, mean - 1.96 * spread, mean + 1.96 * spread)
    return [*rows, row(measure, balanced, **{"class": "all"})]
