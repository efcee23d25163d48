"""The explorer without a browser: pictures, words, edits, kept frames, faults in the caption."""

import asyncio
import base64
import io
import json
import re
import threading

import numpy as np
import pytest
from fake_generator import FakeGenerator, dataset
from PIL import Image

from radiogan_lib.lab import latent, render, saved
from radiogan_lib.lab.explorer import explorer

NAMES = ["normal", "head_neck", "oesophagus", "lung", "lymphoma"]


@pytest.fixture
def made(tmp_path):
    return explorer(
        FakeGenerator(), NAMES, train=dataset(), start=(3, 3), end=(4, 8), steps=10, folder=tmp_path
    )


def blocks(x) -> list[str]:
    """What each step uncovers, in order: the HTML of its pictures and words."""
    found = re.findall(
        r'<div class="radiogan-step-(\d+)">(.*?)(?=<div class="radiogan-step-|</div><div class="radiogan-strip")',
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
        assert np.array_equal(pixels(block), render.grey(made.frames[k], (0, 7)))
        words = re.search(r'<div class="radiogan-caption">(.*?)</div>', block)[1]
        assert f"step {k + 1} of 10" in words and "lung → lymphoma" in words
        assert (
            words in made.caption.value and 'role="status"' in made.caption.value
        )  # what a screen reader is told
        assert made.number.value == k + 1
    assert made.view.value is sent and made.space.generator.calls == calls


def test_one_rule_uncovers_each_step_and_only_in_its_own_explorer(made):
    rules = re.findall(
        r'\.radiogan-explorer:has\(\[role=slider\]:is\(\[aria-valuenow="(\d+)"\],\[aria-valuenow="(\d+)\.0"\]\)\) '
        r"\.radiogan-step-(\d+)\{visibility:visible\}",
        made.view.value,
    )
    assert rules == [(str(k),) * 3 for k in range(10)]
    assert ".radiogan-stack>*{grid-area:1/1;visibility:hidden}" in made.view.value
    assert "radiogan-explorer" in made._dom_classes


def test_the_number_box_follows_at_once_where_a_loop_runs_but_no_kernel(made):
    """Browser tests leave an event loop running in this process; nothing would ever turn it."""

    async def slide():
        made.step.value = 4

    def in_a_loop_of_its_own():  # in a thread, since this one may have such a loop already
        asyncio.run(slide())

    thread = threading.Thread(target=in_a_loop_of_its_own)
    thread.start()
    thread.join()
    assert made.step.value == 4 and made.number.value == 5


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
        explorer(FakeGenerator(), NAMES, train=dataset(), start=(0, 1), end=(2, 5), folder=tmp_path)
        for _ in range(2)
    )
    assert a.view.value == b.view.value and a.recipe == b.recipe


def test_nearest_exam_is_the_nearest_and_a_copy_is_called_one(tmp_path):
    train = dataset()
    x = explorer(FakeGenerator(), NAMES, train=train, start=(0, 1), end=(4, 2), folder=tmp_path)
    shown = train.suv.copy()
    shown[7] = x.frames[4]
    from dataclasses import replace

    y = explorer(
        FakeGenerator(),
        NAMES,
        train=replace(train, suv=shown),
        start=(0, 1),
        end=(4, 2),
        folder=tmp_path,
    )
    y.step.value = 4
    assert y.nearest[4] == 7 and y.distances[4] < 1e-4
    assert "number 8" in y.caption.value and "almost a copy" in y.caption.value
    assert "almost a copy" not in x.describe(4)


def test_walk_equals_the_library_walk_for_a_real_network():
    keras = pytest.importorskip("keras")
    from radiogan_lib import config, evaluation, gan

    keras.utils.set_random_seed(0)
    generator = gan.build_generator(config.load("smoke"))
    for kind in latent.KINDS:
        z, e = latent.Space(generator).path((1, 3), (4, 8), 5, kind)
        walk = evaluation.walk(generator, (1, 3), (4, 8), steps=5, kind=kind)
        assert np.allclose(latent.Space(generator).draw(z, e), walk.frames, atol=1e-3)


