"""Projections: SimpleITK's bits on axis-aligned grids, the library's resampler on oblique ones, and
which way is up."""

import time

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import petphantom
from radiogan_lib import data
from radiogan_lib.data import projection

TIES = [
    4.0,
    8 / 3,
    4 / 3,
    8.0,
    1.6,
    0.8,
    12.0,
]  # spacings at which 2 mm planes fall half-way between two voxels


def by_sitk(image, out=2.0):
    """Canonical volume → SimpleITK nearest neighbour at `out` mm → (coronal, sagittal) maxima,
    upright."""
    sitk = pytest.importorskip("SimpleITK")
    canonical = nib.as_closest_canonical(image)
    spacing = [float(s) for s in nib.affines.voxel_sizes(canonical.affine)]
    volume = sitk.GetImageFromArray(
        np.ascontiguousarray(np.asarray(canonical.dataobj, np.float32).T)
    )
    volume.SetSpacing(spacing)
    volume.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    volume.SetOrigin([float(v) for v in canonical.affine[:3, 3] * (-1, -1, 1)])
    size = [int(round(n * s / out)) for n, s in zip(canonical.shape, spacing, strict=True)]
    fine = sitk.GetArrayFromImage(
        sitk.Resample(
            volume,
            size,
            sitk.Transform(),
            sitk.sitkNearestNeighbor,
            volume.GetOrigin(),
            (out,) * 3,
            volume.GetDirection(),
            0.0,
        )
    )
    return fine.max(axis=1)[::-1, ::-1], fine.max(axis=2)[::-1, ::-1]


def grid(rng, shape, spacing, perm=(0, 1, 2), signs=(1, 1, 1), origin=(0, 0, 0), order="C"):
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis in range(3):
        affine[perm[axis], axis] = spacing[axis] * signs[axis]
    affine[:3, 3] = origin
    return nib.Nifti1Image(np.asarray(rng.normal(0, 3, shape), np.float32, order=order), affine)


sizes = st.one_of(st.sampled_from([*TIES, 1.0, 2.0, 4.06, 2.0364201, 3.0, 3.27]), st.floats(0.6, 9))


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 25)] * 3),
    spacing=st.tuples(sizes, sizes, sizes),
    perm=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    origin=st.tuples(*[st.sampled_from([0.0, -297.65625, 411.3, 83.1])] * 3),
    order=st.sampled_from("CF"),
    negative=st.booleans(),
    out=st.sampled_from([2.0, 2.0, 1.0, 3.5]),
)
def test_equal_to_simpleitk_to_the_last_bit(
    shape, spacing, perm, signs, origin, order, negative, out
):
    image = grid(np.random.default_rng(0), shape, spacing, perm, signs, origin, order)
    if negative:  # outside the volume SimpleITK draws 0, which then is the maximum
        image = nib.Nifti1Image(-np.abs(np.asarray(image.dataobj)), image.affine)
    if min(round(n * s / out) for n, s in zip(shape, spacing, strict=True)) < 1:
        return
    coronal, sagittal = by_sitk(image, out)
    np.testing.assert_array_equal(projection.coronal_mip(image, out), coronal)
    np.testing.assert_array_equal(projection.sagittal_mip(image, out), sagittal)


