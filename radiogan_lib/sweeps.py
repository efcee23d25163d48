"""Many experiments in one command, and one table of what they found: `batch --set seed=0,1,2 --set recipe=paper,improved`.

Experiments run here, `jobs` at a time, or on the workers of a Dask scheduler that see the same folders. One that fails is a row
that says why; the others go on. Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import html
import re
from functools import partial
from pathlib import Path

from radiogan_lib import config, paths

TRAINING = (
    "steps",
    "d_loss",
    "g_loss",
    "d_accuracy",
    "label_agreement",
    "diversity",
    "images_per_s",
    "health",
)  # columns of history.csv


def run(
    profile: str,
    experiments: list[dict],
    first: str,
    last: str,
    force: bool = False,
    jobs: int = 1,
    scheduler: str = "",
    say=print,
) -> list[dict]:
    """Run every experiment; what they share (the dataset) is made once before the rest starts.

    Args:
        profile: of all experiments.
        experiments: the settings of each.
        first, last, force: as for `batch.run_all`.
        jobs: how many run at once on this machine.
        scheduler: address of a Dask scheduler instead, e.g. "tcp://10.0.0.5:8786".

    Returns:
        per experiment {"settings", "folder", "error"}; error is "" for one that went well.
    """
    from radiogan_lib.data import executors

    makers = [
        n
        for n in _batch().notebooks(first, last)
        if any("{dataset}" in d for d in _batch().declared(n, "makes"))
    ]
    task = partial(_one, profile, first)
    if makers and len(experiments) > 1:
        shared = {paths.dataset_dir(_settings(profile, e)): e for e in reversed(experiments)}
        say(
            f"First the {len(shared)} dataset{'s' * (len(shared) > 1)} of {len(experiments)} experiments."
        )
        for _ in executors.run(
            partial(task, makers[-1].name), list(shared.values()), scheduler or "threads", jobs
        ):
            pass  # what failed here fails again below, and is told there
    done: list[dict] = [{}] * len(experiments)
    for i, result in executors.run(
        partial(task, last, force=force), experiments, scheduler or "threads", jobs
    ):
        if isinstance(result, executors.Died):
            result = {
                "folder": str(paths.run_dir(_settings(profile, experiments[i]))),
                "error": result.reason,
            }
        done[i] = {"settings": experiments[i]} | result
        if result["error"]:
            say(f"  failed: {_name(experiments[i])}\n{result['error']}")
    return done


def _batch():
    from radiogan_lib import batch

    return batch


def _settings(profile: str, given: dict) -> config.Config:
    return config.load(profile, **{k: v for k, v in given.items() if k in config.FIELDS})


def _name(settings: dict) -> str:
    return ", ".join(f"{k}={v}" for k, v in settings.items()) or "the profile as it is"


def _one(profile: str, first: str, last: str, settings: dict, force: bool = False) -> dict:
    """One experiment, here or on a worker; never raises for an experiment's own failure."""
    name = _name(settings)
    try:
        folder, error = (
            _batch().run_all(
                profile,
                settings,
                first,
                last,
                force,
                say=lambda line: print(f"[{name}] {line}", flush=True),
            ),
            "",
        )
    except config.RadioganError as e:
        folder, error = paths.run_dir(_settings(profile, settings)), str(e)
    return {"folder": str(folder), "error": error}


