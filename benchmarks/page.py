"""Speed of the live page: python benchmarks/page.py [--browser] [FOLDER_OF_WEIGHTS …]

Without --browser: processor time of one picture. The page's own JavaScript
(radiogan_lib/lab/templates/page.js) runs in node, which has Chromium's engine. It draws with the
shipped generator, with untrained ones of 160 × 96 with the widths of `teach` and of `real`, and
with those of the folders. Processor time says something on a busy machine, too.

--browser: what a visitor waits, on a quiet machine. Both shipped pages are opened in headless
Chromium (RADIOGAN_BROWSER names another browser); their own clock measures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TIMER = """
const fs = require("fs"), vm = require("vm");
const [, , program, folder] = process.argv;
vm.runInThisContext(fs.readFileSync(program, "utf8"), program);
const graph = JSON.parse(fs.readFileSync(`${folder}/graph.json`));
const file = fs.readFileSync(`${folder}/weights.bin`);
const buffer = file.buffer.slice(file.byteOffset, file.byteOffset + file.length);
const spent = work => {
  const from = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
};
let generator;
const unpacked = spent(() => {
  generator = new (vm.runInThisContext("Generator"))(graph, buffer);
});
const times = Array.from({ length: 41 }, (_, seed) => {
  const place = { a: 0, b: 1, seedA: seed, seedB: 8, kind: "slerp", t: 0.4, share: 0.4 };
  const { z, label } = point({ ...place, truncation: 1, push: null }, graph.length);
  return spent(() => generator.draw(z, label));
});
const first = times.shift(), sorted = times.sort((a, b) => a - b);
console.log(JSON.stringify({ unpacked, first, median: sorted[20], fastest: sorted[0] }));
"""


def measure(generator) -> dict:
    """ms of processor time: unpacking the weights, the first picture, the median and the fastest of
    forty."""
    from radiogan_lib.lab import page

    graph = page.export(generator)
    data, arrays = graph.packed()
    with tempfile.TemporaryDirectory() as folder:
        told = {"ops": graph.ops, "arrays": arrays, "length": generator.inputs[0].shape[-1]}
        Path(folder, "graph.json").write_text(json.dumps(told))
        Path(folder, "weights.bin").write_bytes(data)
        Path(folder, "timer.js").write_text(TIMER)
        command = ["node", f"{folder}/timer.js", page.TEMPLATES / "page.js", folder]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


# Sets the slider as a hand does; the ms from there until the picture of that step is painted
STEP = """async step => {
  const slider = document.getElementById('step'), picture = document.getElementById('picture');
  const before = picture.dataset.place, from = performance.now();
  slider.value = step;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
  while (picture.dataset.place === before) {
    await new Promise(done => {
      const c = new MessageChannel(); c.port1.onmessage = done; c.port2.postMessage(0);
    });
  }
  await new Promise(requestAnimationFrame);  // runs just before the frame that holds it is painted
  return performance.now() - from;
}"""


def waits(browser, path: Path) -> dict:
    """ms by the browser's clock: the first picture, the median step of an unhurried hand, whose
    next picture is drawn already, and the median jump to a picture that is not."""

    def rest():
        page.wait_for_function("() => !radiogan.waiting()", timeout=60000)

    context = browser.new_context(offline=True, bypass_csp=True)
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_function("() => document.getElementById('picture').dataset.place")
    first = page.evaluate("() => radiogan.times.first")
    steps, jumps = [], []
    for k in range(1, 31):
        rest()
        steps.append(page.evaluate(STEP, k))
    for k in range(15):
        page.locator("#seedB").fill(str(1000 + k))
        rest()
        jumps.append(page.evaluate(STEP, 31 + (k * 17) % 55))
    context.close()
    return {"first": first, "step": statistics.median(steps), "jump": statistics.median(jumps)}


def in_a_browser() -> None:
    from playwright import sync_api

    from radiogan_lib import paths
    from radiogan_lib.lab import page

    names = "chromium", "chromium-browser", "google-chrome", "chromium-headless-shell", "chrome"
    found = os.environ.get("RADIOGAN_BROWSER") or next(filter(None, map(shutil.which, names)), None)
    flags = ["--headless", "--no-sandbox", "--disable-gpu"]
    print(f"{'ms, load':32s}{'first':>9s}{'step':>9s}{'jump':>9s}")
    with tempfile.TemporaryDirectory() as folder, sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=found, args=flags)
        for name in "", "real":
            written = page.write(paths.REPO / "weights" / name, Path(folder, "page.html"))
            ms = waits(browser, written).values()
            label = f"weights/{name}, {os.getloadavg()[0]:.1f}"
            print(f"{label:32s}" + "".join(f"{v:9.1f}" for v in ms), flush=True)
        browser.close()


def in_node(folders: list[str]) -> None:
    import keras

    from radiogan_lib import config, gan

    found = {"shipped, 80 × 48": gan.load_shipped().generator}
    for name in ("teach", "real"):
        cfg = config.load(name, doublings=5)
        found[f"widths of {name}, 160 × 96"] = gan.build_generator(cfg, 5)
    for folder in folders:
        file = Path(folder, "generator.keras")
        found[folder] = keras.saving.load_model(file, compile=False, safe_mode=True)
    print(f"{'ms of processor time':32s}{'unpack':>9s}{'first':>9s}{'median':>9s}{'fastest':>9s}")
    for name, generator in found.items():
        ms = measure(generator)
        print(f"{name:32s}" + "".join(f"{v:9.1f}" for v in ms.values()), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--browser", action="store_true", help="measure what a visitor waits")
    parser.add_argument("folders", nargs="*", help="further generators, measured in node")
    a = parser.parse_args()
    in_a_browser() if a.browser else in_node(a.folders)
