"""The five controls on full phantoms over ten seeds: python benchmarks/controls.py [--seeds 10] [--dataset DIR]

Takes a prepared dataset (notebook 01), shuffles all its exams into training, held-out and fresh ones for every seed, and
prints one row per control: how often the verdict is right, and the mean and range of the measures that decide.
"""

import argparse

import numpy as np

from radiogan_lib import config, data, paths
from radiogan_lib.evaluation import run_controls
from radiogan_lib.evaluation.controls import EXPECTED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--dataset", default="")
    a = parser.parse_args()
    mips = data.load(paths.need(a.dataset or paths.dataset_dir(config.load("teach")), "01_data_preparation"))
    rows = {kind: [] for kind in EXPECTED}
    for seed in range(a.seeds):
        rng = np.random.default_rng(seed)
        parts = [[], [], []]
        for c in np.unique(mips.labels):
            members = rng.permutation(np.flatnonzero(mips.labels == c))
            for part, chosen in zip(parts, np.split(members, [int(0.4 * len(members)), int(0.6 * len(members))])):
                part.append(chosen)
        t, p, f = (np.concatenate(part) for part in parts)
        for row in run_controls(*(mips.suv[i] for i in (t, p, f)), *(mips.labels[i] for i in (t, p, f)), seed=seed):
            rows[row["kind"]].append(row)
        print(f"seed {seed}: " + ", ".join(f"{k} → {r[-1]['word']}" for k, r in rows.items()), flush=True)
    names = ("membership_auc", "copy_fraction", "blend_fraction", "coverage_ratio", "vendi_ratio", "fine_detail", "nearest_ratio",
             "data_copying_ct", "fld_gap")
    print(f"\n{len(t)} training, {len(p)} held-out, {len(f)} fresh exams\n| control | right | " + " | ".join(names) + " |")
    print("|" + "---|" * (len(names) + 2))
    for kind, found in rows.items():
        cells = [f"{np.mean(v):.2f} ({min(v):.2f} to {max(v):.2f})" for v in ([r[n]["value"] for r in found] for n in names)]
        print(f"| {kind} | {sum(r['right'] for r in found)} / {len(found)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
