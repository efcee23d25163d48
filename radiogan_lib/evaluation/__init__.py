"""Judge a generator of images: is it good, is it diverse, is it useful, and does it repeat its training set?

Every measure works on plain arrays: images float32 (n, rows, columns) in linear units (SUV), labels int (n,). Nothing
here needs TensorFlow until a classifier, a walk or a latent recovery is asked for, and names load when first used.
Explained in notebooks/04_evaluation.ipynb and notebooks/05_memorization.ipynb.
"""

import importlib

_HOME = {
    "EvaluationError": "features",
    "area_average": "features",
    "pooled": "features",
    "spectrum": "features",
    "nearest": "distances",
    "nearest_k": "distances",
    "memorization_report": "memorization",
    "detectable_copies": "detection",
    "discriminator_overfit": "memorization",
    "best_pair": "blending",
    "blend_report": "blending",
    "quality_report": "quality",
    "sharpness": "quality",
    "utility_report": "utility",
    "augmentation_gain": "utility",
    "label_agreement": "utility",
    "Judge": "classifier",
    "train_judge": "classifier",
    "Walk": "walks",
    "walk": "walks",
    "slerp": "walks",
    "walk_measures": "walk_numbers",
    "blend_frame": "walk_numbers",
    "walk_table": "walk_numbers",
    "latent_recovery": "recovery",
    "controls": "controls",
    "make_control": "controls",
    "run_controls": "controls",
    "Verdict": "verdicts",
    "verdict": "verdicts",
    "evaluate": "report",
    "plain": "report",
    "write_report": "files",
    "model_card": "files",
    "read_images": "images",
    "sweep_table": "sweep",
    "sweep_points": "sweep",
    "recipe_rows": "sweep",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    value = module if name == _HOME[name] and not hasattr(module, name) else getattr(module, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))
