"""Notebook 06 in a real browser: JupyterLab, Voilà, and the page that opens from disk. Screenshots stay in runs/browser."""

import json
import re
import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

# The frame that is seen, the time until it is another one and painted, measured inside the page
TOOLS = """() => {
  const root = document.querySelector('.radiogan-explorer');
  window.shownStep = () => [...root.querySelectorAll('.radiogan-stack > div:not(.radiogan-mark)')].filter(e => getComputedStyle(e).visibility === 'visible');
  window.shownFrame = () => shownStep()[0]?.querySelector('.radiogan-frame img');
  window.nextFrame = () => new Promise(requestAnimationFrame);
  // until another frame than `old` is uncovered, loaded and painted, in ms since `from`
  window.untilShown = async (from, old) => {
    const settle = () => new Promise(done => { const c = new MessageChannel(); c.port1.onmessage = done; c.port2.postMessage(0); });
    for (let now = shownFrame(); !now || now === old || !now.complete || !now.naturalWidth; now = shownFrame()) {
      if (performance.now() - from > 30000) throw new Error('no new picture within 30 s');
      await settle();
    }
    await nextFrame(); await nextFrame();  // the second begins when the one that shows it has been painted
    return performance.now() - from;
  };
  // the browser's own measure of what an input costs: from the event to the next painted frame, in steps of 8 ms, 16 at least
  window.presses = [];
  new PerformanceObserver(list => presses.push(...list.getEntries().filter(e => e.name === 'keydown').map(e => e.duration)))
    .observe({type: 'event', durationThreshold: 16});
}"""
PRESS = """async ([key, code]) => {
  const handle = document.querySelector('.radiogan-explorer [role=slider]'), old = shownFrame(), from = performance.now();
  handle.focus();
  handle.dispatchEvent(new KeyboardEvent('keydown', {key, code: key, keyCode: code, which: code, bubbles: true}));
  const ms = await untilShown(from, old);
  return {ms, changed: shownFrame().src !== old.src, width: shownFrame().naturalWidth, seen: shownStep().length};
}"""
SELECT = """async ([name, value]) => {
  const box = [...document.querySelectorAll('.radiogan-explorer input, .radiogan-explorer select')]
    .find(e => [...(e.labels || [])].some(l => l.textContent.trim() === name)), old = shownFrame(), from = performance.now();
  box.value = value; box.dispatchEvent(new Event('input', {bubbles: true})); box.dispatchEvent(new Event('change', {bubbles: true}));
  return await untilShown(from, old);
}"""


def caption(page) -> str:
    """The words below the frame that is seen."""
    return page.evaluate("() => shownStep()[0].querySelector('.radiogan-caption').innerText")


def wait_for(page, text) -> None:
    """Until the words below the frame, or a notice, hold `text`."""
    page.wait_for_function(
        "t => (shownStep()[0]?.querySelector('.radiogan-caption').innerText + "
        "(document.querySelector('.radiogan-explorer .radiogan-note')?.innerText ?? '')).includes(t)",
        arg=text,
        timeout=30000,
    )


def try_the_explorer(page, kept, name) -> dict:
    """What a reader does: slide by keyboard, change class and seed, play, err. Returns the latencies in milliseconds."""
    page.wait_for_function(
        "() => { const i = document.querySelector('.radiogan-explorer .radiogan-frame img'); return i && i.naturalWidth > 0 }",
        timeout=120000,
    )
    page.evaluate(TOOLS)
    page.evaluate("() => shownFrame().scrollIntoView({block: 'center'})")
    first = caption(page)
    assert (
        "step 1 of" in first and "Nearest training exam" in first and "The classifier sees" in first
    )

    page.evaluate(
        "() => { window.theStack = document.querySelector('.radiogan-explorer .radiogan-stack') }"
    )
    for k in range(2, 8):
        shown = page.evaluate(PRESS, ["ArrowRight", 39])
        assert (
            f"step {k} of" in caption(page)
            and shown["changed"]
            and shown["width"] > 0
            and shown["seen"] == 1
        )
    assert page.evaluate(
        "() => document.querySelector('.radiogan-explorer .radiogan-stack') === window.theStack"
    ), "the pictures were sent again"
    page.wait_for_function(
        "() => document.querySelector('.radiogan-explorer .radiogan-unseen')?.innerText.includes('step 7 of')"
    )
    page.screenshot(path=kept / f"{name}_slid.png")

    names = page.locator(".radiogan-explorer select").first.locator("option").all_inner_texts()
    before = page.evaluate("() => shownFrame().src")
    page.get_by_label("Class A", exact=True).select_option(names[0])
    wait_for(page, f"{names[0]} →")
    assert page.evaluate("() => shownFrame().src") != before

    seeds = [page.evaluate(SELECT, ["Seed B", str(20 + k)]) for k in range(6)]
    wait_for(page, "and 25")
    # slider latency only now: on the first steps the browser still lays out a notebook that has just been run
    page.evaluate("() => { presses.length = 0 }")
    page.locator(".radiogan-explorer [role=slider]").first.focus()
    for key, by in [("ArrowLeft", -1)] * 6 + [("ArrowRight", 1)] * 9 + [("ArrowLeft", -1)] * 5:
        k = int(re.search(r"step (\d+) of", caption(page))[1])
        page.keyboard.press(key)
        assert f"step {k + by} of" in caption(page)  # at once: nothing is waited for
    page.wait_for_timeout(500)
    steps = page.evaluate("() => presses")
    steps += [16] * (20 - len(steps))  # the browser does not report quicker ones

    before, button = caption(page), page.locator(".radiogan-explorer .widget-play button").first
    button.scroll_into_view_if_needed()
    button.click()
    page.wait_for_function(
        "t => shownStep()[0].querySelector('.radiogan-caption').innerText !== t",
        arg=before,
        timeout=30000,
    )
    button.click()

    page.get_by_label("White at SUV", exact=True).fill("50")
    page.get_by_label("White at SUV", exact=True).press("Tab")
    wait_for(page, "window is empty")
    page.get_by_label("White at SUV", exact=True).fill("0")
    page.get_by_label("White at SUV", exact=True).press("Tab")
    page.wait_for_function(
        "() => !document.querySelector('.radiogan-explorer .radiogan-note')", timeout=30000
    )

    page.get_by_label("Slider moves", exact=True).select_option("edit this frame")
    wait_for(page, "Edited:")
    page.screenshot(path=kept / f"{name}_edited.png")
    page.get_by_role("button", name="Save PNG").click()
    wait_for(page, "Saved runs/explorer/")
    nameless = page.evaluate("""() => [...document.querySelectorAll('.radiogan-explorer input, .radiogan-explorer select, .radiogan-explorer textarea')]
        .filter(e => e.offsetParent && !(e.labels && e.labels.length && e.labels[0].textContent.trim()) && !e.getAttribute('aria-label')).length""")
    assert nameless == 0
    return {"step_ms": steps, "seed_ms": seeds}