def test_truncation_pulls_the_walk_towards_the_middle(made):
    made.truncation.value = 0.1
    assert np.ptp(made.z) < 0.2 * np.ptp(made.space.path((3, 3), (4, 8), 10)[0])


def test_editing_moves_along_a_direction_named_by_what_is_seen(made):
    made.step.value = 3
    frame = made.frames[3].copy()
    made.mode.value = "edit"
    assert len(made.direction.options) >= 2 and all(
        name[0].isdigit() for name, _ in made.direction.options
    )
    assert any("chest" in name or "abdomen" in name for name, _ in made.direction.options)
    middle = len(made.frames) // 2
    assert np.abs(made.frames[middle] - frame).max() < 1e-4, (
        made.caption.value,
        made.e[middle],
        made.z[middle],
    )  # amount 0 is the frame it started from
    assert "Edited" in made.caption.value and np.abs(made.frames[0] - made.frames[-1]).max() > 1
    for k in (0, 5):  # again and again: the first direction is chosen each time
        made.mode.value = "walk"
        made.step.value = k
        made.mode.value = "edit"
        assert made.direction.value == 0 and "Edited" in made.caption.value
    made.mode.value = "walk"
    assert made.step.max == 9 and np.allclose(made.frames[3], frame)


@pytest.mark.parametrize("suffix", ["png", "nii.gz"])
@pytest.mark.parametrize("edited", [False, True])
def test_a_saved_frame_can_be_restored(made, suffix, edited, tmp_path):
    made.step.value = 6
    made.truncation.value = 0.8
    if edited:
        made.mode.value = "edit"
        made.direction.value = 1
        made.step.value = 2
    picture, recipe = made.view.value, made.recipe
    path = made.save(suffix)
    made.mode.value = "walk"
    made.class_a.value, made.seed_b.value, made.kind.value, made.step.value = 0, 77, "lerp", 1
    assert made.view.value != picture
    made.restore(path.name)
    assert made.recipe == recipe and made.view.value == picture
    assert not list(tmp_path.glob(".*"))


def test_saved_nifti_holds_suv_in_radiological_order(made):
    import nibabel as nib

    image = nib.load(made.save("nii.gz"))
    data = np.asarray(image.dataobj)
    assert data.shape == (24, 1, 40) and nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert np.array_equal(data[::-1, 0, ::-1].T, made.frames[made.step.value])
    assert np.allclose(image.header.get_zooms(), (540 / 24, 1, 900 / 40))


def test_other_weights_are_announced_on_restoring(made, tmp_path):
    path = made.save("png")
    other = FakeGenerator()
    other.table = other.table * 2
    x = explorer(other, NAMES, train=dataset(), folder=tmp_path)
    x.restore(path.name)
    assert "other weights" in x.caption.value


def test_faults_appear_in_the_caption_and_nothing_is_raised(made, tmp_path):
    made.low.value = 9
    assert 'role="alert"' in made.caption.value and "window is empty" in made.caption.value
    made.step.value = 3  # a walk that plays on must not wipe it away
    assert "window is empty" in made.caption.value and made.number.value == 4
    made.low.value = 0
    assert 'role="status"' in made.caption.value
    made.restore_button.click()
    assert "choose one of the saved frames" in made.caption.value
    (tmp_path / "broken.png").write_bytes(b"no picture")
    made._guard(lambda: made.restore("broken.png"))()
    assert "no readable recipe" in made.caption.value

    def explode(*_):
        raise ValueError("out of memory")

    made.space.draw = explode
    made.seed_a.value = 5
    assert 'role="alert"' in made.caption.value and "out of memory" in made.caption.value


