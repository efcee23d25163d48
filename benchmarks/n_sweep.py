"""Memorisation as the training set shrinks: python benchmarks/n_sweep.py [--sizes 16,64,256,1000]
[--seeds 0,1,2]

One training per number of exams and seed, all with EQUAL STEPS and not equal epochs: the chosen
exams are repeated until they fill an epoch of the whole training set, so that every run sees as
many batches and only what is in them differs. Smaller sets are parts of larger ones (same seed),
evenly from all classes, one exam per patient as long as there are enough. Every run is judged by
the report of notebook 05 against the same held-out exams, with as many generated exams.

A finished run is not made again, a stopped one continues (runs/n_sweep/…). The csv
(docs/n_sweep.csv) is written again, whole, after every run; two commands with different seeds may
run side by side.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from radiogan_lib import config, data, evaluation, paths

CSV = paths.REPO / "docs" / "n_sweep.csv"
KEYS = ["recipe", "n_train", "seed", "steps"]


def nested(labels, patients, n: int, seed: int) -> np.ndarray:
    """Indices of `n` exams, classes taking turns; the first m of the same seed are the choice for
    m."""
    rng, labels = np.random.default_rng([seed, 5]), np.asarray(labels)
    again = np.ones(len(labels), bool)
    again[np.unique(np.asarray(patients), return_index=True)[1]] = (
        False  # a patient's later exams come last
    )
    order = np.lexsort((rng.random(len(labels)), again))
    turn = np.empty(len(labels), int)
    for c in np.unique(labels):
        members = order[labels[order] == c]
        turn[members] = np.arange(len(members))
    return np.lexsort((labels, turn))[:n]


def one(
    cfg,
    train,
    holdout,
    n: int,
    folder: Path,
    more=lambda few, generated: {},
    command: str = "",
) -> dict:
    """Train on n exams, judge, write the report into the run's folder; returns the report as
    metrics.json holds it.

    `more` gives further parts of the report, such as its utility.
    """
    from radiogan_lib import gan

    few = train.subset(nested(train.labels, train.patient_ids, n, cfg.seed))
    filled = few.subset(np.resize(np.arange(len(few)), len(train)))
    run = gan.train(cfg, filled, folder)
    labels = np.resize(few.labels, cfg.generated or len(train))
    generated = gan.sample(run.generator, labels, seed=cfg.seed)
    scores = {
        name: gan.discriminator_scores(run, part.suv, part.labels)
        for name, part in (("train", few), ("holdout", holdout))
    }
    report = evaluation.evaluate(
        few,
        holdout,
        evaluation.ImageSet(generated, labels),
        {
            "discriminator_scores": scores,
            "controls": False,
            "provenance": {
                "settings": cfg.as_dict(),
                "steps": int(run.history["steps"].iloc[-1]),
                "command": command or f"python benchmarks/n_sweep.py --profile {cfg.profile}",
            },
            **more(few, evaluation.ImageSet(generated, labels)),
        },
        train.class_names,
        rounds=cfg.bootstrap,
        seed=cfg.seed,
    )
    evaluation.write_report(report, folder)
    return report


def write_csv(reports: list, path: Path):
    """The rows of these reports and of the present csv, each run once, whole or not at all."""
    import pandas as pd

    table = evaluation.sweep_table(reports)
    if path.exists():
        table = (
            pd.concat([table, pd.read_csv(path)])
            .drop_duplicates(KEYS)
            .sort_values(KEYS, ignore_index=True)
        )
    paths.write_text(path, table.to_csv(index=False, float_format="%.5g"))
    return table


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="teach")
    parser.add_argument("--recipe", default="", help="paper or improved; default the profile's")
    parser.add_argument(
        "--sizes",
        default="16,64,256,1000",
        help="numbers of training exams; more than there are = all",
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument(
        "--epochs",
        type=int,
        default=0,
        help="passes over as many exams as the whole set has; default the profile's",
    )
    parser.add_argument("--dataset", default="", help="a prepared dataset; default the profile's")
    parser.add_argument("--runs", default="", help="folder of the runs; default runs/n_sweep")
    parser.add_argument("--csv", default=str(CSV))
    a = parser.parse_args(arguments)
    try:
        base = config.load(a.profile, recipe=a.recipe, **({"epochs": a.epochs} if a.epochs else {}))
        seeds = [config.load(a.profile, seed=int(s)).seed for s in a.seeds.split(",")]
        wanted = [int(n) for n in a.sizes.split(",")]
    except ValueError as e:  # also config.ConfigError
        parser.error(str(e))
    folder = paths.need(
        Path(a.dataset or paths.dataset_dir(base)) / "dataset.json", "01_data_preparation"
    ).parent
    train, holdout = data.load(folder, split="train"), data.load(folder, split="test")
    home, sizes = (
        Path(a.runs or paths.home() / "runs" / "n_sweep"),
        sorted({min(n, len(train)) for n in wanted}),
    )
    for seed in seeds:  # the whole curve of one seed first
        for n in sizes:
            cfg = dataclasses.replace(base, seed=seed)
            place = home / f"{a.profile}-{cfg.recipe}-{cfg.epochs}epochs-n{n}-seed{seed}"
            print(f"{n} exams, {cfg.recipe}, seed {seed}", flush=True)
            if (place / "metrics.json").exists():
                report = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
            else:
                report = one(cfg, train, holdout, n, place)
            table = write_csv([report], Path(a.csv))
            row = table[
                (table.n_train == n) & (table.seed == seed) & (table.recipe == cfg.recipe)
            ].iloc[-1]
            print(
                f"  {row.verdict}: membership AUC {row.membership_auc:.3f} "
                f"[{row.membership_auc_low:.3f}, {row.membership_auc_high:.3f}], "
                f"copy fraction {row.copy_fraction:.3f}, discriminator AUC "
                f"{row.discriminator_auc:.3f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
