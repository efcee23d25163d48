"""report.html: one evaluation as a page. It is one file: pictures are inside it, nothing is fetched, no script runs."""

from __future__ import annotations

import base64
import json
from html import escape

# name: (heading, what a reader expects of fresh real exams, what a departure means)
MEANING = {
    "membership_auc": (
        "Membership AUC",
        "0.5",
        "above: training exams can be told from strangers by the generated images",
    ),
    "copy_fraction": (
        "Copy fraction",
        "0.05",
        "above: one training exam stands out more often than it does for strangers",
    ),
    "copy_fraction_distance": (
        "Copy fraction by bare distance",
        "0.05",
        "above: copies, or blur; decides nothing",
    ),
    "nearest_ratio": (
        "Nearest-exam distance ratio",
        "1",
        "below: copies, or blur; decides nothing",
    ),
    "data_copying_ct": ("C_T", "0", "far below: copies, or blur; decides nothing"),
    "fld_gap": ("FLD generalisation gap", "near 0", "far below: copies; decides nothing"),
    "discriminator_auc": (
        "Discriminator overfit AUC",
        "0.5",
        "above: the discriminator knows its exams by heart",
    ),
    "pair_residual_ratio": (
        "Best-pair residual ratio",
        "1",
        "near 0: blends of two training exams (or copies)",
    ),
    "blend_fraction": (
        "Blend fraction",
        "0.05",
        "above: explained by two training exams more often than strangers are",
    ),
    "blend_score_median": ("Blend score, median", "as held-out", "near 0: blends"),
    "fine_detail": (
        "Fine detail, amplitude ratio",
        "1",
        "below: blurred; above: noisy or checkered",
    ),
    "fine_detail_floor": (
        "Fine detail of training exams",
        "1",
        "how far real exams differ among themselves",
    ),
    "two_sample_auc": (
        "Real or generated? AUC",
        "0.5",
        "1: every image gives itself away; far below 0.5: twins of training exams",
    ),
    "kid": ("KID to held-out exams", "0", "above: further from real exams"),
    "kid_floor": ("KID of training exams to held-out exams", "0", "the floor: real against real"),
    "coverage": ("Coverage", "as training exams", "below: exams that the generator cannot reach"),
    "coverage_ratio": ("Coverage ÷ training exams' coverage", "1", "below: modes are missing"),
    "density": ("Density", "1", "above: crowded in the middle; below: unlike real exams"),
    "vendi_ratio": ("Vendi ratio", "1", "below: less varied than real exams"),
    "overall": ("Label agreement", "the ceiling", "below: not the class that was asked for"),
    "trtr": ("TRTR balanced accuracy", "", "judge trained and tested on real exams"),
    "tstr": (
        "TSTR balanced accuracy",
        "as TRTR",
        "judge trained on generated, tested on real exams",
    ),
    "tstr_minus_trtr": ("TSTR − TRTR", "0", "below: generated exams teach less than real ones"),
}


def is_measure(entry) -> bool:
    """A dict with a value and an interval."""
    return isinstance(entry, dict) and {"value", "low", "high"} <= set(entry)


def shown(m: dict, digits: int = 3) -> str:
    """0.512 [0.48, 0.54], p 0.2; a dash where there is no number."""
    if m.get("value") is None:
        return "–"
    text = f"{m['value']:.{digits}g}"
    if m.get("low") is not None and m.get("high") is not None:
        text += f" [{m['low']:.{digits}g}, {m['high']:.{digits}g}]"
    return text + (f", p {m['p']:.2g}" if m.get("p") is not None else "")


def _table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _measures(section: dict) -> str:
    rows = [
        [
            *MEANING.get(k, (k.replace("_", " "), "", ""))[:1],
            shown(v),
            *MEANING.get(k, ("", "", ""))[1:],
        ]
        for k, v in section.items()
        if is_measure(v)
    ]
    return _table(
        ["measure", "value [95 % interval]", "fresh real exams", "a departure means"], rows
    )


def _controls(report: dict) -> str:
    """The generator's row above the controls', on the measures that decide."""
    memorization, quality = report["memorization"], report["quality"]
    flat = {
        **memorization,
        **quality.get("pixels", {}),
        **{k: v for k, v in quality.items() if is_measure(v)},
    }
    names = [
        "membership_auc",
        "copy_fraction",
        "blend_fraction",
        "coverage_ratio",
        "vendi_ratio",
        "fine_detail",
    ]
    rows = [
        [
            "this generator",
            report["verdict"]["word"],
            *(shown(flat[n], 2) if n in flat else "–" for n in names),
        ]
    ]
    for c in report["controls"] or []:
        word = c["word"] + ("" if c["right"] else f" (should be: {c['expected']})")
        rows.append([c["kind"], word, *(shown(c[n], 2) for n in names)])
    return _table(["generator", "verdict", *(MEANING[n][0] for n in names)], rows)


