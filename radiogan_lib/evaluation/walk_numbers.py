"""Numbers for what is seen along a walk: a cross-fade of two stored exams, a jump, or a morph through believable ones?

The measure behind the red frame of Fig. 4 and the line under Fig. 5. Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.blending import best_pair
from radiogan_lib.evaluation.features import check_images, common_shape, pooled
from radiogan_lib.evaluation.walks import KINDS, Walk, shape_of, walk


class WalkMeasures(dict):
    """The numbers under a walk: a plain dict, with `captions` (one short line per frame) for figures."""

    @property
    def captions(self) -> list[str]:
        """Blend residual and nearest training exam of each frame."""
        return [
            f"residual {r:.2f}\nexam {i}"
            for r, i in zip(self["residual_ratio"], self["nearest"], strict=True)
        ]

    @property
    def blend_frame(self) -> dict:
        """The frame that a blend of two training exams explains best: see `blend_frame`."""
        return self["blend_frame"]

    def summary(self) -> dict:
        """One row of a table that compares walks: its shape, and the frame in red."""
        b = self["blend_frame"]
        return {
            **{
                k: self[k]
                for k in ("chord_ratio", "off_chord", "largest_step", "realism", "nearest_switches")
            },
            "red_frame": b["index"] + 1,
            "its_residual": b["residual_ratio"],
            "share_of_second_exam": b["share_of_second"],
            "explained_by_second": b["explained_by_second"],
        }

    def __str__(self) -> str:
        chord = (
            "a closed walk"
            if self["chord_ratio"] is None
            else f"chord ratio {self['chord_ratio']:.2f}, off-chord {self['off_chord']:.2f}"
        )
        b = self["blend_frame"]
        return (
            f"{chord}, largest step {self['largest_step']:.2f} (even: {self['even_step']:.2f}), realism "
            f"{self['realism']:.2f}, {self['nearest_switches']} changes of nearest exam; frame {b['index'] + 1} is "
            f"nearest to a blend: exams {b['first']} and {b['second']}, residual {b['residual_ratio']:.2f} of held-out exams'"
        )


class Yardstick:
    """What the frames of walks are measured against: pooled exams, and what held-out ones give. Made once for many walks.

    Args:
        train, holdout: (n, h, w) SUV. shape: of the frames, which may be of another size.
    """

    @distances.one_thread
    def __init__(self, train, holdout, shape: tuple[int, int]):
        t, p = check_images(train, "training"), check_images(holdout, "held-out")
        self.shape = common_shape(shape, t.shape[1:], p.shape[1:])
        self.train, self.holdout = pooled(t, self.shape), pooled(p, self.shape)
        self.between = distances.squared(self.train, self.train)
        reference = best_pair(self.holdout, self.train, between=self.between)
        self.residuals = reference["residual"]
        self.residual, self.single = (
            max(float(np.median(reference[k])), 1e-12) for k in ("residual", "single")
        )
        self.unseen = max(float(np.median(distances.nearest_k(self.train, self.holdout)[0])), 1e-12)

    @distances.one_thread
    def measure(self, frames: np.ndarray) -> WalkMeasures:
        """`walk_measures` of frames (steps, h, w)."""
        f = pooled(check_images(frames, "walk"), self.shape)
        pairs = best_pair(f, self.train, between=self.between)
        d, near = distances.nearest_k(f, self.train)
        to_unseen = distances.nearest_k(f, self.holdout)[0][:, 0]
        middle = to_unseen[len(f) // 4 : len(f) - len(f) // 4]
        ratio = pairs["residual"] / self.residual
        gain = pairs["residual"] / np.maximum(pairs["single"], 1e-12)
        copy = pairs["single"] <= 0.05 * self.single  # a copy is explained by one exam, not by two
        balance = 4 * pairs["alpha"] * (1 - pairs["alpha"])  # 1 at half and half
        blend = np.where(
            copy | (balance < 0.2),
            np.inf,
            (np.sqrt(ratio * gain) + 0.02) / np.maximum(balance, 1e-12),
        )
        k = int(np.argmin(blend)) if np.isfinite(blend).any() else int(np.argmin(ratio))
        return WalkMeasures(
            {
                **shape_of(f),
                "nearest": near[:, 0].tolist(),
                "nearest_distance": d[:, 0].astype(float).tolist(),
                "nearest_ratio": (d[:, 0] / self.single).astype(float).tolist(),
                "nearest_switches": int((np.diff(near[:, 0]) != 0).sum()),
                "residual_ratio": ratio.astype(float).tolist(),
                "pair": [
                    {"first": int(i), "second": int(j), "share_of_second": float(a)}
                    for i, j, a in zip(pairs["i"], pairs["j"], pairs["alpha"], strict=True)
                ],
                "realism": float(np.median(middle) / self.unseen),
                "blend_frame": {
                    "index": k,
                    "first": int(pairs["i"][k]),
                    "second": int(pairs["j"][k]),
                    "share_of_second": float(pairs["alpha"][k]),
                    "residual_ratio": float(ratio[k]),
                    "explained_by_second": float(1 - gain[k]),
                    "share_of_holdout_below": float(
                        (self.residuals <= pairs["residual"][k]).mean()
                    ),
                },
            }
        )


def walk_measures(walk, train, holdout) -> WalkMeasures:
    """The numbers printed under a walk: shape, realism of its middle, blend residual and nearest exam of each frame.

    Args:
        walk: a `Walk` or frames (steps, h, w) SUV.
        train, holdout: (n, h, w) SUV: training exams, and real exams the generator never saw.

    Returns:
        a dict of the numbers of `shape_of`, and
        - nearest, nearest_distance (per frame): the nearest training exam; nearest_switches: how often it changes;
        - residual_ratio (per frame): distance to the nearest segment between two training exams ÷ the held-out exams'
          median: near 0 where the frame is a blend (or a copy);
        - pair (per frame): those two exams and the share of the second;
        - blend_frame: see `blend_frame`;
        - realism: median distance of the middle half of the frames to the nearest held-out exam ÷ what training exams
          have (1 = as near to unseen patients as real exams are; well above 1 = half patients).
    """
    frames = check_images(walk.frames if isinstance(walk, Walk) else walk, "walk")
    return Yardstick(train, holdout, frames.shape[1:]).measure(frames)


def blend_frame(walk, train, holdout) -> dict:
    """The frame of a walk that two training exams explain best (the one Fig. 4 frames in red).

    It minimises √(residual ratio × residual ÷ distance to the nearest exam), divided by how even the two shares are:
    close to the segment between two exams, and not merely close to one. Returns index, the two training exams, the share of the second, the residual ratio
    against held-out exams, how much the second exam explains (0 to 1), and the share of held-out exams that lie at
    least as near to a blend (below 0.05: a real exam hardly ever does).
    """
    return walk_measures(walk, train, holdout)["blend_frame"]


def walk_table(
    generator,
    train,
    holdout,
    n_classes: int | None = None,
    walks: int = 8,
    steps: int = 21,
    seed: int = 0,
    kinds=KINDS,
) -> list[dict]:
    """Walks of every kind between random classes and seeds, and for comparison cross-fades of real exams.

    Returns:
        one dict per kind: walks, and median [quartiles] of chord_ratio, off_chord, largest_step, realism, lowest residual
        ratio of the middle half, nearest_switches. The last row is the cross-fade of random training exams.
    """
    n_classes = n_classes or len(generator.get_layer("label_embedding").get_weights()[0])
    train, rng = check_images(train, "training"), np.random.default_rng(seed)
    rows, yardsticks = [], {}
    for kind in (*kinds, "cross-fade"):
        found: dict[str, list] = {
            k: []
            for k in (
                "chord_ratio",
                "off_chord",
                "largest_step",
                "realism",
                "residual_ratio",
                "nearest_switches",
            )
        }
        # the paper's axis has one path per class, whatever the seed
        for k in range(min(walks, n_classes) if kind == "paper" else walks):
            a, b = (k, k) if kind == "paper" else rng.choice(n_classes, 2, replace=n_classes < 2)
            if kind == "cross-fade":
                i, j = rng.choice(len(train), 2, replace=False)
                share = np.linspace(0, 1, steps)[:, None, None]
                frames = (1 - share) * train[i] + share * train[j]
            else:
                frames = walk(
                    generator,
                    (a, int(rng.integers(2**31))),
                    (b, int(rng.integers(2**31))),
                    steps,
                    kind,
                ).frames
            shape = frames.shape[1:]
            if shape not in yardsticks:
                yardsticks[shape] = Yardstick(train, holdout, shape)
            m = yardsticks[shape].measure(frames)
            for name, values in found.items():
                value = (
                    min(m[name][steps // 4 : -(steps // 4)])
                    if name == "residual_ratio"
                    else m[name]
                )
                if value is not None:
                    values.append(value)
        row = {"walk": kind, "walks": walks if kind != "paper" else min(walks, n_classes)}
        for name, values in found.items():
            low, mid, high = np.quantile(values, [0.25, 0.5, 0.75]) if values else (None,) * 3
            row[name] = {
                "value": None if mid is None else float(mid),
                "low": None if low is None else float(low),
                "high": None if high is None else float(high),
            }
        rows.append(row)
    return rows
