"""Processor time of one picture of the live page: python benchmarks/page.py [FOLDER_OF_WEIGHTS …]

The page's own JavaScript (radiogan_lib/lab/templates/page.js) in node, which has Chromium's engine:
the shipped generator, and untrained ones of 160 × 96 with the widths of `teach` and of `real`.
Processor time says something on a busy machine too; what a visitor waits is measured in a browser:
pytest -s tests/browser/test_page_in_browser.py -k speed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
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


def main() -> None:
    import keras

    from radiogan_lib import config, gan

    found = {"shipped, 80 × 48": gan.load_shipped().generator}
    for name in ("teach", "real"):
        cfg = config.load(name, doublings=5)
        found[f"widths of {name}, 160 × 96"] = gan.build_generator(cfg, 5)
    for folder in sys.argv[1:]:
        file = Path(folder, "generator.keras")
        found[folder] = keras.saving.load_model(file, compile=False, safe_mode=True)
    print(f"{'ms of processor time':32s}{'unpack':>9s}{'first':>9s}{'median':>9s}{'fastest':>9s}")
    for name, generator in found.items():
        ms = measure(generator)
        print(f"{name:32s}" + "".join(f"{v:9.1f}" for v in ms.values()), flush=True)


if __name__ == "__main__":
    main()
