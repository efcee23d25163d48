"""What a notebook shows: figures, tables, diagrams, the latent explorer, the installation's check, the exercises.

Names load when first used, so that `from radiogan_lib import lab` stays light (no TensorFlow, no matplotlib).
"""

import importlib

_HOME = {
    "notebook": ["setup", "source", "facts", "provenance", "pick_classes"],
    "check": ["environment"],
    "tables": [
        "Table",
        "class_counts",
        "controls_table",
        "layer_table",
        "metric_table",
        "size_table",
    ],
    "exams": [
        "exam_facts",
        "exam_to_follow",
        "one_slope_mistake",
        "phantom_as_dicom",
        "spoilt_exams",
        "suv_explanation",
    ],
    "figures": [
        "audit",
        "class_figure",
        "histogram",
        "mip_grid",
        "mip_row",
        "real_beside_generated",
        "rotating_mip",
        "rotating_row",
        "suv_steps",
        "walk_strip",
        "walk_with_neighbours",
    ],
    "charts": ["architecture", "confusion", "curves", "sweep", "training_strip"],
    "diagrams": ["diagram"],
    "latent": ["Space"],
    "widget": ["explorer"],
    "exercises": ["exercise", "question", "solution"],
}
__all__ = sorted(name for names in _HOME.values() for name in names)


def __getattr__(name: str):
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"radiogan_lib.lab has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
