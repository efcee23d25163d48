"""docs/real, the results on real exams without a picture of one.

    python benchmarks/real_page.py RUN [--other NAME=RUN=DATASET]

RUN is the folder of a finished `make run PROFILE=real COHORT=…/cohort.csv`. From its notebooks 03
to 06 only the outputs in OUTPUTS are taken: tables, curves and generated images. A figure that
shows exams is not in that list.
`--other` adds a training with another recipe: images, a walk, curves and the verdict on it. DATASET
is the folder of the prepared exams that it was trained on.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from PIL import Image

from radiogan_lib import data, evaluation, gan, lab, paths
from radiogan_lib.lab import figures

PAGE = paths.REPO / "docs" / "real"
DRAWN = 10  # images of each class

# Notebook, a text of the cell, file of the figure or "", heading, sentence.
OUTPUTS = (
    (
        "03_training",
        "train_by_hand()",
        "by_hand",
        "The paper's recipe, twenty epochs",
        "The training step of notebook 03, on real exams. Each row is one class with one noise "
        "vector.",
    ),
    (
        "03_training",
        "lab.curves(",
        "curves",
        "Training curves",
        "Recipe `real`. Dotted lines are the values that guessing gives.",
    ),
    (
        "03_training",
        "gan.samples_over_epochs(run)  #",
        "epochs",
        "The same noise vectors over the epochs",
        "The generator was trained on phantoms first, so anatomy is there from the start; lesions "
        "and texture follow.",
    ),
    (
        "04_evaluation",
        "evaluation.train_classifier(train",
        "",
        "Quality",
        "Held-out exams are the 94 of the `test` split. The rows `yardsticks` give the KID of "
        "held-out exams after a known change.",
    ),
    (
        "04_evaluation",
        "evaluation.utility_report(",
        "",
        "Use",
        "A classifier trained on generated images (TSTR) beside one trained on real exams (TRTR).",
    ),
    (
        "04_evaluation",
        "lab.confusion(",
        "confusion",
        "Which classes the classifier confuses",
        "Rows: the class that the generator was asked for. Columns: the classifier's answer.",
    ),
    (
        "05_memorization",
        "evaluation.run_controls(",
        "",
        "Controls of the verdict",
        "Five generators whose fault is known, made from these exams.",
    ),
    (
        "05_memorization",
        "evaluation.memorization_report(",
        "",
        "Memory",
        "The last row is about the discriminator, which is not published.",
    ),
    (
        "05_memorization",
        "evaluation.evaluate(",
        "",
        "Verdict",
        "The sentence that notebook 05 prints.",
    ),
    (
        "06_walks",
        "evaluation.walk_table(",
        "",
        "Kinds of walk",
        "A cross-fade of two exams has a chord ratio of 1.",
    ),
)

NOT_SHOWN = """## What is not shown

These figures show exams of patients. You see them when you run the notebooks on your own machine:
04 *generated beside held-out exams* and *what is wrong with these pictures*,
05 *the most similar exams*,
06 *Fig. 4* (its GAN stores exams) and *the nearest exams of a walk*.
"""


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--other", action="append", default=[], metavar="NAME=RUN=DATASET")
    a = parser.parse_args(arguments)
    PAGE.mkdir(exist_ok=True)
    run = gan.load_run(a.run)
    parts = [_opening(run), _images(run, "samples", "Recipe `real`, 160 × 96")]
    for k, (name, folder, exams) in enumerate(other.split("=") for other in a.other):
        trained = gan.load_run(folder)
        parts += [_images(trained, f"other{k}", name), _training(trained, f"other{k}", exams)]
    parts += [_part(a.run, *row) for row in OUTPUTS]
    paths.write_text(PAGE / "README.md", "\n".join([*parts, NOT_SHOWN]))


def _opening(run) -> str:
    cfg = run.config
    return f"""# Real exams: what the notebooks gave

One run of notebooks 03 to 06 on 375 real whole-body projections
([what they are](../../data_manifest/README.md)), {cfg}. All images on this page are generated.
[All numbers, what was tried, other recipes](../../benchmarks/real.md).

```
make run PROFILE=real COHORT=…/cohort.csv
python benchmarks/real_page.py RUN --other NAME=RUN=DATASET
```
"""


def _images(run, name: str, title: str) -> str:
    """Images of every class, and a walk from lung to lymphoma."""
    names = run.class_names
    labels = np.repeat(np.arange(len(names)), DRAWN)
    drawn = gan.sample(run.generator, labels, seed=5)
    rows = drawn.reshape(len(names), DRAWN, *drawn.shape[1:])
    unit = "uncalibrated"
    _save(figures.grid(rows, [figures.readable(c) for c in names], unit=unit)[0], f"{name}.png")
    ends = (names.index("lung"), 3), (names.index("lymphoma"), 8)
    walk = evaluation.walk(run.generator, *ends, steps=DRAWN)
    _save(lab.walk_strip(walk, names, unit=unit), f"{name}_walk.png")
    epochs = int(run.history["epoch"].iloc[-1])
    return f"""## {title}

{epochs} epochs. Ten images of each class, drawn with seed 5;
then a walk from lung (seed 3) to lymphoma (seed 8).

![Generated images by class]({name}.png)

![A walk from lung to lymphoma]({name}_walk.png)
"""


def _training(run, name: str, exams: str) -> str:
    """The curves of a training, and the verdict on its generator."""
    _save(lab.curves(run.history), f"{name}_curves.png")
    train, holdout = (data.load(exams, split=part) for part in ("train", "test"))
    drawn = evaluation.ImageSet(gan.sample(run.generator, train.labels, seed=0), train.labels)
    scores = {
        part: gan.discriminator_scores(run, e.suv, e.labels)
        for part, e in (("train", train), ("holdout", holdout))
    }
    parts = {"discriminator_scores": scores, "controls": False}
    report = evaluation.evaluate(train, holdout, drawn, parts, run.class_names)
    return f"""![Training curves]({name}_curves.png)

> {report["verdict"]["sentence"]}
"""


def _part(run: Path, notebook: str, text: str, name: str, title: str, sentence: str) -> str:
    """One output of a notebook as Markdown."""
    cells = json.loads((run / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    found = [c for c in cells if c["cell_type"] == "code" and text in "".join(c["source"])]
    if len(found) != 1:
        raise SystemExit(f"{notebook}: {len(found)} cells hold {text!r}; one is needed.")
    outputs = found[0]["outputs"]
    results = [o["data"] for o in outputs if o["output_type"] == "execute_result"]
    if name:
        _write(base64.b64decode(results[0]["image/png"]), f"{name}.png")
        body = f"![{title}]({name}.png)"
    elif results:
        body = "```\n" + "".join(results[0]["text/plain"]) + "\n```"
    else:
        said = "".join("".join(o["text"]) for o in outputs if o.get("name") == "stdout")
        body = "> " + said.strip()
    return f"## {title}\n\n{sentence}\n\n{body}\n"


def _save(figure, name: str) -> None:
    packed = io.BytesIO()
    figure.savefig(packed, format="png", dpi=150)
    _write(packed.getvalue(), name)


def _write(png: bytes, name: str) -> None:
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(40)  # every clone carries it
    picture.save(PAGE / name, optimize=True)


if __name__ == "__main__":
    main()
