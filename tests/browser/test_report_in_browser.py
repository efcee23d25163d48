"""The report page opened from disk: all pictures are there, nothing is fetched or overflows."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toy_mips  # noqa: E402

from radiogan_lib.evaluation import ImageSet, evaluate, make_control, write_report  # noqa: E402


def test_report_page(browser, kept, tmp_path):
    t, p, _ = (ImageSet(*s) for s in toy_mips.split(91, n_train=60, n_holdout=50, n_fresh=1))
    parts = {
        "provenance": {"recipe": "a copier, for the test"},
        "discriminator_scores": {"train": np.arange(60.0), "holdout": np.arange(50.0)},
    }
    names = ["normal", "head_neck", "oesophagus", "lung", "lymphoma"]
    report = evaluate(t, p, make_control("copier", t, t), parts, names, rounds=30)
    written = write_report(report, tmp_path)
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    asked, troubles = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on(
        "console", lambda m: troubles.append(m.text) if m.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda e: troubles.append(str(e)))
    page.goto(written["page"].as_uri(), wait_until="load")
    sizes = page.eval_on_selector_all(
        "img",
        "images => images.map(i => [i.naturalWidth, i.naturalHeight, i.complete, i.alt.length])",
    )
    assert len(sizes) == 3 and all(
        w > 100 and h > 100 and done and alt > 10 for w, h, done, alt in sizes
    )
    assert [u for u in asked if not u.startswith(("file://", "data:"))] == [] and sum(
        u.startswith("file://") for u in asked
    ) == 1
    assert not troubles
    assert "memorises training exams" in page.inner_text(".verdict")
    for width in (1200, 420):  # a telephone, too: tables scroll by themselves, the page does not
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 1200, "height": 900})
    page.screenshot(path=kept / "report.png", full_page=True)
    page.close()
