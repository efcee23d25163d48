"""The explorer without a browser: pictures, words, directions, saved frames, faults."""

import base64
import io
import re

import numpy as np
import pytest
from fake_generator import FakeGenerator, dataset
from PIL import Image

from radiogan_lib.lab import figures, latent
from radiogan_lib.lab.widget import explorer

NAMES = ["normal", "head_neck", "oesophagus", "lung", "lymphoma"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path))


@pytest.fixture
def made():
    return explorer(FakeGenerator(), NAMES, train=dataset(), start=(3, 3), end=(4, 8), steps=10)


def blocks(x) -> list[str]:
    """What each step uncovers, in order: the HTML of its pictures and words."""
    found = re.findall(
        r'<div class="radiogan-step-(\d+)">(.*?)(?=<div class="radiogan-step-|</div><div '
        r'class="radiogan-strip")',
        x.view.value,
        re.S,
    )
    assert [int(k) for k, _ in found] == list(range(len(x.frames)))
    return [block for _, block in found]


def pixels(block) -> np.ndarray:
    """The large frame of a step as the browser gets it."""
    return np.asarray(
        Image.open(
            io.BytesIO(
                base64.b64decode(
                    re.search(r'radiogan-frame"><figcaption>.*?base64,([^"]+)"', block)[1]
                )
            )
        )
    )


def test_a_walk_is_sent_whole_and_sliding_sends_no_picture(made):
    calls, sent = made.space.generator.calls, made.view.value
    for k, block in enumerate(blocks(made)):
        made.step.value = k
        assert np.array_equal(pixels(block), figures.grey(made.frames[k], (0, 7)))
        words = re.search(r'<div class="radiogan-caption">(.*?)</div>', block)[1]
        assert f"step {k + 1} of 10" in words and "lung → lymphoma" in words
        assert (
            words in made.caption.value and 'role="status"' in made.caption.value
        )  # what a screen reader is told
        assert made.number.value == k + 1
    assert made.view.value is sent and made.space.generator.calls == calls


def test_one_rule_uncovers_each_step_and_only_in_its_own_explorer(made):
    rules = re.findall(
        r"\.radiogan-explorer:has\(\[role=slider\]:is\("
        r'\[aria-valuenow="(\d+)"\],\[aria-valuenow="(\d+)\.0"\]\)\) '
        r"\.radiogan-step-(\d+)\{visibility:visible\}",
        made.view.value,
    )
    assert rules == [(str(k),) * 3 for k in range(10)]
    assert ".radiogan-stack>*{grid-area:1/1;visibility:hidden}" in made.view.value
    assert "radiogan-explorer" in made._dom_classes


def test_play_starts_where_the_slider_stands_and_never_pushes_it(made):
    made.step.value = 6
    assert made.play.value == 0  # the browser would move the slider to it
    made.play.playing = True
    assert made.play.value == 6


def test_the_number_box_moves_the_slider_too(made):
    made.number.value = 7
    assert made.step.value == 6 and "step 7 of 10" in made.caption.value


def test_a_new_class_or_seed_draws_one_walk_in_one_call(made):
    calls, before = made.space.generator.calls, made.view.value
    made.class_b.value = 1
    assert made.space.generator.calls == calls + 1 and made.view.value != before
    assert "head &amp; neck" in made.caption.value
    made.seed_a.value = 99
    assert made.space.generator.calls == calls + 2 and made.view.value != before


def test_the_same_controls_give_the_same_bytes(tmp_path):
    a, b = (
        explorer(FakeGenerator(), NAMES, train=dataset(), start=(0, 1), end=(2, 5))
        for _ in range(2)
    )
    assert a.view.value == b.view.value


