"""Everything at once: a generator's numbers, its controls and its verdict, and their files.

`metrics.json` holds the numbers, `report.html` is one page that fetches nothing, `MODEL_CARD.md` is
the model card.
"""

import base64
import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from radiogan_lib import paths
from radiogan_lib.evaluation.features import (
    NAMES,
    POOLED_SIDE,
    EvaluationError,
    area_average,
    check_sets,
    common_shape,
    nearest,
    pooled_shape,
)
from radiogan_lib.evaluation.memorisation import detectable_copies, memorization_report
from radiogan_lib.evaluation.quality import quality_report
from radiogan_lib.evaluation.statistics import MEASURES, is_measure, shown, title
from radiogan_lib.evaluation.verdicts import (
    PHRASE,
    SHOWN,
    flat_measures,
    limit,
    run_controls,
    verdict,
)

SCHEMA_VERSION = 2
SECTIONS = "memorization quality utility controls walks provenance discriminator_scores".split()
GAP = 3  # pixels between images of a sheet


class Report(dict):
    """The content of metrics.json, and `pictures`, {name: PNG bytes}, for the report page."""

    def __init__(self, values: dict, pictures: dict[str, bytes] | None = None):
        super().__init__(values)
        self.pictures = pictures or {}


def plain(value):
    """The same content in plain Python types; NaN and infinity become None, keys become text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (str, bool, int)) else str(value)


def evaluate(
    train, holdout, generated, parts=None, class_names=None, rounds=200, seed=0, invert=True
) -> Report:
    """Evaluate a generator from three sets of images.

    Args:
        train, holdout, generated: `ImageSet`s in linear intensity (SUV); held-out exams must be
            unknown to the generator. With labels in all three, comparisons are within classes.
        parts: sections (`SECTIONS`) that exist already and are taken as they are, or
            discriminator_scores {"train", "holdout"}. `{"controls": False}` leaves the controls
            out, `{"utility": True}` computes label agreement and TSTR (needs labels and Keras).
        class_names: in label order; default "class 3" and so on, for the labels that occur.
        rounds: bootstrap and permutation rounds, at least 10. seed: from 0.
        invert: show high values dark, as PET is read.

    Returns:
        `Report`, a dict ready for JSON, with `verdict` and `pictures`.

    Raises:
        EvaluationError: images or labels that cannot be evaluated.
    """
    parts = parts or {}
    if unknown := set(parts) - set(SECTIONS):
        fault = f"there is no part {sorted(unknown)[0]!r}"
        raise EvaluationError(f"{fault}; parts are {', '.join(SECTIONS)}.")
    if rounds < 10 or seed < 0:
        fault = f"rounds is {rounds} and seed {seed}"
        raise EvaluationError(f"{fault}; give at least 10 rounds and a seed from 0.")
    sets, class_names = _named(check_sets(train, holdout, generated), class_names)
    same, classifier = {"rounds": rounds, "seed": seed}, None
    utility, controls = parts.get("utility"), parts.get("controls", True)
    if utility is True:
        if class_names is None:
            fault = "label agreement and TSTR need labels of all three sets"
            raise EvaluationError(f"{fault}; give them, or leave utility out.")
        from radiogan_lib.evaluation.utility import train_classifier, utility_report

        classifier = train_classifier(sets[0], len(class_names), seed=seed)
        utility = utility_report(*sets, classifier=classifier, **same)
    scores = parts.get("discriminator_scores")
    memorization = parts.get("memorization") or memorization_report(
        *sets, discriminator_scores=scores, **same
    )
    notes = [*memorization.get("notes", []), *_unknown_labels(sets, class_names)]
    memorization = {**memorization, "notes": notes}
    quality = parts.get("quality") or quality_report(*sets, classifier=classifier, **same)
    if controls is True:
        controls = run_controls(sets[0], sets[1], **same)
    shapes = [s.images.shape[1:] for s in sets]
    keys = "train", "holdout", "generated"
    report = {
        "schema_version": SCHEMA_VERSION,
        "seed": seed,
        "n": dict(zip(keys, map(len, sets), strict=True)),
        "image_shapes": dict(zip(keys, shapes, strict=True)),
        "compared_at": {
            "shape": common_shape(*shapes),
            "note": f"area-averaged to at most {POOLED_SIDE} pixels on the longer side",
        },
        "class_names": class_names,
        "memorization": memorization,
        "quality": quality,
        "utility": utility or None,
        "detectable": detectable_copies(sets[0], sets[1], seed=seed),
        "controls": controls or None,
        "walks": parts.get("walks"),
        "provenance": parts.get("provenance") or {},
    }
    report["verdict"] = asdict(verdict(report))
    return Report(plain(report), pictures(sets, memorization, invert))


def _named(sets, class_names):
    """Class names in label order; labels that are mere codes are numbered anew."""
    if sets[0].labels is None:
        return sets, None if class_names is None else list(class_names)
    codes = np.unique(np.concatenate([s.labels for s in sets]))
    if class_names is None:
        new = [replace(s, labels=np.searchsorted(codes, s.labels)) for s in sets]
        return new, [f"class {c}" for c in codes]
    if codes[0] < 0 or codes[-1] >= len(class_names):
        fault = f"labels run from {codes[0]} to {codes[-1]}, but there are {len(class_names)}"
        raise EvaluationError(f"{fault} class names; they must be indices.")
    return sets, list(class_names)


def _unknown_labels(sets, names) -> list[str]:
    """One sentence per set with labels that no training image has: how many, and what was done."""
    notes, done = [], "copies are searched in all images, comparisons of classes leave these out"
    for s, name in zip(sets[1:], NAMES[1:], strict=True):
        other = s.classes[~np.isin(s.classes, sets[0].classes)]
        if len(other):
            classes = ", ".join([names[c] for c in np.unique(other)][:5])
            fault = f"{len(other)} of {len(s)} {name} images have labels without training images"
            notes.append(f"{fault} ({classes}): {done}")
    return notes


# The pictures


def window_of(images: np.ndarray) -> tuple[float, float]:
    """Intensities at the ends of grey: 0 (or a negative 1st percentile) and the 99th percentile."""
    low, high = np.quantile(images[:: max(1, len(images) // 200)], [0.01, 0.99])
    return min(0.0, float(low)), max(float(high), float(low) + 1e-6)


def mosaic(
    rows: list[np.ndarray], window: tuple[float, float], invert: bool = True, side: int = 160
) -> bytes:
    """Rows of images (k, h, w), possibly of different sizes, as one PNG of one height each."""
    from PIL import Image

    h, w = rows[0].shape[1:]
    scale = max(1, side // h)
    tall, wide = shape = (h * scale, w * scale) if h < side else pooled_shape((h, w), side)
    columns = max(len(r) for r in rows)
    sheet = np.full((len(rows) * (tall + GAP) - GAP, columns * (wide + GAP) - GAP), 255, np.uint8)
    for r, row in enumerate(rows):
        grey = np.clip((area_average(row, shape) - window[0]) / (window[1] - window[0]), 0, 1)
        grey = np.uint8(np.rint(255 * (1 - grey if invert else grey)))
        for c, image in enumerate(grey):
            y, x = r * (tall + GAP), c * (wide + GAP)
            sheet[y : y + tall, x : x + wide] = image
    out = io.BytesIO()
    Image.fromarray(sheet).save(out, "PNG", optimize=True)
    return out.getvalue()


def pictures(sets, memorization: dict, invert: bool = True) -> dict[str, bytes]:
    """The sheets of the page: the images most like copies, most like blends, and typical ones."""
    train, holdout, generated = (s.images for s in sets)
    sheets = {}
    if worst := memorization.get("audit", []):
        drawn = generated[[a["generated"] for a in worst]]
        nearest_held = nearest(drawn, holdout)[0][:, 0]
        sheets["copied"] = drawn, train[[a["train"] for a in worst]], holdout[nearest_held]
    if blends := memorization.get("blend_examples", []):
        drawn = generated[[b["generated"] for b in blends]]
        parents = (train[[b[k] for b in blends]] for k in ("first", "second"))
        sheets["blended"] = drawn, *parents
    rng, rows = np.random.default_rng(0), []
    for s in sets[1:]:
        pick = rng.permutation(len(s))[:8]
        rows.append(s.images[pick[np.argsort(s.classes[pick], kind="stable")]])
    sheets["typical"] = rows
    window = window_of(train)
    return {name: mosaic(rows, window, invert) for name, rows in sheets.items()}


# The page


def _rows(section: dict) -> list[list[str]]:
    """A header, and per measure of a section its title, value, and what measures.csv says of it."""
    head = "measure", "value (95 % interval)", "fresh real exams", "a departure means", "definition"
    rows = [list(head)]
    for name, m in section.items():
        if name in MEASURES and is_measure(m):
            about = MEASURES[name]
            rows.append([about.title, shown(m), about.ideal, about.departure, about.definition])
    return rows


def _classes(report: dict) -> list[list[str]]:
    """A header and a row per class: quality in classifier (else pixel) features, agreement."""
    quality, use = report["quality"].get("classes") or {}, report.get("utility") or {}
    agreement = (use.get("label_agreement") or {}).get("classes", {})
    names, columns = report.get("class_names") or [], ("kid", "coverage_ratio", "vendi_ratio")
    rows = [["class", *map(title, columns)]]
    rows[0] += ["label agreement", "the same of real exams"] if agreement else []
    for c in dict.fromkeys([*quality, *agreement]):
        spaces, m = quality.get(c, {}), agreement.get(c) or {}
        space = spaces.get("classifier") or spaces.get("pixels") or {}
        row = [names[int(c)] if int(c) < len(names) else str(c)]
        row += [shown(space.get(k)) for k in columns]
        row += [shown(m), shown({"value": m.get("ceiling")})] if agreement else []
        rows.append(row)
    return rows


def _controls(report: dict) -> list[list[str]]:
    """A header, this generator and the controls; no rows without controls."""
    flat, controls = flat_measures(report), report.get("controls") or []
    keys = [k for k in SHOWN if k in flat]
    rows = [["generator", "verdict", *map(title, keys)]]
    found = [("this generator", report["verdict"]["word"], flat)] if controls else []
    for c in controls:
        told = c["word"] if c["right"] else f"{c['word']} (should be: {c['expected']})"
        found.append((c["kind"], told, c))
    return rows + [[n, w, *(shown({**m[k], "p": None}) for k in keys)] for n, w, m in found]


def _groups(report: dict) -> dict[str, list]:
    """The tables below the first screen: {heading: [header, row, …]}; empty ones are left out."""
    quality, use = report["quality"], report.get("utility") or {}
    walks = report.get("walks") or []
    gains = [["real exams per class", "real only", "generated first, then real", "gain"]]
    for r in use.get("augmentation", []):
        gains.append([r["per_class"], *(shown(r[k]) for k in ("real", "both", "gain"))])
    measured = [[shown(v) if is_measure(v) else v for v in w.values()] for w in walks]
    changes = [[k, shown(v)] for k, v in (quality.get("yardsticks") or {}).items()]
    overall = (use.get("label_agreement") or {}).get("overall")
    groups = {
        "Beside generators with a known fault": _controls(report),
        "Memorisation": _rows(report["memorization"]),
        "Quality and diversity": _rows(quality),
        "Quality in pixels": _rows(quality.get("pixels") or {}),
        "Quality in the classifier's features": _rows(quality.get("classifier") or {}),
        "Use": _rows({"overall": overall, **use}),
        "What a KID is worth here: real exams after a known change": [["change", "KID"], *changes],
        "Per class": _classes(report),
        "Few real exams, with and without generated ones": gains,
        "Walks: median (quartiles)": [list(map(title, walks[0] if walks else ())), *measured],
    }
    return {k: rows for k, rows in groups.items() if len(rows) > 1}


def html(report) -> str:
    """The report page as text, from what `evaluate` returned or metrics.json (no pictures)."""
    flat, drawn = flat_measures(report), getattr(report, "pictures", {})
    unseen, said = not_noticed(report), limit(report["detectable"])
    if said in report["verdict"]["sentence"]:
        unseen = unseen.removeprefix(said)
    return _template("report.html.j2", autoescape=True).render(
        report=report,
        unseen=unseen,
        pictures={k: base64.b64encode(v).decode() for k, v in drawn.items()},
        deciding=[[title(k), shown(flat[k]), MEASURES[k].ideal] for k in SHOWN if k in flat],
        groups=_groups(report),
        provenance=json.dumps(report["provenance"], indent=1, ensure_ascii=False, default=str),
    )


def not_noticed(report) -> str:
    """What this evaluation could not notice, in words."""
    return (
        f"{limit(report['detectable'])} Images were compared whole and by halves, at low"
        " resolution, up to small shifts and turns, mirroring and rescaling of intensity. Copies"
        " that are turned by much more than 3 degrees, bent or smaller than half of the image (a"
        " copied lesion inside a new body), blends of shifted exams, and rarer copies than stated"
        " may pass. So may held-out images that are all shifted by a pixel or two."
    )


def model_card(report) -> str:
    """The model card (Mitchell et al., 2019) in Markdown."""
    flat, use = flat_measures(report), report.get("utility") or {}
    keys = (*SHOWN, "discriminator_auc", "two_sample_auc", "kid", "kid_floor")
    measures = {k: flat[k] for k in keys if k in flat}
    measures |= {k: use[k] for k in ("trtr", "tstr") if k in use}
    rows = [[title(k), shown(m), MEASURES[k].ideal] for k, m in measures.items()]
    card = _template("MODEL_CARD.md.j2", autoescape=False)
    return card.render(report=report, unseen=not_noticed(report), measures=rows)


def _template(name: str, autoescape: bool):
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=autoescape, trim_blocks=True)
    return environment.get_template(name)


# The disk


NEEDED = """schema_version seed n.train n.holdout n.generated detectable provenance
memorization.membership_auc.value memorization.copy_fraction.value memorization.blend_fraction.value
memorization.facts.copies memorization.facts.exams memorization.audit memorization.n
quality.fine_detail.value quality.two_sample_auc.value quality.pixels.kid.value
quality.pixels.coverage_ratio.value quality.pixels.vendi_ratio.value
verdict.word verdict.sentence verdict.flags verdict.reasons verdict.rule""".split()


def validate(report: dict) -> None:
    """Raise EvaluationError, naming the place, where this is no report of `evaluate`."""

    def wrong(place, why):
        return EvaluationError(f"this is not a report of evaluate(): {place} {why}.")

    for place in NEEDED:
        here = report
        for key in place.split("."):
            if not isinstance(here, dict) or key not in here:
                raise wrong(place, "is missing")
            here = here[key]
    for section in ("memorization", "quality"):
        for name, m in report[section].items():
            share = name in MEASURES and MEASURES[name].share and is_measure(m)
            if share and m["value"] is not None and not 0 <= m["value"] <= 1:
                raise wrong(f"{section}.{name}", f"is {m['value']:.3g}, which is no share")
    if report["verdict"]["word"] not in (*PHRASE, "undecided"):
        raise wrong("verdict.word", f"is {report['verdict']['word']!r}")


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
