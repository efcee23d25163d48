"""Many experiments in one command, and one table of what they found.

    batch --set seed=0,1,2 --set recipe=paper,improved

Each experiment is a batch process of its own, `jobs` at a time here, or on the workers of a Dask
scheduler that see the same folders. One that fails is a row that says why; the others go on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader

from radiogan_lib import config, notebooks, paths

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy_loader.load("pandas")  # only a sweep needs it

FAILED = "Failed: "  # how the batch runner's last message begins
# Columns of history.csv, and those of the short form that is printed.
TRAINING = "steps d_loss g_loss d_accuracy label_agreement diversity images_per_s health".split()
SHORT = (
    "training_label_agreement verdict membership_auc copy_fraction coverage_ratio label_agreement "
    "tstr trtr training_minutes"
).split()


def run(
    options: list[str], experiments: list[dict], last: str, jobs: int = 1, scheduler: str = ""
) -> list[dict]:
    """Run every experiment; what they share (the dataset) is made once before the rest starts.

    Args:
        options: of the batch runner, for all of them: `--profile NAME --from NN …`.
        experiments: the settings of each.
        last: the last notebook.
        jobs: how many run at once on this machine.
        scheduler: address of a Dask scheduler instead, e.g. "tcp://10.0.0.5:8786".

    Returns:
        per experiment {"settings", "folder", "error"}; error is "" for one that went well.
    """
    from radiogan_lib.data import executors

    profile, first = options[1], options[3]
    kind = scheduler or "threads"
    folders = [paths.run_dir(_config(profile, e)) for e in experiments]
    numbered = notebooks.numbered(first, last)
    makers = [n for n in numbered if "{dataset}" in " ".join(notebooks.declared(n, "makes"))]
    if makers:
        shared = {paths.dataset_dir(_config(profile, e)): e for e in reversed(experiments)}
        print(f"First the {len(shared)} dataset(s) of {len(experiments)} experiments.", flush=True)
        # Only what the datasets need, and not by force; what fails here fails again below.
        task = partial(_one, options[:4], makers[-1].name[:2])
        for _ in executors.run(task, list(shared.values()), kind, jobs):
            pass
    done = [{"settings": e, "folder": str(f)} for e, f in zip(experiments, folders, strict=True)]
    for i, error in executors.run(partial(_one, options, last), experiments, kind, jobs):
        error = error.reason if isinstance(error, executors.Died) else error
        done[i]["error"] = error
        if error:
            print(f"  failed: {_name(experiments[i])}\n{error}", flush=True)
    return done


def _config(profile: str, given: dict) -> config.Config:
    return config.load(profile, **{k: v for k, v in given.items() if k in config.FIELDS})


def _name(settings: dict) -> str:
    return ", ".join(f"{k}={v}" for k, v in settings.items()) or "the profile as it is"


def _one(options: list[str], last: str, settings: dict) -> str:
    """Run one experiment in a process of its own, pass its lines on; returns its error, or ""."""
    command = [sys.executable, "-m", "radiogan_lib.batch", *options, "--to", last]
    for name, value in settings.items():
        command += ["--set", f"{name}={value if name == 'cohort' else json.dumps(value)}"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process = subprocess.Popen(command, **pipes, text=True, encoding="utf-8", errors="replace")
    text, failed = "", False
    for line in process.stdout:
        failed = failed or line.startswith(FAILED)
        text += line
        if not failed and line.strip():
            print(f"[{_name(settings)}] {line}", end="", flush=True)
    if process.wait() == 0:
        return ""
    return text.partition(FAILED)[2].strip() or f"it ended with {process.returncode}: {text[-500:]}"


def table(done: list[dict]) -> pd.DataFrame:
    """One row per experiment that `run` returned: settings, end, end of training, and measures."""
    from radiogan_lib.evaluation import sweep_table

    rows = []
    for experiment in done:
        folder = Path(experiment["folder"])
        settings = experiment["settings"].items()
        row = {k: str(v) if isinstance(v, (list, tuple)) else v for k, v in settings}
        row["ended"] = next(iter(experiment["error"].splitlines()), "well")
        row["folder"] = folder.name
        if (folder / "history.csv").exists():
            history = pd.read_csv(folder / "history.csv")
            last = history.ffill().iloc[-1] if len(history) else {}
            row |= {f"training_{k}": last[k] for k in TRAINING if k in last}
            if "seconds" in history:
                row["training_minutes"] = round(history["seconds"].sum() / 60, 2)
        if (folder / "metrics.json").exists():
            measured = sweep_table([folder]).iloc[0].to_dict()
            row |= {k: v for k, v in measured.items() if k not in row}
        rows.append(row)
    return pd.DataFrame(rows)


def over_seeds(found: pd.DataFrame, varied: list[str]) -> pd.DataFrame | None:
    """Mean, smallest and largest of every measure over the seeds, per combination of the rest."""
    others = [k for k in varied if k != "seed"]
    numbers = found.select_dtypes("number").dropna(axis="columns", how="all")
    numbers = [c for c in numbers if c not in varied and not c.endswith(("_low", "_high", "_p"))]
    if "seed" not in varied or not numbers:
        return None
    rows = []
    groups = found.groupby(others, dropna=False, sort=False) if others else [((), found)]
    for key, part in groups:
        row = dict(zip(others, key if isinstance(key, tuple) else (key,), strict=True))
        row["seeds"] = len(part)
        for c in numbers:
            v = part[c].dropna()
            row[c] = f"{v.mean():.3g} ({v.min():.3g} to {v.max():.3g})" if len(v) else ""
        rows.append(row)
    return pd.DataFrame(rows)


def write(profile: str, done: list[dict], settings: list[str]) -> Path:
    """Write the table as csv below runs/sweeps, print its short form, return its path."""
    found = table(done)
    varied = [k for k in done[0]["settings"] if len({str(d["settings"][k]) for d in done}) > 1]
    seeds = over_seeds(found, varied)
    name = re.sub(r"[^A-Za-z0-9_.=,-]+", "", "-".join([profile, *settings]))[:120]
    path = paths.home() / "runs" / "sweeps" / f"{name}.csv"
    paths.write_text(path, found.to_csv(index=False, float_format="%.6g"))
    short = [c for c in (*varied, "ended", *SHORT) if c in found and found[c].notna().any()]
    look = dict(index=False, max_colwidth=60, float_format="{:.3g}".format, na_rep="")
    print(f"\n{found[short].to_string(**look)}")
    if seeds is not None:
        columns = [c for c in seeds if c in (*short, "seeds")]
        print("\nover the seeds, mean (smallest to largest):")
        print(seeds[columns].to_string(index=False))
    print(f"\nAll of it: {paths.shown(path)}")
    return path