def test_nearest_exam_is_the_nearest_and_a_copy_is_called_one(tmp_path):
    train = dataset()
    x = explorer(FakeGenerator(), NAMES, train=train, start=(0, 1), end=(4, 2))
    shown = train.suv.copy()
    shown[7] = x.frames[4]
    from dataclasses import replace

    y = explorer(
        FakeGenerator(),
        NAMES,
        train=replace(train, suv=shown),
        start=(0, 1),
        end=(4, 2),
    )
    y.step.value = 4
    assert y.nearest[4] == 7 and y.distances[4] < 1e-4
    assert "number 8" in y.caption.value and "almost a copy" in y.caption.value
    assert "almost a copy" not in x.describe(4)


def test_truncation_pulls_the_walk_towards_the_middle(made):
    made.truncation.value = 0.1
    assert np.ptp(made.z) < 0.2 * np.ptp(made.space.path((3, 3), (4, 8), 10)[0])


def test_it_works_without_training_exams_and_with_any_classes(tmp_path):
    x = explorer(FakeGenerator(2), ["kind a", "kind b"])
    x.step.value = 5
    assert "kind a → kind b, step 6" in x.caption.value and x.nearest is None
    one = explorer(FakeGenerator(1), ["only"])
    assert "only → only" in one.caption.value
    with pytest.raises(latent.ExplorerError, match="2 classes, but 3 names"):
        explorer(FakeGenerator(2), NAMES[:3])


def test_grey_is_dark_for_high_uptake_and_keeps_the_window():
    g = figures.grey(np.array([[0.0, 3.5, 7.0, 30.0, np.nan]]), (0, 7))
    assert g.tolist() == [[255, 128, 0, 0, 255]]


def test_a_direction_moves_every_frame_by_its_amount(made):
    frames, z = made.frames.copy(), made.z.copy()
    made.direction.value = 1
    moved = (made.z - z) / made.amount.value
    assert np.allclose(moved, made.space.directions(3)[0], atol=1e-6)
    assert np.abs(made.frames - frames).max() > 1 and "along direction 1" in made.caption.value
    made.amount.value = 0
    assert np.allclose(made.frames, frames)


def test_a_saved_frame_is_the_picture_with_its_words_in_the_folder_of_the_home(made, tmp_path):
    made.step.value = 6
    path = made.save()
    picture = Image.open(path)
    scale = picture.height // 40
    assert np.array_equal(
        np.asarray(picture)[::scale, ::scale], figures.grey(made.frames[6], (0, 7))
    )
    assert made.describe(6) in picture.text["Description"]
    assert "Not for clinical use" in picture.text["Description"]
    made.class_names[3] = "../../evil"
    made.save()
    assert {p.parent for p in tmp_path.rglob("*.png")} == {tmp_path / "runs" / "explorer"}


def test_faults_appear_in_the_caption_and_nothing_is_raised(made):
    made.white.value = 9
    assert 'role="alert"' in made.caption.value and "window is empty" in made.caption.value
    made.step.value = 3  # a walk that plays on must not wipe it away
    assert "window is empty" in made.caption.value and made.number.value == 4
    made.white.value = 0
    assert 'role="status"' in made.caption.value

    def explode(*_):
        raise ValueError("out of memory")

    made.space.draw = explode
    made.seed_a.value = 5
    assert 'role="alert"' in made.caption.value and "out of memory" in made.caption.value


def test_every_control_is_named_and_the_picture_described(made):
    rows = [control for box in made.children[:4] for control in box.children]
    names = [c.description or c.tooltip for c in rows]
    assert len(rows) == 14 and all(names) and len(set(names)) == len(names)
    pictures = re.findall(r'<img [^>]*alt="([^"]*)"', made.view.value)
    assert len(pictures) == 2 * 10 + 1 and all(pictures) and "step 3 of 10" in pictures[4]


def test_uncalibrated_pictures_are_not_called_suv():
    from dataclasses import replace

    x = explorer(FakeGenerator(), NAMES, train=replace(dataset(), unit="window"))
    assert "White at grey value" == x.white.description and "SUV" not in x.describe(0)