def test_notebook_06_in_jupyterlab(browser, lab_url, kept):
    page = browser.new_page(viewport={"width": 1400, "height": 1500})
    page.goto(f"{lab_url}/lab/tree/notebooks/06_latent_explorer.ipynb?reset", timeout=90000)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90000)
    # before the kernel is connected, running asks which kernel to use, and the test would wait for an answer
    page.wait_for_function(
        """() => { const c = window.jupyterapp?.shell.currentWidget?.sessionContext;
        return c?.isReady && c.session?.kernel?.connectionStatus === 'connected' && c.session.kernel.status === 'idle' }""",
        timeout=120000,
    )
    page.evaluate(
        "() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
    )  # its promise would wait for every cell
    # all cells done, the last one too: while they run, JupyterLab moves the focus to the next one
    page.wait_for_function(
        "() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].every(p => /\\d/.test(p.textContent))",
        timeout=120000,
    )
    measured = try_the_explorer(page, kept, "lab")
    (kept / "latency.json").write_text(json.dumps(measured, indent=1))
    print(
        "from input to painted picture in JupyterLab: slider step, median "
        f"{statistics.median(measured['step_ms']):.0f} ms, slowest {max(measured['step_ms']):.0f} ms; new seed, median "
        f"{statistics.median(measured['seed_ms']):.0f} ms, slowest {max(measured['seed_ms']):.0f} ms"
    )
    assert (
        page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count()
        == 0
    )
    page.close()


def test_voila_serves_the_same_notebook(browser, voila_url, kept):
    page = browser.new_page(viewport={"width": 1400, "height": 1500})
    page.goto(voila_url, timeout=120000)
    try_the_explorer(page, kept, "voila")
    page.close()


def test_the_html_page_opens_from_disk_with_the_network_off(browser, kept, tmp_path):
    from fake_generator import FakeGenerator, dataset

    from radiogan_lib.lab.export_html import page as html_page

    names = ["normal", "lung", "<script>alert(1)</script>"]
    path = tmp_path / "walk.html"
    path.write_text(
        html_page(
            FakeGenerator(3), names, dataset(tuple(names)), start=(0, 3), end=(1, 8), steps=6
        ),
        encoding="utf-8",
    )
    context = browser.new_context(offline=True)
    page, asked, dialogs = context.new_page(), [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("dialog", lambda d: (dialogs.append(d.message), d.dismiss()))
    errors = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(path.as_uri())
    assert "normal → lung, step 1 of 6" in page.locator("#caption").inner_text()
    before = page.locator("#frame").get_attribute("src")
    page.get_by_label("Step").focus()
    page.keyboard.press("ArrowRight")
    assert (
        "step 2 of 6" in page.locator("#caption").inner_text()
        and "nearest training exam" in page.locator("#caption").inner_text()
    )
    assert page.locator("#frame").get_attribute("src") != before and page.locator(
        "#frame"
    ).get_attribute("alt")
    page.get_by_label("to", exact=True).select_option(index=2)
    assert "<script>" in page.locator("#caption").inner_text()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(
        "() => document.getElementById('caption').textContent.includes('step 4')", timeout=8000
    )
    for selector in ("#frame", "#exam"):
        assert page.locator(selector).evaluate("i => i.naturalWidth") > 0
    page.screenshot(path=kept / "html.png")
    assert not errors and not dialogs and all(u.startswith(("file:", "data:")) for u in asked)
    context.close()


@pytest.mark.parametrize("kind", ["slerp", "paper"])
def test_the_page_is_one_file_without_outside_addresses(kind):
    from fake_generator import FakeGenerator

    from radiogan_lib.lab.export_html import page as html_page

    text = html_page(FakeGenerator(2), ["a", "b"], steps=3, kind=kind)
    assert (
        "http://" not in text
        and "https://" not in text
        and 'src="' not in text
        and "__" not in text.replace("__proto__", "")
    )
