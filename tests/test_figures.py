"""Every figure and table: the right pictures in the right places, the same bytes each time, and odd
inputs."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fake_generator import dataset
from matplotlib.figure import Figure

from radiogan_lib import config, data, lab
from radiogan_lib.config import RadioganError
from radiogan_lib.lab import charts, diagrams

NAMES = ["normal", "head_neck", "oesophagus", "lung", "lymphoma"]


def walk(n=10, kind="slerp"):
    a, b = dataset().suv[[0, 20]]
    w = np.linspace(0, 1, n)
    return SimpleNamespace(
        frames=np.stack([(1 - k) * a + k * b for k in w]),
        kind=kind,
        start=(3, 3),
        end=(4, 8),
        weights=w,
    )


def pictures(fig):
    return [np.asarray(im.get_array()) for ax in fig.get_axes() for im in ax.get_images()]


def texts(fig):
    found = [
        t.get_text()
        for ax in fig.get_axes()
        for t in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts)
    ]
    if fig._suptitle is not None:
        found.append(fig._suptitle.get_text())
    return [t for t in found if t]


def png(fig):
    assert isinstance(fig, Figure)
    buffer = io.BytesIO()
    fig.savefig(buffer)
    return buffer.getvalue()


def test_figures_are_built_without_pyplot_and_give_the_same_bytes():
    import sys

    before = "matplotlib.pyplot" in sys.modules
    assert png(lab.walk_strip(walk(), NAMES)) == png(lab.walk_strip(walk(), NAMES))
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_walk_strip_names_the_unit_and_window_of_uncalibrated_exams():
    bar = lab.walk_strip(walk(), NAMES, window=(0, 5), unit="grey value").axes[-1]
    assert bar.get_ylabel() == "grey value"
    assert [t.get_text() for t in bar.get_yticklabels()] == ["0", "5"]


def test_no_figure_calls_uncalibrated_exams_suv():
    """What a notebook draws of pictures has the dataset's own unit at its colour bar."""
    unit, some = "uncalibrated (window 0 to 10)", np.random.default_rng(0).random((6, 20, 12))
    labels = np.arange(6) % len(NAMES)
    figures = (
        lab.training_strip(some[:, None], class_names=NAMES[:1], unit=unit),
        lab.sets_side_by_side({"held-out": (some, labels)}, NAMES, unit=unit),
        lab.what_is_wrong(some, some, unit=unit),
        lab.audit(some[:2], some, some, n=2, unit=unit),
        lab.walk_strips({"": walk()}, {}, NAMES, unit=unit),
        lab.walk_with_neighbours(walk(), walk().frames, np.ones(10), NAMES, unit=unit),
    )
    for fig in figures:
        labelled = [ax.get_ylabel() for ax in fig.axes]
        assert unit in labelled and "SUV" not in labelled


def test_walk_strips_letter_frames_and_mark_the_red_one():
    w = walk()
    fig = lab.walk_strip(w, NAMES)
    assert all(np.array_equal(a, b) for a, b in zip(pictures(fig), w.frames))
    words = texts(fig)
    assert [t for t in words if len(t) == 1 and t.isalpha()] == list("ABCDEFGHIJ")
    assert "lung, seed 3 → lymphoma, seed 8 (slerp)" in words
    measures = {"residual_ratio": np.linspace(0, 0.9, 10), "blend_frame": {"index": 4}}
    fig = lab.walk_strips({"ours": w, "theirs": w}, {"theirs": measures}, NAMES)
    marked = [
        ax
        for ax in fig.get_axes()
        if ax.get_frame_on() and ax.get_images() and ax.spines["left"].get_linewidth() > 2
    ]
    assert len(marked) == 1 and marked[0].get_xlabel() == "0.40" and "▼" in marked[0].get_title()
    assert {"ours", "theirs", "0.90"} <= set(texts(fig))


def test_a_long_walk_keeps_its_red_frame():
    from radiogan_lib import evaluation

    w = walk(40)
    measures = evaluation.walk_measures(w.frames, dataset().suv, dataset(seed=9).suv)
    fig = lab.walk_strips({"w": w}, {"w": measures}, NAMES)
    red = next(ax for ax in fig.get_axes() if "▼" in ax.get_title())
    shown = np.asarray(red.get_images()[0].get_array())
    assert np.array_equal(shown, w.frames[measures["blend_frame"]["index"]])


