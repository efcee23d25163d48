"""What each switch changes: python benchmarks/ablation.py [--epochs 60] [--seeds 0] [--rows …]

One training per row and seed, all with the same number of steps on the same exams: `recipe:
improved`, it without one of its switches at a time, it with one of the switches that it leaves off,
and the paper's recipe. Each is judged by the report of notebooks 04 and 05 on held-out exams. A
finished row is not made again (runs/ablation/…); the table (docs/ablation.csv) is written again,
whole, after every row.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import n_sweep  # the same training and report; this folder is on the path of a script
import pandas as pd

from radiogan_lib import config, data, evaluation, paths
from radiogan_lib.batch import parse_setting

CSV = paths.REPO / "docs" / "ablation.csv"
SHOWN = [
    "label_agreement",
    "tstr",
    "trtr",
    "coverage_ratio",
    "vendi_ratio",
    "kid",
    "membership_auc",
    "verdict",
]


# The switches that the improved recipe leaves off.
LEFT_OFF = {
    "balanced": {"balanced": True},
    "diffaugment": {"diffaugment": "translation"},
    "diffaugment of a quarter": {"diffaugment": "translation", "diffaugment_share": 0.25},
}


def rows() -> dict[str, dict]:
    """{name: settings}: the improved recipe, it without each of its switches, with each that it
    leaves off, and the paper's."""
    switches, paper = config.RECIPES["improved"], config.Config()
    without = {
        f"without {name}": {"recipe": "improved", name: getattr(paper, name)} for name in switches
    }
    added = {f"with {name}": {"recipe": "improved"} | values for name, values in LEFT_OFF.items()}
    return {"improved": {"recipe": "improved"}, **without, **added, "paper": {"recipe": "paper"}}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="teach")
    parser.add_argument("--epochs", type=int, default=0, help="of every row; default the profile's")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rows", default="", help="comma list of row names; default all")
    parser.add_argument(
        "--also",
        nargs="*",
        default=[],
        metavar="NAME:SETTING=VALUE;…",
        help="further rows: the improved recipe with these settings, e.g. 'auxiliary "
        "0.8:auxiliary=0.8;lecam=0'",
    )
    parser.add_argument("--dataset", default="", help="a prepared dataset; default the profile's")
    parser.add_argument("--csv", default=str(CSV))
    a = parser.parse_args(arguments)
    try:
        base = config.load(a.profile, **({"epochs": a.epochs} if a.epochs else {}))
        seeds = [config.load(a.profile, seed=int(s)).seed for s in a.seeds.split(",")]
    except ValueError as e:  # also config.ConfigError
        parser.error(str(e))
    wanted = a.rows.split(",") if a.rows else list(rows())
    if unknown := set(wanted) - set(rows()):
        parser.error(f"there is no row {min(unknown)!r}; choose among {', '.join(rows())}.")
    folder = paths.need(
        Path(a.dataset or paths.dataset_dir(base)) / "dataset.json", "01_data_preparation"
    ).parent
    train, holdout = data.load(folder, split="train"), data.load(folder, split="test")
    classifier = evaluation.train_classifier(
        train, len(train.class_names), epochs=base.classifier_epochs
    )

    def more(_, generated):
        sets = (train, holdout, generated)
        return {
            "quality": evaluation.quality_report(*sets, classifier, rounds=base.bootstrap),
            "utility": evaluation.utility_report(
                *sets, classifier, base.classifier_epochs, sizes=(), rounds=base.bootstrap
            ),
        }

    also = {
        name: {"recipe": "improved"} | {k: v[0] for k, v in map(parse_setting, settings.split(";"))}
        for name, _, settings in (row.partition(":") for row in a.also)
    }
    chosen = {k: v for k, v in (rows() | also).items() if k in wanted or k in also}
    for seed in seeds:
        for name, settings in chosen.items():
            cfg = config.load(a.profile, **settings, **({"epochs": a.epochs} if a.epochs else {}))
            cfg = dataclasses.replace(cfg, seed=seed)
            place = (
                paths.home()
                / "runs"
                / "ablation"
                / f"{name.replace(' ', '-')}-{cfg.epochs}epochs-seed{seed}"
            )
            done = place / "metrics.json"
            report = (
                json.loads(done.read_text(encoding="utf-8"))
                if done.exists()
                else n_sweep.one(
                    cfg, train, holdout, len(train), place, more, "python benchmarks/ablation.py"
                )
            )
            table = evaluation.sweep_table([report]).assign(row=name)
            path = Path(a.csv)
            if path.exists():
                table = (
                    pd.concat([table, pd.read_csv(path)])
                    .drop_duplicates(["row", "seed", "steps"])
                    .reset_index(drop=True)
                )
            paths.write_text(path, table.to_csv(index=False, float_format="%.5g"))
            print(
                table[["row", "seed", "steps", *(c for c in SHOWN if c in table)]].to_string(
                    index=False
                ),
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
