"""The paper's conditional GAN: networks, game, training, sampling, and the CGAN that memorises.

Names are imported when first used, so that asking for one does not load what it does not need.
Explained in notebooks/02_networks.ipynb and 03_training.ipynb.
"""

from __future__ import annotations

import importlib

from radiogan_lib.gan import cores

cores.share()  # with the package, since TensorFlow looks once and early
_HOME = {
    "networks": ("build_generator", "build_discriminator", "embedding_generator", "SuvImage"),
    "radiogan": ("RadioGAN", "compiled"),
    "sampling": ("sample", "noise", "recalibrate", "SamplingError"),
    "training": ("train",),
    "runs": (
        "load_run",
        "load_run_or_shipped",
        "load_shipped",
        "discriminator_scores",
        "samples_over_epochs",
        "Run",
        "RunError",
    ),
    "callbacks": ("TrainingError",),
    "baseline": ("train_baseline",),
    "health": ("diagnose", "Diagnosis", "Yardstick"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}
_MODULES = (*_HOME, "checkpoints", "cores", "devices", "fast", "improvements", "memory")
__all__ = sorted((*_WHERE, *_MODULES))


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _WHERE:
        return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}"
    )


def __dir__():
    return __all__
