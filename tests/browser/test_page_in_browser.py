"""The live page in a real browser, opened from disk with the network off.

Screenshots and numbers stay in runs/browser.
"""

import io
import json
import shutil
import subprocess

import keras
import numpy as np
import pytest
from PIL import Image

from radiogan_lib import config, gan, paths
from radiogan_lib.lab import page as live
from radiogan_lib.lab.latent import Space

# Sets the slider as a hand does
MOVE = """step => {
  const slider = document.getElementById('step');
  slider.value = step;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
}"""
# The generator itself, in the page: SUV of many places, as nested lists
DRAW = """([places, length]) => {
  const facts = JSON.parse(document.getElementById('facts').textContent);
  const text = atob(document.getElementById('weights').textContent);
  const bytes = Uint8Array.from(text, c => c.charCodeAt(0));
  const generator = new Generator(facts.graph, bytes.buffer);
  return places.map(p => {
    const {z, label} = point(p, length);
    return [...generator.draw(z, label)];
  });
}"""


SHIPPED = {
    "shipped": "",
    "real": "real",
}  # the pages of phantoms and of real exams, and gan.load_shipped's names


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The pages of both shipped generators, and one of an untrained generator of 160 × 96 with four
    classes and no SUV."""
    folder = tmp_path_factory.mktemp("pages")
    for name, weights in SHIPPED.items():
        live.write(paths.REPO / "weights" / weights, folder / f"{name}.html")
    keras.utils.set_random_seed(5)
    generator = gan.build_generator(config.load("teach", doublings=5), n_classes=4)
    about = {
        "unit": "window",
        "window": [0, 1],
        "trained_on": "Nothing: these weights are untrained.",
    }
    names = ["normal", "<b>bold</b>", "lung", "lymphoma"]
    (folder / "large.html").write_text(live.html(generator, names, about), encoding="utf-8")
    pages = {name: folder / f"{name}.html" for name in (*SHIPPED, "large")}
    return pages | {"model": generator}


@pytest.fixture
def opened(browser, files):
    """Open one of the pages in a window of a given width; every request and fault is kept."""
    contexts = []

    def open_page(which, width=1440, height=900, fragment="", **more):
        # the page's own rules forbid eval, by which Playwright waits for a function
        context = browser.new_context(
            offline=True, bypass_csp=True, viewport={"width": width, "height": height}, **more
        )
        contexts.append(context)
        page = context.new_page()
        page.faults, page.asked = [], []
        page.on("pageerror", lambda e: page.faults.append(str(e)))
        page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
        page.on("request", lambda r: page.asked.append(r.url))
        page.goto(files[which].as_uri() + fragment)
        page.wait_for_function("() => document.getElementById('picture').dataset.place")
        return page

    yield open_page
    for context in contexts:
        context.close()


def rest(page):
    """Until the worker has nothing left to draw."""
    page.wait_for_function("() => !radiogan.waiting()", timeout=60000)


def image(page):
    """The pixels of the large picture."""
    return page.evaluate(
        "() => { const c = document.getElementById('picture');"
        " return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data] }"
    )


def place(c, seed):
    where = {"a": c, "b": c, "seedA": seed, "seedB": seed, "kind": "label", "t": 0, "share": 0}
    return where | {"truncation": 1, "push": None}


@pytest.mark.parametrize("which", ["shipped", "real", "large"])
def test_a_hundred_pictures_equal_those_of_keras(opened, files, kept, which):
    page = opened(which)
    shipped = which in SHIPPED
    generator = gan.load_shipped(SHIPPED[which]).generator if shipped else files["model"]
    space = Space(generator)
    pairs = [(k % len(space.table), k) for k in range(100)]
    got = np.array(page.evaluate(DRAW, [[place(*p) for p in pairs], space.noise_dim]))
    z = np.stack([np.random.default_rng(s).standard_normal(space.noise_dim) for _, s in pairs])
    wanted = space.draw(z, space.table[[c for c, _ in pairs]]).reshape(100, -1)
    most = float(np.abs(got - wanted).max())
    (kept / f"parity_{which}.json").write_text(json.dumps({"largest_difference": most}))
    assert np.ptp(wanted) > 0.5 and most <= 0.02


def test_it_opens_under_its_own_rules_and_asks_for_nothing(browser, files):
    context = browser.new_context(offline=True)
    page, asked, faults = context.new_page(), [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("console", lambda m: faults.append(m.text))
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.goto(files["large"].as_uri())
    page.locator("#picture[data-place]").wait_for(timeout=20000)
    page.get_by_text("Highest grey value").first.wait_for()
    assert "Generated images, no real patients. Not for clinical use." in page.inner_text("header")
    assert page.locator("#a option").nth(1).inner_text() == "<b>bold</b>"
    assert page.locator("#nearest").is_hidden() and not faults
    assert all(u.startswith(("file:", "data:", "blob:")) for u in asked)
    context.close()


def test_a_visitor_walks_by_keyboard_and_the_address_keeps_it(opened):
    page = opened("shipped")
    assert "0 % of the way" in page.inner_text("#caption")
    first = image(page)
    page.locator("#step").focus()
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    page.get_by_text("10 % of the way").first.wait_for()
    assert image(page) != first and "Nearest training phantom" in page.inner_text("#caption")
    page.get_by_label("Class B").select_option("normal")
    page.get_by_label("Walk", exact=True).select_option(label="label only")
    page.get_by_label("Direction").select_option("2")
    page.get_by_label("Black at SUV").fill("5")
    page.get_by_label("inverted greys").check()
    rest(page)
    page.wait_for_function("() => location.hash.includes('invert')")
    assert "along direction 2" in page.inner_text("#caption")
    again = opened("shipped", fragment="#" + page.url.split("#")[1])
    rest(again)
    assert image(again) == image(page)
    assert again.inner_text("#caption") == page.inner_text("#caption")
    assert not page.faults and not again.faults


def test_nonsense_in_the_address_is_left_out(opened):
    page = opened("shipped", fragment="#a=liver&seedA=-4&step=x&kind=teleport&facts=1&b=normal")
    assert page.locator("#seedA").input_value() == "3" and page.locator("#b").input_value() == "0"
    assert "Generated: lung → normal" in page.inner_text("#caption") and not page.faults


def test_play_surprise_grid_magnifier_and_saving(opened, tmp_path):
    page = opened("shipped")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => Number(document.getElementById('step').value) > 5")
    page.get_by_role("button", name="Pause").click()
    before = image(page)
    page.get_by_role("button", name="Surprise me").click()
    rest(page)
    assert image(page) != before
    page.get_by_role("button", name="Draw 24 new patients").click()
    assert page.locator("#tiles button").count() == 24
    rest(page)
    page.locator("#tiles button").nth(5).click()
    assert page.locator("#seedA").input_value() == "105"
    page.locator("#frame").focus()
    words = page.inner_text("#under")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#under") != words and "row 34, column 25" in page.inner_text("#under")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    download.value.save_as(tmp_path / "saved.png")
    assert Image.open(tmp_path / "saved.png").size == (480, 844)
    page.locator("#black").fill("0")
    page.wait_for_function(
        "() => document.getElementById('spoken').textContent.includes('Black must be above white')"
    )
    assert not page.faults


def test_with_reduced_motion_play_steps_once_a_second(opened):
    page = opened("shipped", reduced_motion="reduce")
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(500)
    assert page.locator("#step").input_value() == "0"
    page.wait_for_function("() => document.getElementById('step').value === '10'")


@pytest.mark.parametrize("which", SHIPPED)
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_overflows_and_screenshots_are_kept(opened, kept, width, which):
    page = opened(which, width=width, height=900 if width > 500 else 844)
    page.get_by_role("button", name="Draw 24 new patients").click()
    rest(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=kept / f"page_{which}_{width}.png", full_page=True)
    small = page.evaluate(
        "[...document.querySelectorAll('button, select, input')].filter(e => e.offsetParent"
        " && !e.closest('.strip') && e.type !== 'checkbox' && "
        "e.getBoundingClientRect().height < 24)"
        ".map(e => e.id)"
    )
    assert small == []  # WCAG 2.2: a target is 24 pixels high at least


def test_axe_finds_no_fault(opened, kept, tmp_path):
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("npm is not installed: axe-core cannot be had")
    command = [npm, "install", "--silent", "--prefix", str(tmp_path), "axe-core@4"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    script = tmp_path / "node_modules" / "axe-core" / "axe.min.js"
    if done.returncode or not script.exists():
        pytest.skip("npm could not install axe-core (no network?)")
    page = opened("shipped")
    page.get_by_role("button", name="Draw 24 new patients").click()
    rest(page)
    page.add_script_tag(path=script)
    found = page.evaluate(
        "async () => (await axe.run()).violations.map(v => [v.id, v.nodes.map(n => n.html)])"
    )
    (kept / "axe.json").write_text(json.dumps(found, indent=1))
    assert found == []


def test_the_animated_picture_is_made(opened, kept):
    """docs/page.gif: the page of the real exams in use, for notebook 07."""
    page = opened("real", width=1200, height=950)
    rest(page)
    pictures = []
    for step in [*range(0, 91, 5), 90, 90, *range(85, 0, -5)]:
        page.evaluate(MOVE, step)
        rest(page)
        shot = page.screenshot(clip={"x": 0, "y": 190, "width": 1200, "height": 760})
        pictures.append(Image.open(io.BytesIO(shot)).convert("L").resize((800, 507)).quantize(24))
    out = kept / "page.gif"
    pictures[0].save(
        out, save_all=True, append_images=pictures[1:], duration=120, loop=0, optimize=True
    )
    assert len({p.tobytes() for p in pictures}) > 15
    assert out.stat().st_size <= 1.5 * 2**20
