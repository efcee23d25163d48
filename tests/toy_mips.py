"""A quick 2-D stand-in for whole-body PET projections: enough variety to tell a copy from a fresh
exam, in no time.

Not a phantom of anatomy: blobs that move, swell and brighten from "exam" to "exam", with lesions by
class.
"""

import numpy as np

N_CLASSES = 5


def exams(labels, seed: int, shape=(40, 24)) -> np.ndarray:
    """Fresh exams: (n, h, w) float32 in SUV-like units. Same labels and seed, same images."""
    rng = np.random.default_rng(seed)
    labels = np.asarray(labels)
    h, w = shape
    y, x = np.mgrid[0 : 1 : h * 1j, 0 : 1 : w * 1j]
    images = np.empty((len(labels), h, w), np.float32)
    for i, label in enumerate(labels):
        wide, tall = rng.uniform(0.24, 0.38), rng.uniform(0.42, 0.5)
        body = 1 / (1 + np.exp(30 * (((x - 0.5) / wide) ** 2 + ((y - 0.52) / tall) ** 4 - 1)))
        image = rng.uniform(0.4, 0.9) * body
        organs = [
            (0.07, 0.5, 0.06, 8),
            (0.3, 0.55, 0.05, rng.choice([0.3, 5])),
            (0.42, 0.4, 0.09, 2.2),
            (0.45, 0.63, 0.05, 1.6),
            (0.52, 0.38, 0.03, 5),
            (0.52, 0.62, 0.03, 5),
            (0.75, 0.5, 0.06, 9),
            (0.6, rng.uniform(0.35, 0.65), 0.05, 2),
            (0.62, rng.uniform(0.35, 0.65), 0.04, 2),
        ]
        lesions = {
            0: [],
            1: [(0.15, 0.5, 0.03, 7)] * 2,
            2: [(0.26, 0.5, 0.025, 7)],
            3: [(0.28, 0.32, 0.035, 8)],
            4: [
                (rng.uniform(0.15, 0.7), rng.uniform(0.3, 0.7), 0.03, 6)
                for _ in range(rng.integers(3, 7))
            ],
        }
        for cy, cx, r, suv in organs + lesions[int(label)]:
            cy, cx = cy + rng.normal(0, 0.02), cx + rng.normal(0, 0.025)
            r, suv = r * np.exp(rng.normal(0, 0.15)), suv * np.exp(rng.normal(0, 0.3))
            blob = suv * np.exp(-0.5 * (((x - cx) * w / h * 1.2 / r) ** 2 + ((y - cy) / r) ** 2))
            image = np.maximum(image, blob)
        images[i] = np.clip(image * (1 + rng.normal(0, 0.06, (h, w))), 0, 30)
    return images


def split(seed: int, n_train=300, n_holdout=150, n_fresh=300, **kw):
    """Disjoint training, held-out and fresh sets of one world: three (images, labels) pairs."""
    sets = []
    for k, n in enumerate((n_train, n_holdout, n_fresh)):
        labels = np.arange(n) % N_CLASSES
        sets.append((exams(labels, 1000 * seed + k, **kw), labels))
    return sets