@pytest.mark.parametrize("n", [2, 10, 27, 40])
@pytest.mark.parametrize("kind", ["slerp", "paper", "label"])
def test_walk_strip_takes_any_length_and_kind(n, kind):
    png(lab.walk_strip(walk(n, kind), NAMES))


def test_neighbours_are_below_their_frames():
    from radiogan_lib import evaluation

    w, train = walk(), dataset().suv
    near, d = (np.ravel(a) for a in evaluation.nearest(w.frames, train))
    fig = lab.walk_with_neighbours(w, train[near], d, NAMES)
    shown = pictures(fig)
    assert np.array_equal(shown[0], w.frames[0]) and any(
        np.array_equal(p, train[near[0]]) for p in shown[10:]
    )
    assert any("same exam" in t for t in texts(fig))


def test_audit_shows_the_planted_copy_first():
    train, holdout = dataset().suv, dataset(seed=9).suv
    generated = dataset(seed=11).suv.copy()
    generated[17] = train[3]
    fig = lab.audit(generated, train, holdout, n=3)
    assert "image 17" in texts(fig) and "distance 0" in texts(fig)
    assert np.array_equal(pictures(fig)[0], generated[17])


def test_sets_stand_side_by_side_and_gaps_stay_empty():
    d = dataset()
    sets = {"held-out phantoms": (d.suv, d.labels), "ours": (d.suv[:6], d.labels[:6])}
    fig = lab.sets_side_by_side(sets, NAMES, per_class=2)
    assert np.array_equal(pictures(fig)[0], d.suv[0])
    assert {"head & neck", "held-out phantoms", "ours"} <= set(texts(fig))


