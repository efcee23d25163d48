"""Evaluate a generator of images: is it good, diverse and useful, and does it repeat its exams?

Every measure works on `ImageSet`s: images float32 (n, rows, columns) in linear units (SUV), labels
and patients if known. Nothing here needs TensorFlow until a classifier or a walk is asked for, and
names load when first used.
"""

import lazy_loader

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
    "sweep": ["recipe_rows", "sweep_table"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_HOME)
