"""Directions named by what is seen, places in the body, and the explorer's space with other cohorts' classes."""

import numpy as np
import pytest
from fake_generator import FakeGenerator, dataset

from radiogan_lib.lab import latent
from radiogan_lib.lab.directions import find
from radiogan_lib.lab.places import body_box, outline, place, runs
from radiogan_lib.lab.seen import shift, what_changes


def ends(j: int, shape=(40, 24), reach=2.0):
    """Low and high picture when only z[j] moves: 0 the width, 1 the heart's height, 2 the heart's uptake."""
    fake = FakeGenerator(shape=shape)
    z = np.zeros((2, fake.noise_dim))
    z[:, j] = -reach, reach
    return fake.draw(z, fake.table[[0, 0]])


@pytest.mark.parametrize("shape", [(40, 24), (80, 48), (160, 96)])
@pytest.mark.parametrize(
    "j, name, other_way",
    [(0, "wider body", "narrower body"), (2, "hotter heart (chest)", "cooler heart (chest)")],
)
def test_what_is_seen_gives_the_name_whatever_the_canvas(j, name, other_way, shape):
    low, high = ends(j, shape)
    assert what_changes(low, high) == name and what_changes(high, low) == other_way


def test_a_spot_that_moves_is_not_one_that_brightens():
    low, high = ends(1)
    assert what_changes(low, high).endswith(" lower") and what_changes(high, low).endswith(
        " higher"
    )
    assert "hotter" not in what_changes(low, high) and "body" not in what_changes(low, high)


def test_no_change_claims_nothing_striking():
    low, high = ends(5)  # z[5] does nothing
    assert what_changes(low, high).startswith("slightly")


