"""Both recipes in numbers: python benchmarks/recipes.py shipped PATH_OF_A_RUN [more runs] [--csv
docs/recipes.csv]

Every run is judged with the same classifier, held-out exams, seeds and patient groups: label
agreement, TSTR beside TRTR (of the classes, and of tumour against normal), the augmentation gain at
10, 20 and 50 exams a class, KID, coverage, Vendi ratio, membership AUC and the walk of Fig. 5.
`shipped` is the repository's weights, any other name the folder of a finished run, such as
benchmarks/ablation.py leaves (`--rows paper --epochs 160`), or of a generator alone (weights/real).
The csv has one row per run and measure, with its 95 % interval where it has one; notebook 05 shows
it.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd

from radiogan_lib import config, data, evaluation, paths
from radiogan_lib.evaluation.features import as_set, one_each
from radiogan_lib.evaluation.statistics import auc

CSV = paths.REPO / "docs" / "recipes.csv"


def tumour_auc(images, holdout, normal: int, epochs: int, seeds=(0, 1, 2)) -> evaluation.Measure:
    """AUC of tumour against normal on held-out exams, of the mean of three classifiers.

    Args:
        images: `ImageSet` that the classifiers learn from: real exams (TRTR) or not (TSTR).
        holdout: `ImageSet` of real exams, one of each patient.
        normal: the label of exams without a tumour.

    Returns:
        the AUC with DeLong's interval.
    """
    two = evaluation.ImageSet(images.images, (images.labels != normal).astype(int))
    found = [
        evaluation.train_classifier(two, 2, epochs=epochs, seed=k).probabilities(holdout.images)
        for k in seeds
    ]
    score, tumour = np.mean(found, axis=0)[:, 1], holdout.labels != normal
    return auc(score[tumour], score[~tumour])


def measures(run, train, holdout, classifier, cfg) -> dict[str, dict]:
    """{measure: {value, low, high}} of one run."""
    from radiogan_lib import gan

    generated = gan.sample(run.generator, train.labels, seed=cfg.seed)
    sets = train, holdout, evaluation.ImageSet(generated, train.labels)
    same = {"rounds": cfg.bootstrap, "seed": cfg.seed}
    use = evaluation.utility_report(*sets, classifier, cfg.classifier_epochs, **same)
    scores = run.discriminator and {
        n: gan.discriminator_scores(run, part.suv, part.labels)
        for n, part in (("train", train), ("holdout", holdout))
    }
    memory = evaluation.memorization_report(*sets, discriminator_scores=scores, **same)
    quality = evaluation.quality_report(*sets, classifier, **same)
    lung, lymphoma = (train.class_names.index(c) for c in ("lung", "lymphoma"))
    walk = evaluation.walk_measures(
        evaluation.walk(run.generator, (lung, 3), (lymphoma, 8), steps=cfg.walk_steps),
        train,
        holdout,
    )
    out = {
        "label agreement": use["label_agreement"]["overall"],
        "TSTR": use["tstr"],
        "TRTR": use["trtr"],
        "TSTR − TRTR": use["tstr_minus_trtr"],
    }
    if "normal" in train.class_names:
        normal, (real, unseen, fake) = train.class_names.index("normal"), map(as_set, sets)
        unseen = unseen.take(one_each(unseen, cfg.seed))
        for name, learned in (("TSTR", fake), ("TRTR", real)):
            found = tumour_auc(learned, unseen, normal, cfg.classifier_epochs)
            out[f"tumour against normal, AUC, {name}"] = found
    for row in use["augmentation"]:
        k = row["per_class"]
        out |= {
            f"{k} real a class": row["real"],
            f"{k} real a class + generated": row["both"],
            f"gain at {k} a class": row["gain"],
        }
    for space in ("pixels", "classifier"):
        out |= {
            f"{title}, {space}": quality[space][name]
            for name, title in (
                ("kid", "KID"),
                ("coverage_ratio", "coverage ratio"),
                ("vendi_ratio", "Vendi ratio"),
            )
        }
    out |= {
        "two-sample AUC": quality["two_sample_auc"],
        "fine detail": quality["fine_detail"],
        "fine detail of real exams": quality["fine_detail_floor"],
        "membership AUC": memory["membership_auc"],
        "copy fraction": memory["copy_fraction"],
        "blend fraction": memory["blend_fraction"],
    }
    if run.discriminator:
        out["discriminator AUC"] = memory["discriminator_auc"]
    titles = {
        "chord_ratio": "chord ratio",
        "off_chord": "off-chord",
        "largest_step": "largest step",
    }
    out |= {f"Fig. 5 walk: {title}": {"value": walk[name]} for name, title in titles.items()}
    return out | {"Fig. 5 walk: lowest residual": {"value": min(walk["residual_ratio"])}}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--dataset", default="", help="a prepared dataset; default the profile's")
    parser.add_argument("--profile", default="teach")
    parser.add_argument("--csv", default=str(CSV))
    a = parser.parse_args(arguments)
    from radiogan_lib import gan

    cfg = config.load(a.profile)
    folder = paths.need(
        Path(a.dataset or paths.dataset_dir(cfg)) / "dataset.json", "01_data_preparation"
    ).parent
    train, holdout = data.load(folder, split="train"), data.load(folder, split="test")
    start = time.perf_counter(), time.process_time()
    classifier = evaluation.train_classifier(
        train, len(train.class_names), epochs=cfg.classifier_epochs, seed=cfg.seed
    )
    rows = []
    for name in a.runs:
        folder = paths.REPO / "weights" if name == "shipped" else Path(name)
        run = gan.load_run(folder, discriminator=(folder / "discriminator.keras").exists())
        known = {
            "run": "shipped weights" if name == "shipped" else Path(name).name,
            "recipe": run.config.recipe,
            "seed": run.config.seed,
            "steps": int(run.history["steps"].iloc[-1]),
        }
        rows += [
            known | {"measure": k} | {p: m.get(p) for p in ("value", "low", "high")}
            for k, m in measures(run, train, holdout, classifier, cfg).items()
        ]
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        print(f"{known}: {wall:.0f} s, {cpu:.0f} s of processor", flush=True)
        table = pd.DataFrame(rows)
        paths.write_text(Path(a.csv), table.to_csv(index=False, float_format="%.4g"))
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
