"""A generator without a network: a body whose width, heart and lesion follow z and the label's
vector."""

import numpy as np
import pandas as pd


class FakeGenerator:
    """What the explorer needs of a generator: `draw(z, e)`, `table`, `noise_dim`; it counts its
    calls."""

    def __init__(self, n_classes=5, noise_dim=12, shape=(40, 24)):
        self.table = np.eye(n_classes, 6, dtype=np.float32)
        self.noise_dim, self.shape, self.calls = noise_dim, shape, 0

    def draw(self, z, e):
        self.calls += 1
        y, x = np.mgrid[0 : 1 : self.shape[0] * 1j, 0 : 1 : self.shape[1] * 1j]
        out = []
        for a, b in zip(z, e):
            wide = 0.25 + 0.04 * np.tanh(a[0])
            body = ((x - 0.5) / wide) ** 2 + ((y - 0.5) / 0.48) ** 4 < 1
            heart = (
                6
                * np.exp(-((x - 0.58) ** 2 + (y - 0.38 - 0.02 * a[1]) ** 2) / 0.004)
                * (1 + np.tanh(a[2]))
            )
            lesion = 8 * np.exp(
                -((x - 0.45) ** 2 + (y - 0.1 - 0.15 * (b @ np.arange(len(b)))) ** 2) / 0.002
            )
            out.append(body * (0.6 + heart + lesion))
        return np.asarray(out, np.float32)


def dataset(
    names=("normal", "head_neck", "oesophagus", "lung", "lymphoma"),
    per_class=6,
    shape=(40, 24),
    seed=5,
):
    """A small MipDataset drawn by the fake generator, half of it held out."""
    from radiogan_lib.data.dataset import MipDataset

    fake = FakeGenerator(len(names), shape=shape)
    labels = np.repeat(np.arange(len(names)), per_class)
    z = np.random.default_rng(seed).standard_normal((len(labels), fake.noise_dim))
    exams = pd.DataFrame(
        {
            "exam_id": [f"e{k}" for k in range(len(labels))],
            "patient_id": [f"p{k}" for k in range(len(labels))],
            "class": [names[k] for k in labels],
            "split": ["train", "test"] * (len(labels) // 2),
        }
    )
    return MipDataset(
        fake.draw(z, fake.table[labels]), exams, list(names), (900.0, 540.0), 30.0, "0" * 64
    )
