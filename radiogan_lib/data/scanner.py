"""What a scanner makes of a phantom's activity: counting noise, a resolution of 5 to 7 mm, whole grey values."""

from __future__ import annotations

import numpy as np

from radiogan_lib.data import anatomy, shapes

STEP = 1 / 256  # SUV between two grey values: exact in float32, and int16 reaches SUV 128
AIR_SUV = 0.001  # scattered counts outside the body


def scan(canvas: shapes.Canvas, patient: anatomy.Patient) -> np.ndarray:
    """What the scanner makes of the activity: noise, resolution, no negative values; float32 steps of 1/256 SUV.

    The noise has a variance proportional to the activity and, before smoothing, a constant density per mm3, so that its
    size in the liver is the patient's `noise` on any grid. Outer slices are seen by fewer detector rings and are
    noisier; so is the middle of a large body.
    """
    sigma_mm = patient.resolution_mm / 2.3548
    density = patient.noise**2 * patient.liver * (2 * np.sqrt(np.pi) * sigma_mm) ** 3
    s = canvas.s.astype(float)
    ends = 1 + 0.8 * np.exp(-np.minimum(s - s[0], s[-1] - s) / 18)
    middle = 0.75 + 0.45 * np.exp(-1.5 * (canvas.x.astype(float) / patient.half_width_mm) ** 2)
    gain = np.sqrt(density / np.prod(canvas.step)) * middle[:, None] * ends[None]
    gain = gain.astype(np.float32)[:, None, :]
    random = patient.stream("noise")
    spare = np.empty((2, shapes.PLANES, *canvas.v.shape[1:]), np.float32)

    def count(part, planes):  # adds the noise of a few planes
        np.maximum(part, 0, out=part)
        noise, root = spare[:, : len(part)]
        random.standard_normal(out=noise, dtype=np.float32)
        noise *= gain[planes]
        np.add(part, np.float32(AIR_SUV), out=root)
        noise *= np.sqrt(root, out=root)
        part += noise

    v = shapes.smooth(canvas.v, [sigma_mm / d for d in canvas.step], count)
    for part in v:
        part *= np.float32(1 / STEP)
        np.clip(part, 0, 32767, out=part)
        np.rint(part, out=part)
    return v
