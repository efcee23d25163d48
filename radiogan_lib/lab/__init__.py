"""What a notebook shows: figures, tables, diagrams, explorer, checks, exercises.

Names load when first used: `from radiogan_lib import lab` loads no TensorFlow and no matplotlib.
"""

import lazy_loader

_HOME = {
    "notebook": "setup source facts provenance pick_classes",
    "check": "environment",
    "tables": "Table class_counts controls_table metric_table size_table",
    "exams": "exam_facts exam_to_follow one_slope_mistake phantom_as_dicom spoilt_exams "
    "suv_explanation",
    "figures": "audit class_figure directions mip_row rotating_mip sets_side_by_side suv_steps "
    "walk_strip walk_strips walk_with_neighbours what_is_wrong",
    "charts": "architecture claim confusion curves failures one_or_five over_time sweep "
    "training_strip walk_distributions",
    "diagrams": "diagram",
    "latent": "Space",
    "widget": "explorer",
    "exercises": "exercise",
}
_NAMES = {module: names.split() for module, names in _HOME.items()}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
