"""What a notebook shows: figures, tables, diagrams, the latent explorer, the environment check, the exercises.

Names are loaded when first used, so that `from radiogan_lib import lab` stays light (no TensorFlow, no matplotlib).
"""

from __future__ import annotations

import importlib
import sys
import types

_HOMES = {
    "notebook": "setup source facts provenance pick_classes",
    "environment": "environment",
    "tables": "Table metric_table layer_table size_table class_counts controls_table",
    "exams": "phantom_as_dicom exam_to_follow exam_facts suv_explanation one_slope_mistake spoilt_exams",
    "figures": "mip_row mip_grid real_beside_generated class_figure histogram",
    "figures_exam": "rotating_row suv_steps",
    "turning": "rotating_mip",
    "figures_walks": "walk_strip walk_with_neighbours audit",
    "figures_training": "curves training_strip confusion",
    "figures_sweep": "sweep",
    "figures_networks": "architecture",
    "latent": "Space",
    "diagrams": "diagram",
    "explorer": "explorer LatentExplorer",
    "exercises": "exercise question solution",
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_WHERE)


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"radiogan_lib.lab has no {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Lab(types.ModuleType):
    """Importing a submodule sets it as an attribute; where a function has that name (explorer), the function stays."""

    def __setattr__(self, name, value):
        if not (name in _WHERE and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Lab