def test_what_is_wrong_finds_planted_faults():
    from radiogan_lib.lab import figures

    good = dataset(per_class=8).suv
    good[:, 2:-2, 2:-2] += 1
    noisy = good.copy()
    noisy[7] += np.random.default_rng(0).normal(0, 2, noisy[7].shape)
    assert figures.oddities(noisy)["speckle"].argmax() == 7
    hollow = good.copy()
    hollow[3, len(hollow[3]) // 2 :] = 0.4
    assert figures.oddities(hollow)["no bladder"].argmax() == 3
    fig = lab.what_is_wrong(noisy, good, "phantoms")
    assert {"speckle", "halo", "faint brain", "no bladder", "held-out phantoms"} <= set(texts(fig))


def test_class_figure_has_letters_and_a_second_row():
    fig = lab.class_figure(dataset())
    assert {"A   normal", "E   lymphoma", "more of: normal"} <= set(texts(fig))
    png(lab.class_figure(dataset(names=("a", "b"))))


def test_arrows_point_at_the_lesions_of_phantoms():
    import petphantom
    from radiogan_lib.lab import figures

    seed, canvas, field = 30004, (80, 48), (900.0, 540.0)
    image = petphantom.make("lung", seed, 4.0)
    mip = data.coronal_mip(image, spacing_mm=4.0)
    suv = data.fit_to_canvas(mip, canvas, field, spacing_mm=4.0)
    one = SimpleNamespace(
        exam_ids=[f"phantom-{seed}"],
        labels=[0],
        class_names=["lung"],
        canvas=canvas,
        field_of_view_mm=field,
    )
    plain = SimpleNamespace(**{**vars(one), "exam_ids": ["mine"]})
    assert figures._lesions(plain, 0) == []
    for row, column in figures._lesions(one, 0)[:1]:
        r, c = round(row), round(column)
        near = suv[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3]
        assert near.max() > 1.5 * np.median(suv[suv > 0.3])


def test_no_arrow_crosses_another_lesion(monkeypatch):
    from radiogan_lib.lab import figures

    monkeypatch.setattr(figures, "_visible", lambda suv, points: points)
    monkeypatch.setattr(figures, "_lesions", lambda *_: [(40, 20), (40, 30)])
    fig = lab.class_figure(dataset())
    ends = [a.get_position() + a.xy for a in fig.axes[0].texts if hasattr(a, "xy")]
    assert ends == [(9, 40, 18.5, 40), (41, 40, 31.5, 40)]


def test_window_is_stated_and_the_same_for_all():
    fig = lab.mip_row([np.zeros((5, 3)), np.full((5, 3), 30.0)], ["a", "b"], window=(0, 5))
    limits = {im.get_clim() for ax in fig.get_axes() for im in ax.get_images()}
    assert limits == {(0, 5)} and "SUV" in texts(fig)


def test_turning_keeps_head_up_and_right_on_the_left():
    import nibabel as nib

    v = np.zeros((20, 10, 30), np.float32)
    v[17, 5, 27] = 9  # patient's right, near the head, in RAS+
    image = nib.Nifti1Image(v, np.diag([4.0, 4, 4, 1]))
    views = data.rotating_mips(image, 2, 4.0)
    row, col = np.unravel_index(views[0].argmax(), views[0].shape)
    assert row < 5 and col < 5
    assert np.unravel_index(views[1].argmax(), views[1].shape)[1] > 14


def test_curves_name_their_lines_and_need_an_epoch():
    h = pd.DataFrame(
        {"epoch": [1, 2], "d_loss": [1.0, 0.9], "g_loss": [0.7, np.nan], "d_accuracy": [0.5, 0.6]}
    )
    words = texts(lab.curves(h))
    assert {"generator", "discriminator", "guessing: ln 2"} <= set(words)
    png(lab.curves(h.head(1)))
    with pytest.raises(RadioganError, match="no finished epoch"):
        lab.curves(h.head(0))


def test_training_strip_takes_the_samples_of_a_run():
    suv = np.random.default_rng(0).random((13, 4, 5, 10, 6)).astype("float32")
    fig = lab.training_strip(suv[:, 0], list(range(0, 26, 2)), class_names=NAMES)
    shown = pictures(fig)
    assert (
        np.array_equal(shown[0], suv[0, 0, 0])
        and np.array_equal(shown[6], suv[-1, 0, 0])
        and "24" in texts(fig)
    )
    with pytest.raises(RadioganError):
        lab.training_strip(np.zeros((0, 5, 10, 6)))


def test_failures_show_pictures_and_measures():
    rng = np.random.default_rng(0)
    h = pd.DataFrame({"epoch": [1, 2], "d_loss": [0.7, 9.0], "g_loss": [0.7, 0.6]})
    h["label_agreement"], h["diversity"] = [0.2, 0.5], [np.nan, 0.8]
    images = rng.random((4, 5, 10, 6))
    fig = charts.failures({"healthy": (images, h), "discriminator has won": (images, h)}, NAMES)
    assert {"healthy", "discriminator\nhas won", "normal", "lymphoma"} <= set(texts(fig))
    assert np.array_equal(pictures(fig)[2], images[0, 4])
    png(fig)


def test_directions_move_one_patient():
    class Space:
        def path(self, start, end, steps):
            return np.zeros((2, 4)), np.zeros((2, 3))

        def directions(self, label):
            return [np.eye(4)[k] for k in range(2)]

        def draw(self, z, e):
            return np.tile(z.sum(axis=1)[:, None, None], (1, 10, 6))

    fig = lab.directions(Space(), 1, class_names=NAMES)
    assert [p[0, 0] for p in pictures(fig)[:5]] == [-6, -3, 0, 3, 6]
    assert {"direction 1", "direction 2", "+3", "head & neck, seed 0"} <= set(texts(fig))


def test_confusion_shows_shares_of_rows():
    fig = lab.confusion({"confusion": [[3, 1], [0, 2]]}, ["a", "b"])
    assert [t for t in texts(fig) if t.endswith("%")] == ["75%", "25%", "0%", "100%"]
    png(
        lab.confusion({"confusion": np.zeros((2, 2))}, ["a", "b"])
    )  # an empty row is no division by zero
    with pytest.raises(RadioganError):
        lab.confusion({}, ["a"])


@pytest.fixture(scope="module")
def networks():
    from radiogan_lib import gan

    cfg = config.load("smoke")
    return gan.build_generator(cfg), gan.build_discriminator(cfg)


def test_architecture_is_drawn_from_the_model(networks):
    for model in networks:
        fig = lab.architecture(model)
        words = " ".join(texts(fig))
        assert f"{sum(int(np.prod(v.shape)) for v in model.trainable_weights):,}" in words
        boxes = charts.stages(model)
        assert sum(b["parameters"] for b in boxes) == sum(
            int(np.prod(v.shape)) for v in model.trainable_weights
        )
        png(fig)
    assert (
        sum(
            b["name"] == "transposed conv" and b["kernel"][1] == 2
            for b in charts.stages(networks[0])
        )
        == 3
    )
    assert charts.stages(networks[0])[-1]["shape"] == (40, 24, 1)


def test_tables_of_sizes_counts_and_measures():
    sizes = str(lab.size_table(config.load("smoke"), 5, (3, 4)))
    assert "40 × 24" in sizes and "this profile" in sizes
    counts = lab.class_counts(dataset())
    assert counts.rows[0] == ("normal", "3", "3", "675") and counts.rows[-1] == (
        "all",
        "15",
        "15",
        "1608",
    )
    report = {
        "kid": {"value": 0.0123, "low": 0.01, "high": 0.02},
        "inner": {"auc": {"value": 0.5, "low": 0.4, "high": 0.6}},
        "n": 5,
        "missing": {"value": None},
        "curve": [1, 2, 3],
        "bad": float("nan"),
    }
    text = str(lab.metric_table(report))
    assert (
        "0.0123" in text
        and "0.01 to 0.02" in text
        and "inner: auc" in text
        and "0.4 to 0.6" in text
    )
    assert "not measured" in text and "not defined" in text and "curve" not in text
    assert "<table" in lab.metric_table(report)._repr_html_()
    assert (
        "&lt;b&gt;" in lab.Table([("<b>",)])._repr_html_()
    )  # what a cohort calls its classes is text, never markup


def test_real_reports_are_shown_whole():
    from radiogan_lib import evaluation

    d, h = dataset(per_class=10), dataset(per_class=10, seed=9)
    text = str(
        lab.metric_table(
            evaluation.memorization_report(d.suv, h.suv, dataset(per_class=10, seed=3).suv)
        )
    )
    assert "auc" in text.lower() and " to " in text


@pytest.mark.parametrize("name", diagrams.NAMES)
def test_every_diagram_draws_without_warning(name, recwarn):
    first = png(lab.diagram(name))
    assert len(first) > 5000
    assert not [w for w in recwarn if "constrained" in str(w.message) or "Glyph" in str(w.message)]


def test_an_unknown_diagram_names_the_near_one():
    with pytest.raises(RadioganError, match="Did you mean 'slerp'"):
        lab.diagram("slrep")


def test_phantom_dicom_reads_back_as_the_phantom(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path))
    folder = lab.phantom_as_dicom("phantom:lung/20001", spacing_mm=8.0)
    image, truth = (
        data.read_suv(folder),
        data.read_suv("phantom:lung/20001", phantom_spacing_mm=8.0),
    )
    assert image.shape == truth.shape and np.allclose(image.affine, truth.affine)
    assert np.abs(np.asarray(image.dataobj) - np.asarray(truth.dataobj)).max() < 0.005
    assert "different slopes" in str(lab.suv_explanation(folder)) and "BQML" in str(
        lab.suv_explanation(folder)
    )
    assert "8.00 × 8.00 × 8.00 mm" in str(lab.exam_facts(image))
    right, wrong = pictures(lab.one_slope_mistake(folder))[:2]
    assert right.max() > 3 * wrong.max()
    png(lab.suv_steps(image, data.coronal_mip(image), config.load("smoke")))
    assert lab.rotating_mip(image, 3).views == 3
    with pytest.raises(RadioganError, match="names no phantom"):
        lab.phantom_as_dicom("phantom:liver/1")