def table(done: list[dict]):
    """One row per experiment: its settings, how it ended, the last line of its training, and its measures.

    Args:
        done: what `run` returned.

    Returns:
        pandas DataFrame. Columns of notebook 05's measures (`evaluation.sweep_table`) are empty for experiments that have none.
    """
    import pandas as pd

    from radiogan_lib.evaluation import sweep_table

    rows = []
    for experiment in done:
        folder = Path(experiment["folder"])
        sentence = next((s for s in experiment["error"].splitlines() if s.strip()), "")
        row = {
            k: str(v) if isinstance(v, (list, tuple)) else v
            for k, v in experiment["settings"].items()
        }
        row |= {"ended": sentence or "well", "folder": folder.name}
        if (folder / "history.csv").exists():
            history = pd.read_csv(folder / "history.csv")
            last = history.ffill().iloc[-1] if len(history) else {}
            row |= {f"training_{k}": last[k] for k in TRAINING if k in last}
            row |= (
                {"training_minutes": round(history["seconds"].sum() / 60, 2)}
                if "seconds" in history
                else {}
            )
        if (folder / "metrics.json").exists():
            measured = sweep_table([folder]).iloc[0].to_dict()
            row |= {k: v for k, v in measured.items() if k not in row}
        rows.append(row)
    return pd.DataFrame(rows)


def over_seeds(found, varied: list[str]):
    """Mean, smallest and largest of every measure over the seeds, one row per combination of the other settings."""
    import pandas as pd

    others = [k for k in varied if k != "seed"]
    numbers = [
        c
        for c in found.select_dtypes("number")
        if c not in varied and not c.endswith(("_low", "_high", "_p")) and found[c].notna().any()
    ]
    if "seed" not in varied or not numbers:
        return None
    rows = []
    groups = found.groupby(others, dropna=False, sort=False) if others else [((), found)]
    for key, part in groups:
        row = dict(zip(others, key if isinstance(key, tuple) else (key,), strict=True)) | {
            "seeds": len(part)
        }
        for c in numbers:
            values = part[c].dropna()
            row[c] = (
                f"{values.mean():.3g} ({values.min():.3g} to {values.max():.3g})"
                if len(values)
                else ""
            )
        rows.append(row)
    return pd.DataFrame(rows)


def write(profile: str, done: list[dict], settings: list[str], say=print) -> Path:
    """Write the table as csv and html below runs/sweeps, print its short form, return the csv's path."""
    found, varied = (
        table(done),
        [k for k in done[0]["settings"] if len({str(d["settings"][k]) for d in done}) > 1],
    )
    name = re.sub(r"[^A-Za-z0-9_.=,-]+", "", "-".join([profile, *settings]))[:120]
    path = paths.home() / "runs" / "sweeps" / f"{name}.csv"
    paths.write_text(path, found.to_csv(index=False, float_format="%.6g"))
    seeds = over_seeds(found, varied)
    page = [f"<h1>{html.escape(profile)}: {len(done)} experiments</h1>"]
    page += (
        [
            f"<h2>Over the seeds: mean (smallest to largest)</h2>{seeds.to_html(index=False, border=0)}"
        ]
        if seeds is not None
        else []
    )
    page += [
        f"<h2>Every experiment</h2>{found.to_html(index=False, border=0, float_format='%.4g', na_rep='')}"
    ]
    style = "<style>body{font-family:sans-serif} td,th{padding:.2em .6em;text-align:right;white-space:nowrap} tr:nth-child(even){background:#eee}</style>"
    paths.write_text(
        path.with_suffix(".html"),
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Sweep</title>{style}{''.join(page)}</html>\n",
    )
    short = [
        c
        for c in (
            *varied,
            "ended",
            "training_label_agreement",
            "verdict",
            "membership_auc",
            "copy_fraction",
            "coverage_ratio",
            "label_agreement",
            "tstr",
            "trtr",
            "training_minutes",
        )
        if c in found and found[c].notna().any()
    ]
    say(
        "\n"
        + found[short].to_string(
            index=False, max_colwidth=60, float_format=lambda v: f"{v:.3g}", na_rep=""
        )
    )
    if seeds is not None and len(done) > 1:
        say(
            "\nover the seeds, mean (smallest to largest):\n"
            + seeds[[c for c in seeds if c in (*short, "seeds")]].to_string(index=False)
        )
    say(f"\nAll of it: {paths.shown(path)} and .html")
    return path
