"""A walk as one page that opens from disk: `python -m radiogan_lib.lab.explorer --html walk.html`.

Pictures are inside the page; no server, no network, no library. One slider, two class menus, the nearest exam beside
each frame, words that say what is shown. Mentioned in notebooks/06_latent_explorer.ipynb.
"""

from __future__ import annotations

import argparse
import base64
import html
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from radiogan_lib import paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab import render
from radiogan_lib.lab.figures import readable

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>A walk through latent space</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#222}
label{display:inline-block;margin:.3rem .4rem .3rem .6rem}.pair{display:flex;gap:1rem}figure{margin:.5rem 0}figcaption{font-size:.85rem;color:#444}
img{height:min(60vh,30rem);image-rendering:pixelated;border:1px solid #ccc}input[type=range]{width:22rem;max-width:100%;vertical-align:middle}
#near[hidden]{display:none}#caption{min-height:4.5em}#strip{display:flex;gap:2px;max-width:100%;margin:.8rem 0 0;padding:0;list-style:none}
#strip li{flex:1 1 0;min-width:0;text-align:center;font-size:.75rem;color:#444;cursor:pointer;border-bottom:3px solid transparent}
#strip img{width:100%;height:auto;border:0;display:block}#strip li.here{border-color:#c60;color:#000}</style></head><body>
<h1>A walk through latent space</h1>
<p>Every picture on the left was drawn by a neural network and shows no patient. FDG-PET projections; dark is high uptake, SUV __LOW__ to
__HIGH__. The walk goes from seed __SEED_A__ to seed __SEED_B__ (__KIND__); weights __HASH__. Not for clinical use.</p>
<p><label for="a">From</label><select id="a"></select> <label for="b">to</label><select id="b"></select>
<label for="step">Step</label><input id="step" type="range" min="0" value="0"> <button id="play" type="button">Play</button></p>
<div class="pair"><figure><img id="frame" alt=""><figcaption>generated</figcaption></figure>
<figure id="near"><img id="exam" alt=""><figcaption>nearest training exam</figcaption></figure></div>
<ol id="strip" aria-hidden="true"></ol>
<p id="caption" role="status" aria-live="polite"></p>
<script type="application/json" id="data">__DATA__</script>
<script>
const data = JSON.parse(document.getElementById("data").textContent), get = id => document.getElementById(id);
for (const id of ["a", "b"]) data.names.forEach((name, k) => get(id).add(new Option(name, k)));
get("step").max = data.steps - 1;
get("a").value = data.start; get("b").value = data.end;
for (let k = 0; k < data.steps; k++) {
  const li = document.createElement("li");
  li.append(new Image(), data.steps <= 26 ? String.fromCharCode(65 + k) : k + 1);
  li.addEventListener("click", () => { get("step").value = k; show(); });
  get("strip").append(li);
}
const png = text => "data:image/png;base64," + text;
function show() {
  const walk = data.walks[get("a").value + "-" + get("b").value], k = Number(get("step").value), near = walk.near ? walk.near[k] : null;
  const words = data.names[get("a").value] + " → " + data.names[get("b").value] + ", step " + (k + 1) + " of " + data.steps;
  get("frame").src = png(walk.frames[k]); get("frame").alt = "Generated projection: " + words;
  get("near").hidden = near === null;
  let text = words + ".";
  [...get("strip").children].forEach((li, i) => { li.className = i === k ? "here" : ""; li.firstChild.src = png(walk.frames[i]); });
  if (near !== null) {
    get("exam").src = png(data.exams[near[0]]); get("exam").alt = "Nearest training exam, class " + near[2];
    text += " The nearest training exam is of class " + near[2] + ", at distance " + near[1].toFixed(2) + " (root-mean-square difference in SUV).";
    if (data.usual) text += " A training exam is usually " + data.usual.toFixed(2) + " from its own nearest: " + (near[1] < 0.25 * data.usual ?
      "this frame is almost a copy." : near[1] < 0.8 * data.usual ? "this frame is closer than that." : "this frame is no copy.");
  }
  get("caption").textContent = text; get("step").setAttribute("aria-valuetext", words);
}
for (const id of ["a", "b", "step"]) get(id).addEventListener("input", show);
let timer = null;
get("play").addEventListener("click", () => {
  if (timer) { clearInterval(timer); timer = null; get("play").textContent = "Play"; return; }
  get("play").textContent = "Pause";
  timer = setInterval(() => { get("step").value = (Number(get("step").value) + 1) % data.steps; show(); }, 400);
});
show();
</script></body></html>
"""


def page(
    generator,
    class_names: Sequence[str],
    train=None,
    start=(0, 3),
    end=(1, 8),
    steps: int = 12,
    kind: str = "slerp",
    window=(0.0, 7.0),
    height: int = 240,
) -> str:
    """The page as text: walks between every two classes, from `start`'s seed to `end`'s.

    Args:
        generator, class_names, train, start, end, steps, kind, window: as for `lab.explorer`. Only pictures of training
            exams that are some frame's nearest go into the page: leave `train` out where they must not be passed on.
        height: pixels of a stored picture; smaller canvases are stored as they are.
    """
    from radiogan_lib.evaluation import nearest
    from radiogan_lib.lab.latent import KIND_WORDS, Space

    space = Space(generator)

    def text(suv):
        picture = render.grey(suv, window)
        tall = min(height, picture.shape[0])
        return base64.b64encode(render.png(render.resized(picture, tall))).decode()

    walks, exams, usual = {}, {}, None
    if (
        train is not None and len(train) > 1
    ):  # the second nearest of an exam in its own set: the nearest is itself
        usual = float(np.median(nearest(train.suv[:200], train.suv, k=2)[1][:, 1]))
    for a, b in itertools.product(range(len(class_names)), repeat=2):
        frames = space.draw(*space.path((a, start[1]), (b, end[1]), steps, kind))
        walk = {"frames": [text(f) for f in frames], "near": None}
        if train is not None and len(train):
            near, distance = (
                np.asarray(v).reshape(steps, -1)[:, 0] for v in nearest(frames, train.suv)
            )
            walk["near"] = [
                [int(i), float(d), readable(train.class_names[int(train.labels[i])])]
                for i, d in zip(near, distance)
            ]
            for i in np.unique(near):
                exams.setdefault(int(i), text(train.suv[i]))
        walks[f"{a}-{b}"] = walk
    data = json.dumps(
        {
            "names": [readable(c) for c in class_names],
            "steps": steps,
            "start": int(start[0]),
            "end": int(end[0]),
            "usual": usual,
            "walks": walks,
            "exams": exams,
        },
        ensure_ascii=False,
    )
    filled = {
        "__LOW__": f"{window[0]:g}",
        "__HIGH__": f"{window[1]:g}",
        "__HASH__": space.weights_hash,
        "__SEED_A__": str(start[1]),
        "__SEED_B__": str(end[1]),
        "__KIND__": html.escape(KIND_WORDS[kind]),
        "__DATA__": data.replace("<", "\\u003c"),
    }
    out = PAGE
    for mark, value in filled.items():
        out = out.replace(mark, value)
    return out


def _trained_on(run):
    """The exams that a run learned from, if they lie where notebook 01 puts them; else None, and a line that says so."""
    from radiogan_lib import data

    folder = paths.dataset_dir(run.config)
    whole = data.load_if_there(folder)
    if whole is not None and whole.sha256 == run.provenance.get("dataset_sha256"):
        return data.load(folder, split="train")
    print(
        f"No nearest exams on this page: {paths.shown(folder)} does not hold what these weights were trained on. Notebook 01 prepares it."
    )
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """`--html walk.html` with the shipped weights, or with a run's."""
    parser = argparse.ArgumentParser(
        prog="python -m radiogan_lib.lab.explorer",
        description="Write a walk as one page that opens from disk.",
    )
    parser.add_argument("--html", required=True, metavar="FILE", help="the page to write")
    parser.add_argument(
        "--run", default="", help="folder of a training; default: the shipped weights"
    )
    parser.add_argument(
        "--dataset",
        default="",
        help="folder of its dataset, for the nearest training exams; default: where notebook 01 put it; `none`: none",
    )
    parser.add_argument("--from", dest="start", default="lung", metavar="CLASS")
    parser.add_argument("--to", dest="end", default="lymphoma", metavar="CLASS")
    parser.add_argument("--seeds", nargs=2, type=int, default=(3, 8), metavar=("A", "B"))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--kind", default="slerp")
    given = parser.parse_args(arguments)
    from radiogan_lib.lab.notebook import pick_classes, setup

    setup()
    try:
        from radiogan_lib import data, gan

        run = gan.load_run(Path(given.run)) if given.run else gan.load_shipped()
        train = (
            None
            if given.dataset == "none"
            else data.load(Path(given.dataset), split="train")
            if given.dataset
            else _trained_on(run)
        )
        a, b = pick_classes(run.class_names, given.start, given.end)
        text = page(
            run.generator,
            run.class_names,
            train,
            (a, given.seeds[0]),
            (b, given.seeds[1]),
            given.steps,
            given.kind,
        )
        path = paths.write_text(Path(given.html), text)
    except RadioganError as e:
        sys.exit(f"{type(e).__name__}: {e}")
    print(f"written: {paths.shown(path)}, {len(text) / 2**20:.1f} MB")
    if train is not None and run.config.cohort:
        print(
            "It shows exams of your cohort beside the generated ones: share it as you would share them, or leave them out with --dataset none."
        )
