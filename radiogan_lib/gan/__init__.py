"""The paper's conditional GAN: networks, losses, training, sampling, and the CGAN that memorises.

A name loads its module when it is first used, because every module here loads Keras.
"""

import lazy_loader

from radiogan_lib import machine

_load, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["engine", "improvements", "memoriser"],
    submod_attrs={
        "networks": ["build_generator", "build_discriminator", "embedding_generator", "SuvImage"],
        "radiogan": ["RadioGAN", "compiled"],
        "sampling": ["sample", "noise", "recalibrate", "SamplingError"],
        "training": ["train", "TrainingError"],
        "runs": [
            *("load_run", "load_run_or_shipped", "load_shipped", "Run", "RunError"),
            *("discriminator_scores", "samples_over_epochs"),
        ],
        "memoriser": ["train_baseline"],
        "diagnosis": ["diagnose", "Diagnosis", "SampleMeasures"],
    },
)


def __getattr__(name: str):
    """Load what is asked for; a Keras that cannot work is one sentence before it is a traceback."""
    if name in __all__:
        machine.keras_backend()
    return _load(name)
