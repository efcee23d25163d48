"""metrics.json with its schema, report.html and MODEL_CARD.md: what is left on disk of one evaluation."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from radiogan_lib import paths
from radiogan_lib.evaluation.features import EvaluationError
from radiogan_lib.evaluation.page import MEANING, html, is_measure, shown
from radiogan_lib.evaluation.report import plain

SCHEMA = Path(__file__).with_name("metrics.schema.json")


def model_card(report) -> str:
    """The model card (Mitchell et al., 2019) in Markdown: what it is, how it was judged, what it is not for."""
    n, v = report["n"], report["verdict"]
    m, q = report["memorization"], report["quality"]
    lines = [
        f"| {MEANING[k][0]} | {shown(x)} | {MEANING[k][1]} |"
        for k, x in {
            **{
                k: m[k]
                for k in (
                    "membership_auc",
                    "copy_fraction",
                    "blend_fraction",
                    "pair_residual_ratio",
                    "discriminator_auc",
                )
                if k in m
            },
            **q["pixels"],
            **({"fine_detail": q["fine_detail"]} if "fine_detail" in q else {}),
            **(
                {k: report["utility"][k] for k in ("trtr", "tstr")} if report.get("utility") else {}
            ),
        }.items()
        if is_measure(x)
    ]
    made = "\n".join(f"- {k}: {x}" for k, x in report["provenance"].items()) or "- not recorded"
    classes = ", ".join(report["class_names"]) if report.get("class_names") else "none given"
    return f"""# Model card

**What it is.** A conditional generator of images; classes: {classes}.

**Verdict.** {v["sentence"]}

**Intended use.** Teaching, and research on generative models of medical images. Not for diagnosis or any other clinical
use: the class that an exam was asked for is not a finding. {_whose(v)}

**How it was judged.** {n["train"]} training, {n["holdout"]} held-out and {n["generated"]} generated images.

| measure | value [95 % interval] | fresh real exams |
|---|---|---|
{chr(10).join(lines)}

**What could not be seen.** {_unseen(report)}

**Made with**

{made}
"""


def _whose(found: dict) -> str:
    """Whether the images may show patients: said by the flags, not only by the word."""
    if found["flags"].get("memorises") or found["flags"].get("blends"):
        return (
            "Generated images repeat training exams, whole or in parts: where those are of patients, treat the images and the weights as "
            "patient data and do not pass them on."
        )
    return "No generated exam was found to be that of a patient, as far as the numbers below can tell; that is no proof of privacy."


def _unseen(report) -> str:
    d = report["detectable"]
    if d.get("smallest") is None:
        return "At this number of exams not even half copies would have been noticed reliably."
    return (
        f"Shares of near-copies below about {d['smallest']:.0%}. The tests compare whole images at low resolution: a "
        "copied lesion inside a new body would pass them."
    )


@functools.cache
def schema() -> dict:
    """The JSON schema of metrics.json."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def validate(report: dict) -> None:
    """Raise EvaluationError, naming the place, if the content is not what metrics.schema.json describes."""
    import jsonschema

    try:
        jsonschema.validate(plain(report), schema())
    except jsonschema.ValidationError as e:
        where = ".".join(str(p) for p in e.absolute_path) or "the top level"
        raise EvaluationError(
            f"this is not a report of evaluate(): at {where}, {e.message[:200]}."
        ) from None


def write_report(report: dict, run_dir) -> dict[str, Path]:
    """Write metrics.json, report.html and MODEL_CARD.md into a folder, each whole or not at all.

    Returns:
        {"metrics", "page", "card"}: the three paths.
    """
    validate(report)
    folder = Path(run_dir)
    return {
        "metrics": paths.write_json(folder / "metrics.json", plain(report)),
        "page": paths.write_text(folder / "report.html", html(report)),
        "card": paths.write_text(folder / "MODEL_CARD.md", model_card(report)),
    }
