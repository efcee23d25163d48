"""Evaluate a generator of images: is it good, is it diverse, is it useful, and does it repeat its training set?

Every measure works on `ImageSet`s: images float32 (n, rows, columns) in linear units (SUV), labels
and patients if known. Nothing here needs TensorFlow until a classifier or a walk is asked for, and
names load when first used. Explained in notebooks/04_evaluation.ipynb and
notebooks/05_memorization.ipynb.
"""

import importlib

_HOME = {
    "features": ["EvaluationError", "ImageSet", "area_average", "nearest", "pooled", "spectrum"],
    "statistics": ["MEASURES", "Measure", "is_measure", "shown", "title"],
    "memorisation": ["Reference", "best_pair", "detectable_copies", "memorization_report"],
    "quality": ["quality_report", "sharpness"],
    "utility": [
        "Classifier",
        "augmentation_gain",
        "label_agreement",
        "train_classifier",
        "utility_report",
    ],
    "walks": ["Walk", "slerp", "walk", "walk_measures", "walk_table"],
    "verdicts": ["Verdict", "make_control", "run_controls", "verdict"],
    "report": ["evaluate", "model_card", "plain", "write_report"],
    "images": ["read_images"],
    "sweep": ["recipe_rows", "sweep_points", "sweep_table"],
}
__all__ = sorted(name for names in _HOME.values() for name in names)


def __getattr__(name: str):
    for module, names in _HOME.items():
        if name in names:
            value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__():
    return sorted(set(globals()) | set(__all__))
