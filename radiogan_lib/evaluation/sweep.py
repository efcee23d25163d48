"""Tables of many runs, from what `write_report` left on disk."""

import json
from pathlib import Path

import pandas as pd

from radiogan_lib.evaluation.features import EvaluationError
from radiogan_lib.evaluation.verdicts import flat_measures

COLUMNS = (
    "membership_auc copy_fraction blend_fraction discriminator_auc coverage_ratio vendi_ratio kid "
    "label_agreement tstr trtr"
).split()  # measures of `statistics.MEASURES` that a sweep compares; label_agreement is its overall


def _load(source) -> dict:
    if isinstance(source, dict):
        return source
    path = Path(source)
    path = path / "metrics.json" if path.is_dir() else path
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        fault = f"{path.name} in {path.parent.name} is not a readable metrics.json"
        remedy = "run notebook 05 for that run first."
        raise EvaluationError(f"{fault} ({type(e).__name__}); {remedy}") from None


def sweep_table(reports):
    """One row per report, ordered by recipe and number of training exams.

    Args:
        reports: dicts of `evaluate`, metrics.json files, or run folders that hold one.

    Returns:
        pandas DataFrame: n_train, recipe, seed, steps, verdict, smallest_detectable,
        membership_auc_p, and for every measure of `COLUMNS` name, name_low, name_high.
    """
    rows = []
    for report in map(_load, reports):
        made = report.get("provenance", {})
        settings = made.get("settings") or made.get("config") or made
        row = {
            "n_train": report["n"]["train"],
            "recipe": settings.get("recipe", ""),
            "seed": settings.get("seed", report["seed"]),
            "steps": made.get("steps"),
            "verdict": report["verdict"]["word"],
            "smallest_detectable": report["detectable"].get("smallest"),
        }
        use = report.get("utility") or {}
        agreement = (use.get("label_agreement") or {}).get("overall")
        everything = flat_measures(report) | use | {"label_agreement": agreement}
        for name in COLUMNS:
            m = everything.get(name) or {}
            row |= {name: m.get("value")} | {f"{name}_{k}": m.get(k) for k in ("low", "high")}
        rows.append(row | {"membership_auc_p": everything["membership_auc"].get("p")})
    if not rows:
        fault = "there is no metrics.json to compare"
        raise EvaluationError(f"{fault}; run notebook 05 for at least one run.")
    return pd.DataFrame(rows).sort_values(["recipe", "n_train", "seed"], ignore_index=True)


def recipe_rows(path) -> list[dict]:
    """The csv of benchmarks/recipes.py as rows of a table: one per measure, a column per run.

    Raises:
        EvaluationError: there is no such csv, or it is not of that kind.
    """
    try:
        table = pd.read_csv(path)
        runs = table.groupby(["recipe", "steps", "seed"], sort=True)
    except (OSError, ValueError, KeyError) as e:
        fault = f"{Path(path).name} is not a table of recipes ({type(e).__name__})"
        raise EvaluationError(f"{fault}; python benchmarks/recipes.py makes it.") from None
    rows: dict[str, dict] = {m: {"measure": m} for m in table["measure"].drop_duplicates()}
    for (recipe, steps, seed), part in runs:
        for _, r in part.iterrows():
            measure = {k: None if pd.isna(r[k]) else float(r[k]) for k in ("value", "low", "high")}
            shown = measure["value"] if measure["low"] is None else measure
            rows[r["measure"]][f"{recipe}, {steps:,} steps, seed {seed}"] = shown
    return list(rows.values())
