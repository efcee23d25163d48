"""The five controls on full phantoms over ten seeds.

    python benchmarks/controls.py [--seeds 10] [--first 100] [--mixtures]

Takes a prepared dataset (notebook 01), shuffles all its patients into training, held-out and fresh
ones for every seed (a patient's exams stay together), and prints one row per control: how often the
verdict is right, and the mean and range of the measures that decide. The thresholds were set by
hand on seeds below 100; the table is made with others. --mixtures plants a share of copies or
blends among fresh exams instead and prints how often the rule notices: its power.
"""

import argparse

import numpy as np

from radiogan_lib import config, data, paths
from radiogan_lib.evaluation import ImageSet, make_control, memorization_report, run_controls
from radiogan_lib.evaluation.verdicts import EXPECTED, Thresholds

SHARES = (0.4, 0.2, 0.4)  # training, held-out, fresh
PLANTED = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


def by_patient(mips, rng, shares=SHARES) -> list[np.ndarray]:
    """Indices of disjoint sets of patients; classes (of a first exam) in the same shares."""
    patients = np.unique(mips.patient_ids, return_inverse=True)[1]
    first = np.unique(patients, return_index=True)[1]
    part = np.empty(len(first), int)
    for c in np.unique(mips.labels):
        members = rng.permutation(np.flatnonzero(mips.labels[first] == c))
        part[members] = np.searchsorted(
            np.cumsum(shares)[:-1], np.arange(len(members)) / len(members), "right"
        )
    return [np.flatnonzero(part[patients] == k) for k in range(len(shares))]


def mixtures(mips, seeds) -> None:
    """How often the rule names a generator of which a share copies or blends.

    By the flag of its own kind, and by any of the two.
    """
    noticed = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        t, p, f = (mips.subset(i) for i in by_patient(mips, rng))
        limits = Thresholds.of(run_controls(t, p, rounds=50, seed=seed))
        for kind in ("copier", "blender"):
            fault = make_control(kind, t, f, n=len(f), seed=seed)
            for share in (0.0, *PLANTED) if kind == "copier" else PLANTED:
                planted = rng.permutation(len(f))[: round(share * len(f))]
                images, labels = f.suv.copy(), f.labels.copy()
                images[planted], labels[planted] = fault.images[planted], fault.labels[planted]
                mixed = ImageSet(images, labels)
                found = limits.flags(memorization_report(t, p, mixed, rounds=50, seed=seed))
                own = found["memorises" if kind == "copier" else "blends"]
                noticed.setdefault(("none" if not share else kind, share), []).append(
                    (own, found["memorises"] or found["blends"])
                )
        print(f"seed {seed} done", flush=True)
    print("\n| planted | share | named as such | noticed at all |\n|---|---|---|---|")
    for (kind, share), found in noticed.items():
        print(
            f"| {kind} | {share:.0%} | "
            + " | ".join(f"{np.mean(v):.0%}" for v in zip(*found))
            + " |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--mixtures", action="store_true")
    parser.add_argument("--rounds", type=int, default=200, help="bootstrap rounds")
    parser.add_argument("--dataset", default="")
    a = parser.parse_args()
    if a.seeds < 1 or a.first < 0:
        parser.error("--seeds counts from 1, --first from 0.")
    mips = data.load(
        paths.need(a.dataset or paths.dataset_dir(config.load("teach")), "01_data_preparation")
    )
    if a.mixtures:
        mixtures(mips, range(a.first, a.first + a.seeds))
        return
    rows = {kind: [] for kind in EXPECTED}
    for seed in range(a.first, a.first + a.seeds):
        t, p, f = by_patient(mips, np.random.default_rng(seed))
        for row in run_controls(*(mips.subset(i) for i in (t, p, f)), rounds=a.rounds, seed=seed):
            rows[row["kind"]].append(row)
        print(
            f"seed {seed}: " + ", ".join(f"{k} → {r[-1]['word']}" for k, r in rows.items()),
            flush=True,
        )
    names = (
        "membership_auc",
        "copy_fraction",
        "moved_fraction",
        "part_fraction",
        "blend_fraction",
        "repeated_fraction",
        "coverage_ratio",
        "vendi_ratio",
        "fine_detail",
    )
    print(
        f"\n{len(t)} training, {len(p)} held-out, {len(f)} fresh exams; "
        f"seeds {a.first} to {a.first + a.seeds - 1}; mean (range)\n"
    )
    print("| control | right | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 2))
    for kind, found in rows.items():
        cells = [
            f"{np.mean(v):.2f} ({min(v):.2f} to {max(v):.2f})"
            for v in ([r[n]["value"] for r in found] for n in names)
        ]
        print(
            f"| {kind} | {sum(r['right'] for r in found)} / {len(found)} | "
            + " | ".join(cells)
            + " |"
        )


if __name__ == "__main__":
    main()
