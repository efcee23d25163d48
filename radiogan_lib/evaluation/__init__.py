"""Evaluate a generator of images: is it good, is it diverse, is it useful, and does it repeat its training set?

Every measure works on `ImageSet`s: images float32 (n, rows, columns) in linear units (SUV), labels and patients if known. Nothing
here needs TensorFlow until a classifier or a walk is asked for, and names load when first used.
Explained in notebooks/04_evaluation.ipynb and notebooks/05_memorization.ipynb.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "features": [
            "EvaluationError",
            "ImageSet",
            "area_average",
            "nearest",
            "pooled",
            "spectrum",
        ],
        "statistics": ["MEASURES", "Measure", "is_measure", "shown"],
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
        "verdict": ["Verdict", "make_control", "run_controls", "verdict"],
        "report": ["evaluate", "model_card", "plain", "write_report"],
        "images": ["read_images"],
        "sweep": ["recipe_rows", "sweep_points", "sweep_table"],
    },
)