@pytest.mark.parametrize("spacing", TIES)
@pytest.mark.parametrize("origin", [0.0, -297.65625, 441.1001275051991])
def test_half_way_ties_on_long_axes_fall_as_in_simpleitk(spacing, origin):
    """Rounding noise decides ties; it differs along x (interpolated lines) and the other axes."""
    rng = np.random.default_rng(1)
    for axis in range(3):
        shape = [3, 3, 3]
        shape[axis] = 400
        image = grid(rng, shape, (spacing,) * 3, origin=(origin, -origin, origin))
        for ours, theirs in zip(
            (projection.coronal_mip(image), projection.sagittal_mip(image)),
            by_sitk(image),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_large_volumes_go_through_threads_and_stay_equal(monkeypatch):
    rng = np.random.default_rng(2)
    monkeypatch.setattr(projection.machine, "cores", lambda: 3)
    for perm in ([0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1], [2, 0, 1]):
        for order in "CF":
            image = grid(rng, (33, 41, 29), (2.5, 3, 4.06), perm, (-1, 1, -1), order=order)
            monkeypatch.setattr(projection, "THREADS_ABOVE", 1 << 60)
            alone = projection.coronal_mip(image), projection.sagittal_mip(image)
            monkeypatch.setattr(projection, "THREADS_ABOVE", 0)
            for a, b in zip(
                alone, (projection.coronal_mip(image), projection.sagittal_mip(image)), strict=True
            ):
                np.testing.assert_array_equal(a, b)


def test_head_up_right_on_the_left_face_to_the_left():
    """One hot voxel in the patient's upper right front, in every stored orientation."""
    volume = np.zeros((10, 12, 14), np.float32)
    volume[8, 9, 11] = 7  # RAS: right is high x, front is high y, head is high z
    ras = nib.Nifti1Image(volume, np.diag([2.0, 2, 2, 1]))
    for codes in ("RAS", "LPS", "LAS", "PIR", "SAL", "IPR"):
        target = nib.orientations.axcodes2ornt(codes)
        image = ras.as_reoriented(
            nib.orientations.ornt_transform(nib.orientations.io_orientation(ras.affine), target)
        )
        coronal, sagittal = projection.coronal_mip(image), projection.sagittal_mip(image)
        assert coronal.shape == (14, 10) and sagittal.shape == (14, 12)
        assert tuple(np.argwhere(coronal == 7)[0]) == (
            14 - 1 - 11,
            10 - 1 - 8,
        )  # near the top, left of the middle
        assert tuple(np.argwhere(sagittal == 7)[0]) == (14 - 1 - 11, 12 - 1 - 9)
        assert coronal.dtype == np.float32 and coronal.flags.c_contiguous


def test_scaled_integers_are_projected_as_stored(tmp_path):
    """The maximum is taken over int16 and scaled afterwards; a negative slope must not turn it into
    a minimum."""
    rng = np.random.default_rng(3)
    stored = rng.integers(-50, 3000, (9, 8, 7)).astype(np.int16)
    for slope, inter in ((0.01, 0.0), (0.013, -0.4), (-0.01, 30.0)):
        image = nib.Nifti1Image(stored, np.diag([2.0, 2, 2, 1]))
        image.header.set_slope_inter(slope, inter)
        raw = tmp_path / "x.nii"
        nib.save(image, raw)
        proxy = nib.load(raw)
        proxy.dataobj._slope, proxy.dataobj._inter = slope, inter
        expected = (stored * slope + inter).astype(np.float32).max(axis=1).T[::-1, ::-1]
        np.testing.assert_array_equal(projection.coronal_mip(proxy), expected)


def test_oblique_grids_as_nibabel_resamples_them():
    from nibabel.processing import resample_to_output

    volume = np.zeros((30, 30, 30), np.float32)
    volume[10:20, 12:18, 5:25] = np.random.default_rng(4).random((10, 6, 20)) + 1
    angle = np.deg2rad(20)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    image = nib.Nifti1Image(volume, nib.affines.from_matvec(turn * 3.0, (5, 6, 7)))
    assert not projection.is_axis_aligned(image.affine)
    expected = (
        resample_to_output(image, [2.0] * 3, order=0)
        .get_fdata(dtype=np.float32)
        .max(axis=1)
        .T[::-1, ::-1]
    )
    np.testing.assert_array_equal(projection.coronal_mip(image), expected)
    assert projection.coronal_mip(image).max() == pytest.approx(volume.max(), rel=0.05)
    tiny = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(5e-4) * 3.0
    )  # half a millimetre in a metre: still aligned
    assert projection.is_axis_aligned(tiny)


def on_a_grid(image, affine, shape):
    """The volume at the points of a grid, by SimpleITK's nearest neighbour."""
    sitk = pytest.importorskip("SimpleITK")

    def placed(array, affine):
        sizes = nib.affines.voxel_sizes(affine)
        made = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        made.SetSpacing([float(s) for s in sizes])
        made.SetDirection((affine[:3, :3] / sizes).ravel().tolist())
        made.SetOrigin([float(v) for v in affine[:3, 3]])
        return made

    grid = placed(np.zeros(shape, np.int16), affine)
    moving = placed(np.asarray(image.dataobj), image.affine)
    fine = sitk.Resample(moving, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)
    return sitk.GetArrayFromImage(fine).T


TURNS = [(0.3, 0, 0), (0, 0.2, 0), (0, 0, 0.1), (0.3, 0.2, 0.1)]  # radians about z, y, x


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("codes", ["RAS", "PIL"])
def test_oblique_grids_as_simpleitk_resamples_them(turn, codes):
    """Turned about each axis and about all; where the volume does not end in zeros; any order of
    axes in memory."""
    volume = np.random.default_rng(4).integers(-90, 900, (21, 18, 25)).astype(np.int16)
    turn = nib.eulerangles.euler2mat(*turn)
    plain = nib.Nifti1Image(volume, nib.affines.from_matvec(turn * (3.1, 2.7, 3.7), (5, 6, 7)))
    shape, affine = nib.spaces.vox2out_vox((volume.shape, plain.affine), [2.0] * 3)
    fine = on_a_grid(plain, affine, shape)
    order = nib.orientations.axcodes2ornt(codes)
    image = plain.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(plain.affine), order)
    )
    for view, axis in ((projection.coronal_mip, 1), (projection.sagittal_mip, 0)):
        found, expected = view(image), fine.max(axis=axis).T[::-1, ::-1]
        assert found.shape == expected.shape and np.mean(found == expected) > 0.999


