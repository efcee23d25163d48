"""Everything at once: a generator's numbers, its controls and its verdict, as one dict that metrics.json holds.

Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.evaluation.controls import run_controls
from radiogan_lib.evaluation.detection import detectable_copies
from radiogan_lib.evaluation.features import POOLED_SIDE, EvaluationError, check_sets, common_shape
from radiogan_lib.evaluation.memorization import memorization_report
from radiogan_lib.evaluation.quality import quality_report
from radiogan_lib.evaluation.verdicts import RULE, verdict

SCHEMA_VERSION = 1


class Report(dict):
    """The content of metrics.json, and beside it `pictures`: {name: PNG bytes} for the report page."""

    pictures: dict[str, bytes]

    def __init__(self, values: dict, pictures: dict | None = None):
        super().__init__(values)
        self.pictures = pictures or {}


def plain(value):
    """The same content in plain Python types; NaN and infinity become None, keys become text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value if value is None or isinstance(value, str) else str(value)


def evaluate(
    train,
    holdout,
    generated,
    train_labels=None,
    holdout_labels=None,
    generated_labels=None,
    *,
    train_groups=None,
    holdout_groups=None,
    class_names=None,
    discriminator_scores: dict | None = None,
    memorization: dict | None = None,
    quality: dict | None = None,
    utility: dict | bool | None = None,
    judge=None,
    controls: list | bool = True,
    walks: list | None = None,
    provenance: dict | None = None,
    invert: bool = True,
    epochs: int = 30,
    rounds: int = 200,
    seed: int = 0,
) -> Report:
    """Judge a generator from three sets of images.

    Args:
        train, holdout, generated: (n, h, w) linear intensity (SUV). Held-out exams must be unknown to the generator.
        train_labels, …: int (n,), all three or none; with them everything is compared within classes.
        train_groups, holdout_groups: (n,) patients, optional: exams of one patient are then no independent evidence.
        class_names: in label order; default "class 0", …
        discriminator_scores: {"train", "holdout"} logits, if the discriminator is at hand.
        memorization, quality, utility: reports that exist already are taken as they are. `utility=True` computes it
            (needs labels and Keras); None leaves it out.
        judge: a `Judge` for the quality report's second feature space.
        controls: True: the five controls from halves of the training exams; a list of `run_controls`; False: none.
        walks: rows of `walk_table`, kept in the report.
        provenance: what made the images (settings, seeds, versions): kept in the report and the model card.
        invert: show high values dark, as PET is read.

    Returns:
        `Report`, a dict ready for JSON, with `verdict` and `pictures`.

    Raises:
        EvaluationError: images or labels that cannot be judged.
    """
    images, labels = check_sets(
        train, holdout, generated, train_labels, holdout_labels, generated_labels
    )
    if utility is True:
        if labels[0] is None:
            raise EvaluationError(
                "label agreement and TSTR need labels of all three sets; give them, or leave utility out."
            )
        from radiogan_lib.evaluation.classifier import train_judge
        from radiogan_lib.evaluation.utility import utility_report

        n_classes = (
            len(class_names) if class_names is not None else int(max(y.max() for y in labels)) + 1
        )
        judge = judge or train_judge(images[0], labels[0], n_classes, epochs=epochs, seed=seed)
        utility = utility_report(
            *images,
            *labels,
            train_groups=train_groups,
            holdout_groups=holdout_groups,
            judge=judge,
            epochs=epochs,
            rounds=rounds,
            seed=seed,
        )
    if memorization is None:
        memorization = memorization_report(
            *images,
            *labels,
            train_groups=train_groups,
            holdout_groups=holdout_groups,
            discriminator_scores=discriminator_scores,
            rounds=rounds,
            seed=seed,
        )
    if quality is None:
        quality = quality_report(
            *images,
            *labels,
            train_groups=train_groups,
            holdout_groups=holdout_groups,
            judge=judge,
            rounds=rounds,
            seed=seed,
        )
    if controls is True:
        controls = run_controls(
            images[0],
            images[1],
            None,
            labels[0],
            labels[1],
            train_groups=train_groups,
            holdout_groups=holdout_groups,
            seed=seed,
            rounds=rounds,
        )
    if class_names is None and labels[0] is not None:
        class_names = [f"class {k}" for k in range(int(max(y.max() for y in labels)) + 1)]
    small = common_shape(*(x.shape[1:] for x in images))
    report = {
        "schema_version": SCHEMA_VERSION,
        "seed": seed,
        "n": dict(zip(("train", "holdout", "generated"), map(len, images), strict=True)),
        "image_shapes": dict(
            zip(("train", "holdout", "generated"), (x.shape[1:] for x in images), strict=True)
        ),
        "compared_at": {
            "shape": small,
            "note": f"area-averaged to at most {POOLED_SIDE} pixels on the longer side",
        },
        "class_names": list(class_names) if class_names is not None else None,
        "memorization": memorization,
        "quality": quality,
        "utility": utility or None,
        "detectable": detectable_copies(images[0], images[1], seed=seed),
        "controls": controls or None,
        "walks": walks,
        "provenance": provenance or {},
    }
    found = verdict(report)
    report["verdict"] = {
        "word": found.word,
        "sentence": found.sentence,
        "flags": found.flags,
        "rule": RULE,
    }
    from radiogan_lib.evaluation.pictures import pictures

    return Report(plain(report), pictures(images, labels, class_names, memorization, invert))