def _picture(report, name: str, caption: str) -> str:
    data = getattr(report, "pictures", {}).get(name)
    if not data:
        return ""
    uri = base64.b64encode(data).decode()
    return f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{uri}"><figcaption>{escape(caption)}</figcaption></figure>'


def _use(report: dict) -> str:
    use = report.get("utility")
    if not use:
        return ""
    names = report.get("class_names") or []
    agreement = use["label_agreement"]
    rows = [
        [
            names[int(c)] if int(c) < len(names) else c,
            shown(m),
            "–" if m.get("ceiling") is None else f"{m['ceiling']:.2f}",
        ]
        for c, m in agreement["classes"].items()
    ]
    gain = [
        [str(r["per_class"]), shown(r["real"]), shown(r["both"]), shown(r["gain"])]
        for r in use.get("augmentation", [])
    ]
    return (
        "<h2>Use</h2>"
        + _measures({"overall": agreement["overall"], **use})
        + "<h3>Class asked for, class seen</h3>"
        + _table(["class", "seen as asked", "real exams (ceiling)"], rows)
        + (
            "<h3>Few real exams, with and without generated ones</h3>"
            + _table(
                ["real exams per class", "real only", "generated first, then real", "gain"], gain
            )
            if gain
            else ""
        )
    )


CSS = """body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{margin-bottom:0}.verdict{font-size:1.2rem;border-left:.4rem solid #444;padding:.4rem 1rem;background:#f3f3f3}
table{border-collapse:collapse;margin:1rem 0;font-size:.9rem;display:block;overflow-x:auto}td,th{border-bottom:1px solid #ccc;
padding:.25rem .7rem;text-align:left;vertical-align:top}img{max-width:100%;image-rendering:pixelated}figure{margin:1rem 0}
figcaption{font-size:.9rem;color:#444}pre{white-space:pre-wrap;background:#f3f3f3;padding:.6rem}"""


def html(report) -> str:
    """The report page as text. `report` is what `evaluate` returned, or the content of a metrics.json (no pictures)."""
    n, detectable = report["n"], report["detectable"]
    smallest = detectable.get("smallest")
    limit = (
        "No share of copies up to half would have been noticed reliably."
        if smallest is None
        else f"At this number of exams a generator with {smallest:.0%} near-copies would have been noticed in at least "
        f"{detectable['power']:.0%} of trials; smaller shares may go unnoticed."
    )
    quality = report["quality"]
    per_class = ""
    if quality.get("classes"):
        names = report.get("class_names") or []
        space = "judge" if "judge" in quality else "pixels"
        rows = [
            [
                names[int(c)] if int(c) < len(names) else c,
                *(shown(v[space][k]) for k in ("kid", "coverage_ratio", "vendi_ratio")),
            ]
            for c, v in quality["classes"].items()
        ]
        per_class = f"<h3>Per class ({space})</h3>" + _table(
            ["class", "KID", "coverage ratio", "Vendi ratio"], rows
        )
    side = report["compared_at"]["shape"]
    walks = ""
    if report.get("walks"):
        keys = [k for k in report["walks"][0] if k != "walk"]
        walks = "<h2>Walks</h2><p>Median [quartiles].</p>" + _table(
            ["walk", *(k.replace("_", " ") for k in keys)],
            [
                [r["walk"], *(shown(r[k]) if is_measure(r[k]) else str(r[k]) for k in keys)]
                for r in report["walks"]
            ],
        )
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Does it memorise or generalise?</title><style>{CSS}</style></head><body>
<h1>Does it memorise or generalise?</h1>
<p>{n["train"]} training, {n["holdout"]} held-out and {
        n["generated"]
    } generated images, compared at {side[0]} × {side[1]}
pixels (area-averaged). Not for clinical use.</p>
<p class="verdict">{escape(report["verdict"]["sentence"])}</p>
<p>{escape(limit)}</p>
<h2>Beside generators with a known fault</h2>{_controls(report)}
{
        _picture(
            report,
            "samples",
            "Held-out exams left, generated right, one class per row."
            if report.get("class_names")
            else "Held-out images above, generated below.",
        )
    }
<h2>Memorisation</h2>{_measures(report["memorization"])}
{
        _picture(
            report,
            "audit",
            "Top: the generated images that resemble one training exam most. Middle: that training exam. "
            "Bottom: the nearest held-out exam, for comparison.",
        )
    }
{
        _picture(
            report,
            "blends",
            "Top: the generated images that a blend of two training exams explains best. Below: those two exams.",
        )
    }
<h2>Quality and diversity</h2>{_measures(quality)}
{
        "".join(
            f"<h3>In {s} features</h3>{_measures(quality[s])}"
            for s in ("pixels", "judge")
            if s in quality
        )
    }{per_class}
{_use(report)}{walks}
<h2>The rule</h2><pre>{escape(report["verdict"]["rule"])}</pre>
<h2>Provenance</h2><pre>{
        escape(json.dumps(report["provenance"], indent=1, ensure_ascii=False, default=str))
    }</pre>
</body></html>
"""