def test_each_spoilt_exam_is_refused_for_its_own_fault():
    table = lab.spoilt_exams()
    assert len(table.rows) == 8 and len({row[1] for row in table.rows}) == 8
    for row, word in zip(
        table.rows,
        ("Weight", "PROPCNTS", "ATTN", "tracer", "injected after", "0.07", "missing", "Bq/ml"),
    ):
        assert word in row[1] and row[2], row


def test_the_exam_to_follow(tmp_path, monkeypatch, capsys):
    import nibabel as nib

    from radiogan_lib import config

    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path))
    nib.save(
        nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.diag([4.0, 4, 4, 1])),
        tmp_path / "ANNA.nii.gz",
    )
    rows = (
        "exam_id,patient_id,class,path\na,a,x,phantom:lung/1\nb,b,x,gone.nii.gz\n"
        "c,c,y,ANNA.nii.gz\nd,d,y,phantom:lung/2\n"
    )
    (tmp_path / "cohort.csv").write_text(rows)
    cfg = config.load("smoke", cohort=str(tmp_path / "cohort.csv"))
    assert str(lab.exam_to_follow(cfg)).endswith("ANNA.nii.gz")
    said = capsys.readouterr().out
    assert "first of the cohort's 2 real exams" in said and "ANNA" not in said
    assert lab.exam_to_follow(cfg, "mine") == "mine"
    assert (
        lab.exam_to_follow(config.load("smoke")).is_dir()
        and "no volume of a real exam" in capsys.readouterr().out
    )
