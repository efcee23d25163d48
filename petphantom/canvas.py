"""Paints soft-edged shapes (ellipsoids, tubes) into a volume, and scans it as a PET camera would.

Coordinates are body millimetres: x to the patient's right, y to the front, s down from the vertex
(the last axis of the array). A shape's edge is one voxel wide, so that thin structures keep their
activity on a coarse grid. Voxels see only +, -, *, / and square roots, which IEEE 754 rounds the
same on every processor: same seed, same voxels.
"""

import numpy as np

STEP = 1 / 256  # SUV between two grey values: exact in float32, and int16 reaches SUV 128
AIR_SUV = 0.001  # scattered counts outside the body
PLANES = 4  # planes of the first axis at a time stay in the processor's cache


def table(text: str) -> np.ndarray:
    """Rows of numbers written as text, "1 2 3, 4 5 6", as a float array (rows, columns)."""
    return np.array([row.split() for row in text.split(",")], float)


class Canvas:
    """A box of voxels in body coordinates.

    Attributes:
        x, y, s: float32 voxel centres along each axis, mm.
        v: float32 activity (SUV), shape (len(x), len(y), len(s)).
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, s: np.ndarray):
        self.axes = self.x, self.y, self.s = [np.asarray(a, np.float32) for a in (x, y, s)]
        self.step = tuple(float(a[1] - a[0]) for a in self.axes)
        self.edge = float(np.cbrt(np.prod(self.step)))
        self.v = np.zeros([len(a) for a in self.axes], np.float32)

    def box(self, low, high) -> tuple[slice, ...]:
        """The slices of the voxels between two corners (mm), clipped to the canvas."""
        out = []
        for a, step, lo, hi in zip(self.axes, self.step, low, high):
            i = int(np.floor((lo - a[0]) / step))
            j = int(np.ceil((hi - a[0]) / step)) + 1
            out.append(slice(min(max(i, 0), len(a)), max(min(j, len(a)), 0)))
        return tuple(out)

    def offsets(self, box, centre) -> list[np.ndarray]:
        """Distances from `centre` along x, y, s in `box`, shaped to broadcast."""
        shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
        axes = zip(self.axes, box, centre, shapes)
        return [(a[b] - np.float32(c)).reshape(shape) for a, b, c, shape in axes]

    def blend(self, box, weight: np.ndarray, value) -> None:
        """Move the voxels of `box` towards `value` by `weight` (0 to 1)."""
        region = self.v[box]
        change = np.float32(value) - region
        change *= weight
        region += change

    def ellipsoid(
        self, centre, radii, value: float, turn: np.ndarray | None = None, softness_mm: float = 0.0
    ) -> None:
        """Fill an ellipsoid.

        Args:
            centre, radii: mm along x, y, s (along the turned axes if `turn` is given).
            value: SUV inside.
            turn: 3 x 3 rotation whose rows are the ellipsoid's axes.
            softness_mm: width of the edge beyond one voxel; a tumour's rim is soft.
        """
        reach = radii
        if turn is not None:
            reach = np.sqrt((np.square(turn) * np.square(radii)[:, None]).sum(0))
        edge = self.edge + softness_mm
        box = self.box(np.subtract(centre, reach) - edge, np.add(centre, reach) + edge)
        if any(b.start >= b.stop for b in box):
            return
        d = self.offsets(box, centre)
        if turn is not None:
            d = [sum(np.float32(row[k]) * d[k] for k in range(3)) for row in turn]
        inverse = [np.float32(1 / r) for r in radii]
        q = sum(np.square(a * i) for a, i in zip(d, inverse))
        np.sqrt(q, out=q)
        self.blend(box, self.ramp(np.float32(1) - q, min(radii), edge), value)

    @staticmethod
    def ramp(inside: np.ndarray, scale_mm: float, edge_mm: float) -> np.ndarray:
        """0 outside, 1 inside, linear over `edge_mm`; `inside` is a signed part of `scale_mm`."""
        inside *= np.float32(scale_mm / edge_mm)
        inside += np.float32(0.5)
        return np.clip(inside, 0, 1, out=inside)

    def tube(self, points, radii, values, flat: float = 1.0, layers=((0.0, 1.0),)) -> None:
        """Fill a chain of tapered capsules.

        Args:
            points: (n, 3) mm.
            radii: one radius or n, mm.
            values: one SUV or one per segment (n - 1).
            flat: radius along y as a fraction of the others (a sternum is flat).
            layers: (inset in mm, factor on the value), outermost first: skin, then fat.
        """
        points = np.asarray(points, float)
        n = len(points)
        radii = np.broadcast_to(np.asarray(radii, float), n)
        values = np.broadcast_to(np.asarray(values, float), n - 1)
        squash = np.array([1.0, flat, 1.0])
        for a, b, ra, rb, value in zip(points[:-1], points[1:], radii[:-1], radii[1:], values):
            margin = max(ra, rb) + self.edge
            box = self.box(np.minimum(a, b) - margin, np.maximum(a, b) + margin)
            if any(k.start >= k.stop for k in box):
                continue
            d = self.offsets(box, a)
            if flat != 1:
                d[1] = d[1] * np.float32(1 / flat)
            ab = (b - a) / squash
            length2 = max(float(ab @ ab), 1e-6)
            along = [e * np.float32(k / length2) for e, k in zip(d, ab, strict=True)]
            u = along[0] + along[1] + along[2]
            t = np.clip(u, 0, 1)
            u *= np.float32(-2)  # squared distance = |e|^2 + t (t - 2u) |ab|^2
            u += t
            u *= t
            u *= np.float32(length2)
            u += (np.square(d[0]) + np.square(d[1])) + np.square(d[2])
            distance = np.sqrt(np.maximum(u, 0, out=u), out=u)
            t *= np.float32(rb - ra)
            t += np.float32(ra)
            for inset, factor in layers:
                depth = t - np.float32(inset) - distance
                self.blend(box, self.ramp(depth, 1.0, self.edge), value * factor)


def turn(lateral_deg: float = 0.0, sagittal_deg: float = 0.0, axial_deg: float = 0.0) -> np.ndarray:
    """Rotation matrix: degrees in the coronal and sagittal planes, then about the body axis."""
    a, b, c = np.deg2rad([lateral_deg, sagittal_deg, axial_deg])
    coronal = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    sagittal = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    axial = np.array([[np.cos(c), np.sin(c), 0], [-np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return axial @ sagittal @ coronal


def curve(points, n: int) -> np.ndarray:
    """`n` points along a smooth (Catmull-Rom) curve through `points` (m, 3)."""
    p = np.asarray(points, float)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, len(p) - 3 - 1e-9, n)
    k = t.astype(int)
    u = (t - k)[:, None]
    a, b, c, d = p[k], p[k + 1], p[k + 2], p[k + 3]
    return 0.5 * (
        2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u**2 + (3 * b - a - 3 * c + d) * u**3
    )


def _smooth_axis(v, out, kernel, axis: int, spare) -> None:
    np.multiply(v, kernel[0], out=out)
    for k in range(1, min(len(kernel), v.shape[axis])):
        low, high = [slice(None)] * v.ndim, [slice(None)] * v.ndim
        low[axis], high[axis] = slice(None, -k), slice(k, None)
        low, high = tuple(low), tuple(high)
        scaled = np.multiply(v, kernel[k], out=spare)
        out[high] += scaled[low]
        out[low] += scaled[high]


def smooth(v: np.ndarray, sigmas, prepare=None, cut: float = 2.6) -> np.ndarray:
    """Gaussian smoothing along each axis, zero beyond the borders.

    The result equals SciPy's gaussian_filter to 1e-6. It is written out so that the order of the
    float32 additions, and with it every checksum, depends on no library's version.

    Args:
        v: float32, 3-D; used as scratch.
        sigmas: one per axis, in voxels.
        prepare: called with a block of planes and its slice of the first axis, before smoothing.

    Returns:
        float32 of v's shape.
    """
    kernels = []
    for sigma in sigmas:
        kernel = np.exp(-0.5 * (np.arange(max(1, int(cut * sigma + 0.5)) + 1) / sigma) ** 2)
        kernels.append((kernel / (kernel[0] + 2 * kernel[1:].sum())).astype(np.float32))
    n = len(v)
    a, b = np.empty((2, PLANES, *v.shape[1:]), np.float32)
    for i in range(0, n, PLANES):
        part = v[i : i + PLANES]
        if prepare is not None:
            prepare(part, slice(i, i + len(part)))
        _smooth_axis(part, a[: len(part)], kernels[1], 1, b[: len(part)])
        _smooth_axis(a[: len(part)], part, kernels[2], 2, b[: len(part)])
    out, kernel = np.empty_like(v), kernels[0]
    for i in range(n):
        np.multiply(v[i], kernel[0], out=out[i])
        for k in range(1, len(kernel)):
            near = [v[j] for j in (i - k, i + k) if 0 <= j < n]
            if near:
                both = near[0] + near[1] if len(near) > 1 else near[0]
                out[i] += np.multiply(both, kernel[k], out=a[0])
    return out


def scan(canvas: Canvas, patient) -> np.ndarray:
    """What the camera makes of the activity: noise, resolution, no negative values.

    The noise has a variance proportional to the activity and, before smoothing, a constant density
    per mm3, so that its size in the liver is the patient's `noise` on any grid. Outer slices are
    seen by fewer detector rings and are noisier; so is the middle of a large body.

    Returns:
        float32 of the canvas' shape, in whole steps of 1/256 SUV; the canvas' values are used up.
    """
    sigma_mm = patient.resolution_mm / 2.3548
    density = patient.noise**2 * patient.liver * (2 * np.sqrt(np.pi) * sigma_mm) ** 3
    s = canvas.s.astype(float)
    ends = 1 + 0.8 * np.exp(-np.minimum(s - s[0], s[-1] - s) / 18)
    middle = 0.75 + 0.45 * np.exp(-1.5 * (canvas.x.astype(float) / patient.half_width_mm) ** 2)
    gain = np.sqrt(density / np.prod(canvas.step)) * middle[:, None] * ends[None]
    gain = gain.astype(np.float32)[:, None, :]
    random = patient.stream("noise")
    spare = np.empty((2, PLANES, *canvas.v.shape[1:]), np.float32)

    def count(part, planes):  # adds the noise of a few planes
        np.maximum(part, 0, out=part)
        noise, root = spare[:, : len(part)]
        random.standard_normal(out=noise, dtype=np.float32)
        noise *= gain[planes]
        np.add(part, np.float32(AIR_SUV), out=root)
        noise *= np.sqrt(root, out=root)
        part += noise

    v = smooth(canvas.v, [sigma_mm / d for d in canvas.step], count)
    for part in v:
        part *= np.float32(1 / STEP)
        np.clip(part, 0, 32767, out=part)
        np.rint(part, out=part)
    return v