@pytest.mark.parametrize(
    "change",
    [{"walk": "teleport"}, {"steps": 10**9}, {"seed_a": -1}, {"window": [3, 1]}, {"step": "two"}],
)
def test_a_recipe_changed_by_hand_is_refused(made, tmp_path, change):
    recipe = made.recipe | change
    buffer = render.png(Image.new("L", (4, 4)), json.dumps(recipe))
    (tmp_path / "changed.png").write_bytes(buffer)
    with pytest.raises(latent.ExplorerError):
        saved.read(tmp_path, "changed.png")


def test_a_recipe_never_leaves_its_folder(made, tmp_path):
    path = saved.write(
        tmp_path / "in", made.frames[0], made.recipe | {"class_a": "../../evil"}, "png"
    )
    assert path.parent == tmp_path / "in" and path.resolve().parent == (tmp_path / "in").resolve()


def test_every_control_is_named_and_the_picture_described(made):
    controls = [
        made.class_a,
        made.class_b,
        made.seed_a,
        made.seed_b,
        made.kind,
        made.truncation,
        made.low,
        made.high,
        made.step,
        made.number,
        made.mode,
        made.direction,
        made.probe_row,
        made.probe_col,
        made.save_png,
        made.save_nifti,
        made.saved_files,
        made.restore_button,
    ]
    names = [c.description for c in controls]
    assert all(names) and len(set(names)) == len(names)
    pictures = re.findall(r'<img [^>]*alt="([^"]*)"', made.view.value)
    assert len(pictures) == 2 * 10 + 1 and all(pictures) and "step 3 of 10" in pictures[4]


def test_probe_reads_the_suv_under_the_cross(made):
    made.probe_row.value, made.probe_col.value = 50, 50
    value = made.frames[made.step.value][round(0.5 * 39), round(0.5 * 23)]
    assert f"Under the probe: SUV {value:.2f}" in blocks(made)[made.step.value]


def test_it_works_without_training_exams_and_with_any_classes(tmp_path):
    x = explorer(FakeGenerator(2), ["kind a", "kind b"], folder=tmp_path)
    x.step.value = 5
    assert (
        "kind a → kind b, step 6" in x.caption.value
        and "What a classifier sees" not in x.view.value
        and x.nearest is None
    )
    one = explorer(FakeGenerator(1), ["only"], folder=tmp_path)
    assert "only → only" in one.caption.value
    with pytest.raises(latent.ExplorerError, match="2 classes, but 3 names"):
        explorer(FakeGenerator(2), NAMES[:3], folder=tmp_path)


def test_class_evidence_follows_the_class(tmp_path):
    x = explorer(
        FakeGenerator(),
        NAMES,
        train=dataset(per_class=20),
        start=(0, 1),
        end=(4, 2),
        folder=tmp_path,
    )
    assert int(x.probabilities[0].argmax()) == 0 and int(x.probabilities[-1].argmax()) == 4
    assert np.allclose(x.probabilities.sum(1), 1) and "lymphoma" in x.view.value


def test_measures_tell_a_cross_fade_from_a_morph(made, tmp_path):
    class Fader(FakeGenerator):
        def draw(self, z, e):
            w = (np.asarray(e) @ np.arange(e.shape[1]))[:, None, None] / 4
            a, b = FakeGenerator.draw(self, np.zeros((2, 12)), self.table[[0, 4]])
            return ((1 - w) * a + w * b).astype(np.float32)

    fade = explorer(Fader(), NAMES, start=(0, 1), end=(4, 2), folder=tmp_path)
    assert "a cross-fade" in fade.measures.value and "a cross-fade, not" not in made.measures.value


def test_grey_is_dark_for_high_uptake_and_keeps_the_window():
    g = render.grey(np.array([[0.0, 3.5, 7.0, 30.0, np.nan]]), (0, 7))
    assert g.tolist() == [[255, 128, 0, 0, 255]]


def test_regions_are_named_from_the_patients_side():
    suv = np.zeros((100, 50), np.float32)
    suv[:, 10:40] = 1
    box = latent.body_box(suv)
    assert latent.region(5, 25, box) == "head"
    assert latent.region(40, 17, box) == "chest, patient’s right"  # the viewer's left
    assert latent.region(99, 25, box) == "thighs"