@pytest.mark.parametrize("turn", [(0, 0, 0), *TURNS])
def test_rotating_views_as_simpleitk_resamples_them(turn):
    """The grid of every view is turned, and the volume is sampled once, however it lies."""
    volume = np.random.default_rng(5).integers(-90, 900, (21, 18, 25)).astype(np.int16)
    matrix = nib.eulerangles.euler2mat(*turn) * (3.1, 2.7, 3.7)
    image = nib.Nifti1Image(volume, nib.affines.from_matvec(matrix, (5, 6, 7)))
    views = data.rotating_mips(image, 3)
    _, rows, columns = views.shape
    middle = nib.affines.apply_affine(image.affine, (np.array(volume.shape) - 1) / 2)
    foot = middle[2] - np.abs(matrix[2]) @ (np.array(volume.shape) - 1) / 2
    for k, found in enumerate(views):
        about = nib.eulerangles.euler2mat(z=2 * np.pi * k / 3) * 2.0
        corner = middle - about @ [columns // 2, columns // 2, 0]
        affine = nib.affines.from_matvec(about, [*corner[:2], foot])
        fine = on_a_grid(image, affine, (columns, columns, rows))
        assert np.mean(found == fine.max(axis=1).T[::-1, ::-1]) > 0.99


@pytest.mark.parametrize("spacing", [1.5, 1.65, 2.04, 4.06])
def test_no_layout_in_memory_is_slow_or_different(spacing):
    """A view with strides in any order and direction: once, every plane copied the whole volume."""
    volume = np.random.default_rng(1).random((120, 110, 130), np.float32)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    plain = nib.Nifti1Image(volume, affine)
    layouts = [
        np.asfortranarray(volume),
        np.ascontiguousarray(volume[::-1, ::-1])[::-1, ::-1],
        np.ascontiguousarray(volume.transpose(1, 2, 0)[:, ::-1]).transpose(2, 0, 1)[:, :, ::-1],
        np.repeat(volume, 2, axis=1)[:, ::2],
    ]
    for view in (projection.coronal_mip, projection.sagittal_mip):
        expected = view(plain)
        for layout in layouts:
            start = time.perf_counter()
            np.testing.assert_array_equal(view(nib.Nifti1Image(layout, affine)), expected)
            assert time.perf_counter() - start < 2  # it took 90 s at 256 x 256 x 300


def test_rotating_views_start_in_front_and_mirror_at_half_a_turn():
    volume = np.zeros((20, 16, 12), np.float32)
    volume[15, 12, 9] = 5  # right, front, up
    volume[4, 8, 2] = 3
    image = nib.Nifti1Image(volume, np.diag([4.0, 4, 4, 1]))
    views = data.rotating_mips(image, 8)
    assert views.shape[0] == 8 and views.dtype == np.float32
    assert views.max(axis=(1, 2)).tolist() == [5.0] * 8  # a maximum does not fade as it turns
    rows, columns = np.nonzero(views[0] == 5)
    assert (
        rows.mean() < views.shape[1] / 2 and columns.mean() < views.shape[2] / 2
    )  # up, patient's right on the left
    back = np.nonzero(views[4] == 5)[1]
    assert abs((views.shape[2] - 1 - columns.mean()) - back.mean()) <= 2
    front = projection.coronal_mip(image)
    np.testing.assert_allclose(
        np.bincount(np.nonzero(views[0])[0]), np.bincount(np.nonzero(front)[0])
    )  # same heights


def test_rotating_views_hit_every_lesion_the_coronal_view_shows():
    image = petphantom.make("lung", 5, 6.0)
    views = data.rotating_mips(image, 4)
    front = projection.coronal_mip(image)
    assert views[0].max() == pytest.approx(front.max())
    margin = (views.shape[2] - front.shape[1]) // 2
    inner = views[0][:, margin : margin + front.shape[1]]
    assert np.corrcoef(inner.ravel(), front.ravel())[0, 1] > 0.95


def test_refusals():
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    with pytest.raises(ValueError, match="above zero"):
        projection.coronal_mip(image, 0)
    with pytest.raises(ValueError, match="at least one"):
        data.rotating_mips(image, 0)
    with pytest.raises(data.ExamError, match="4 dimensions"):
        projection.coronal_mip(nib.Nifti1Image(np.ones((4, 4, 4, 3), np.float32), np.eye(4)))
    single = nib.Nifti1Image(np.ones((4, 5, 6, 1), np.float32), np.diag([2.0, 2, 2, 1]))
    assert projection.coronal_mip(single).shape == (6, 4)