def person(arms="none", rows=0, width=28, tissue=0.6, head=0, bladder=8.0, shape=(80, 48)):
    """A picture with head, neck, trunk, bladder, and arms up, down or none; `rows` lower in the picture."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = y - rows - 4, x - 23.5
    trunk = (np.abs(x) < width / 2) & (y >= 20) & (y < 76)
    body = (
        trunk
        | (np.hypot((x - 0) / 6, (y - 7 - head) / 8) < 1)
        | ((np.abs(x) < 4) & (y > 8) & (y < 21))
    )
    for side in (-1, 1):
        if arms in ("up", "left up" if side > 0 else ""):
            body |= (np.abs(x - side * (15 + (20 - y) * 0.2)) < 3) & (y < 22) & (y > -8)
        if arms == "down":
            body |= (np.abs(x - side * 20) < 3) & (y > 22) & (y < 66)
    suv = (
        tissue * body
        + 9 * (np.hypot((x - 0) / 5, (y - 6 - head) / 6) < 1)
        + bladder * (np.hypot(x, y - 66) < 4)
    )
    return suv.astype(np.float32)


@pytest.mark.parametrize(
    "low, high, words",
    [
        ({}, {"arms": "up"}, ["arms raised"]),
        ({"arms": "up"}, {"arms": "down"}, ["arms lowered"]),
        ({"arms": "up"}, {}, ["arms out of view"]),
        ({}, {"arms": "left up"}, ["patient’s left arm raised"]),
        ({}, {"rows": 8}, ["body lower in the picture"]),
        ({"rows": 8}, {}, ["body higher in the picture"]),
        ({}, {"width": 34}, ["wider body"]),
        ({}, {"tissue": 1.2}, ["more uptake in all tissue"]),
        ({}, {"head": 5}, ["head lower"]),
        ({"bladder": 2.0}, {}, ["hotter bladder (pelvis)"]),
        ({}, {"arms": "up", "width": 34}, ["arms raised", "wider body"]),
    ],
)
def test_a_person_is_described_in_the_words_of_a_reader(low, high, words):
    assert sorted(what_changes(person(**low), person(**high)).split(", ")) == sorted(words)


def test_a_spot_that_grows_is_larger_not_hotter():
    y, x = np.mgrid[:80, :48]
    low, high = (person(bladder=0) + 8 * (np.hypot(x - 23.5, y - 70) < r) for r in (3, 6))
    assert (
        what_changes(low, high) == "larger bladder (pelvis)"
        and what_changes(high, low) == "smaller bladder (pelvis)"
    )


def test_the_shift_of_a_body_is_counted_in_rows_and_an_organ_is_no_body():
    assert shift(person(), person(rows=6)) == 6 and shift(person(rows=6), person()) == -6
    assert shift(*ends(1)) == 0


def test_places_hold_when_the_exam_begins_below_the_vertex():
    whole, cut = person(), np.pad(person()[10:], ((0, 10), (0, 0)))
    assert place(70, 23.5, body_box(whole)) == "bladder (pelvis)" == place(60, 23.5, body_box(cut))
    assert place(11, 23.5, body_box(whole)) == "head" == place(1, 23.5, body_box(cut))
    assert runs(outline(whole)).neck is not None and runs(outline(np.zeros((40, 24)))).trunk == 0


def test_found_directions_have_names_of_their_own():
    fake = FakeGenerator()
    found = latent.Space(fake).directions(0)
    assert len({d.name for d in found}) == len(found) >= 3
    text = " ".join(d.name for d in found)
    assert "body" in text and "heart (chest)" in text
    for d in found:  # a name is told by the pictures that the direction makes, low first
        low, high = fake.draw(np.stack([-2 * d.vector, 2 * d.vector]), fake.table[[0, 0]])
        assert what_changes(low, high) in d.name


def test_a_generator_that_ignores_z_has_no_direction():
    assert (
        find(lambda z, e: np.ones((len(z), 20, 12), np.float32), np.zeros(3), 4, samples=16) == ()
    )


@pytest.mark.parametrize(
    "names", [[f"class_{k}" for k in range(7)], ["gesund", "Speiseröhre", "肺癌", "лимфома"]]
)
def test_classes_of_any_cohort(names):
    space = latent.Space(FakeGenerator(len(names)))
    assert len(space.directions(len(names) - 1)) >= 2
    z, e = space.path((0, 1), (len(names) - 1, 2), 5)
    assert space.draw(z, e).shape == (5, 40, 24)
    probabilities = latent.evidence(dataset(names))(space.draw(z, e))
    assert probabilities.shape == (5, len(names)) and np.allclose(probabilities.sum(axis=1), 1)
    with pytest.raises(latent.ExplorerError, match=f"0 to {len(names) - 1}"):
        space.path((0, 1), (len(names), 2), 5)


@pytest.mark.parametrize(
    "names", [[f"class_{k}" for k in range(7)], ["Speiseröhre", "肺癌", "head_neck"]]
)
def test_the_page_speaks_of_any_cohorts_classes(names):
    from radiogan_lib.lab.export_html import page

    text = page(FakeGenerator(len(names)), names, dataset(names), end=(len(names) - 1, 8), steps=3)
    for name in names:
        assert name.replace("_", " ") in text or name.replace("head_neck", "head & neck") in text
    assert f'"0-{len(names) - 1}"' in text


def test_the_page_takes_only_the_exams_that_the_weights_learned_from(tmp_path, monkeypatch, capsys):
    from types import SimpleNamespace

    from radiogan_lib import config, data
    from radiogan_lib.lab.export_html import _trained_on

    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path))
    run = SimpleNamespace(config=config.load("smoke"), provenance={"dataset_sha256": "right"})
    assert _trained_on(run) is None and "Notebook 01" in capsys.readouterr().out
    for sha, expected in (("wrong", None), ("right", "train")):
        monkeypatch.setattr(
            data, "load_if_there", lambda folder, sha=sha: SimpleNamespace(sha256=sha)
        )
        monkeypatch.setattr(data, "load", lambda folder, split: split)
        assert _trained_on(run) == expected
