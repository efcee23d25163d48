"""Notebook 06 in a real browser: JupyterLab and Voilà. Screenshots stay in runs/browser."""

import json
import re
import statistics

# The frame that is seen, the time until it is another one and painted, measured inside the page
TOOLS = """() => {
  const root = document.querySelector('.radiogan-explorer');
  window.shownStep = () => [...root.querySelectorAll('.radiogan-stack > div:not(.radiogan-mark)')]
    .filter(e => getComputedStyle(e).visibility === 'visible');
  window.shownFrame = () => shownStep()[0]?.querySelector('.radiogan-frame img');
  window.nextFrame = () => new Promise(requestAnimationFrame);
  // until another frame than `old` is uncovered, loaded and painted, in ms since `from`
  window.untilShown = async (from, old) => {
    const settle = () => new Promise(done => {
      const c = new MessageChannel(); c.port1.onmessage = done; c.port2.postMessage(0);
    });
    const waiting = now => !now || now === old || !now.complete || !now.naturalWidth;
    while (waiting(shownFrame())) {
      if (performance.now() - from > 30000) throw new Error('no new picture within 30 s');
      await settle();
    }
    await nextFrame();
    await nextFrame();  // begins when the frame that shows it has been painted
    return performance.now() - from;
  };
  // the browser's own measure of what an input costs: from the event to the next painted frame,
  // in steps of 8 ms, 16 at least
  window.presses = [];
  new PerformanceObserver(list => presses.push(
    ...list.getEntries().filter(e => e.name === 'keydown').map(e => e.duration)
  )).observe({type: 'event', durationThreshold: 16});
}"""
PRESS = """async ([key, code]) => {
  const handle = document.querySelector('.radiogan-explorer [role=slider]');
  const old = shownFrame(), from = performance.now();
  handle.focus();
  const pressed = {key, code: key, keyCode: code, which: code, bubbles: true};
  handle.dispatchEvent(new KeyboardEvent('keydown', pressed));
  const ms = await untilShown(from, old);
  const now = shownFrame();
  return {ms, changed: now.src !== old.src, width: now.naturalWidth, seen: shownStep().length};
}"""
SELECT = """async ([name, value]) => {
  const box = [...document.querySelectorAll('.radiogan-explorer input, .radiogan-explorer select')]
    .find(e => [...(e.labels || [])].some(l => l.textContent.trim() === name));
  const old = shownFrame(), from = performance.now();
  box.value = value;
  box.dispatchEvent(new Event('input', {bubbles: true}));
  box.dispatchEvent(new Event('change', {bubbles: true}));
  return await untilShown(from, old);
}"""


def caption(page) -> str:
    """The words below the frame that is seen."""
    return page.evaluate("() => shownStep()[0].querySelector('.radiogan-caption').innerText")


def wait_for(page, text) -> None:
    """Until the words below the frame, or a notice, hold `text`."""
    page.wait_for_function(
        "t => (shownStep()[0]?.querySelector('.radiogan-caption').innerText + "
        "(document.querySelector('.radiogan-explorer .radiogan-note')?.innerText ?? "
        "'')).includes(t)",
        arg=text,
        timeout=30000,
    )


def try_the_explorer(page, kept, name) -> dict:
    """What a reader does: slide by keyboard, change class and seed, play, err.

    Returns the latencies in milliseconds.
    """
    page.wait_for_function(
        "() => { const i = document.querySelector('.radiogan-explorer .radiogan-frame "
        "img'); return i && i.naturalWidth > 0 }",
        timeout=120000,
    )
    page.evaluate(TOOLS)
    page.evaluate("() => shownFrame().scrollIntoView({block: 'center'})")
    first = caption(page)
    assert "step 1 of" in first and "Nearest training exam" in first

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
        "() => document.querySelector('.radiogan-explorer "
        ".radiogan-unseen')?.innerText.includes('step 7 of')"
    )
    page.screenshot(path=kept / f"{name}_slid.png")

    names = page.locator(".radiogan-explorer select").first.locator("option").all_inner_texts()
    before = page.evaluate("() => shownFrame().src")
    page.get_by_label("Class A", exact=True).select_option(names[0])
    wait_for(page, f"{names[0]} →")
    assert page.evaluate("() => shownFrame().src") != before

    seeds = [page.evaluate(SELECT, ["Seed B", str(20 + k)]) for k in range(6)]
    wait_for(page, "and 25")
    # slider latency only now: on the first steps the browser still lays out a notebook that has
    # just been run
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

    page.get_by_label("Direction", exact=True).select_option("1 (strongest)")
    wait_for(page, "along direction 1")
    page.screenshot(path=kept / f"{name}_direction.png")
    page.get_by_role("button", name="Save picture").click()
    page.wait_for_function(
        "() => document.querySelector('.radiogan-explorer "
        ".radiogan-unseen').innerText.includes('Saved runs/explorer/')"
    )
    nameless = page.evaluate("""() => ['input', 'select', 'textarea']
        .flatMap(tag => [...document.querySelectorAll(`.radiogan-explorer ${tag}`)])
        .filter(e => e.offsetParent && !e.getAttribute('aria-label')
          && !(e.labels && e.labels.length && e.labels[0].textContent.trim())).length""")
    assert nameless == 0
    return {"step_ms": steps, "seed_ms": seeds}


def test_notebook_07_in_jupyterlab(browser, lab_url, kept):
    page = browser.new_page(viewport={"width": 1400, "height": 1500})
    page.goto(f"{lab_url}/lab/tree/notebooks/07_latent_explorer.ipynb?reset", timeout=90000)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90000)
    # before the kernel is connected, running asks which kernel to use, and the test would wait for
    # an answer
    page.wait_for_function(
        """() => { const c = window.jupyterapp?.shell.currentWidget?.sessionContext;
        const kernel = c?.session?.kernel;
        const connected = kernel?.connectionStatus === 'connected';
        return c?.isReady && connected && kernel.status === 'idle' }""",
        timeout=120000,
    )
    page.evaluate(
        "() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
    )  # its promise would wait for every cell
    # all cells done, the last one too: while they run, JupyterLab moves the focus to the next one
    page.wait_for_function(
        "() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].every(p => "
        "/\\d/.test(p.textContent))",
        timeout=120000,
    )
    measured = try_the_explorer(page, kept, "lab")
    (kept / "latency.json").write_text(json.dumps(measured, indent=1))
    print(
        "from input to painted picture in JupyterLab: slider step, median "
        f"{statistics.median(measured['step_ms']):.0f} ms, slowest "
        f"{max(measured['step_ms']):.0f} ms; new seed, median "
        f"{statistics.median(measured['seed_ms']):.0f} ms, slowest "
        f"{max(measured['seed_ms']):.0f} ms"
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
