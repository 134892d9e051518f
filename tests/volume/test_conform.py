from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.ndimage import map_coordinates

from nansurfer.errors import ConfigError
from nansurfer.volume import conform, is_conformed

LIA_1MM = np.array([[-1, 0, 0, 128], [0, 0, 1, -128], [0, -1, 0, 128], [0, 0, 0, 1.0]])


def head(shape=(60, 70, 48), dtype=np.uint8, seed=0):
    """A block of random values in a zero frame, so that every voxel's place shows."""
    data = np.zeros(shape, dtype)
    inner = tuple(slice(5, n - 5) for n in shape)
    data[inner] = np.random.default_rng(seed).integers(1, 256, data[inner].shape)
    return data


def oriented(image, codes):
    return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(codes)))


def rotation(degrees):
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])


def values_at(image, world):
    """The image's values at points of the world that are voxel centres."""
    voxels = nib.affines.apply_affine(np.linalg.inv(image.affine), world)
    assert np.abs(voxels - np.rint(voxels)).max() < 1e-3
    return np.asanyarray(image.dataobj)[tuple(np.rint(voxels).astype(int).T)]


def scaled_uint8(data, affine, slope, inter):
    """A NIfTI image whose header scales its uint8 voxels, as read from a file."""
    image = nib.Nifti1Image(data * slope + inter, affine)
    image.header.set_data_dtype(np.uint8)
    image.header.set_slope_inter(slope, inter)
    return nib.Nifti1Image.from_bytes(image.to_bytes())


class TestIsConformed:
    def test_a_conformed_image_comes_back_untouched(self):
        image = nib.MGHImage(head((256, 256, 256)), LIA_1MM)
        assert is_conformed(image)
        assert conform(image) is image

    def test_a_conformed_nifti_keeps_data_and_affine(self):
        affine = LIA_1MM.copy()
        affine[:3, 3] = [127.6, -133.48001, 134.48]
        image = nib.Nifti1Image(head((256, 256, 256)), affine)
        result = conform(image)
        assert isinstance(result, nib.MGHImage)
        assert np.array_equal(result.affine, affine)
        assert np.array_equal(result.dataobj, image.dataobj)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda data, affine: nib.Nifti1Image(data.astype(np.int16), affine), "dtype"),
            (lambda data, affine: nib.Nifti1Image(data[:-1], affine), "shape"),
            (lambda data, affine: nib.Nifti1Image(data[..., None], affine), "4D"),
            (lambda data, affine: nib.Nifti1Image(data, affine @ np.diag([-1, 1, 1, 1])), "RIA"),
            (lambda data, affine: nib.Nifti1Image(data, affine @ np.diag([1.00001, 1, 1, 1])), "voxel size"),
            (lambda data, affine: scaled_uint8(data, affine, 2.0, 1.0), "scaled"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_not_conformed(self, change, reason):
        assert not is_conformed(change(head((256, 256, 256)), LIA_1MM))

    def test_fastsurfer_overlooks_negative_tilts(self):
        tilted = LIA_1MM.copy()
        tilted[:3, :3] = rotation(7) @ LIA_1MM[:3, :3]
        image = nib.MGHImage(head((256, 256, 256)), tilted)
        assert is_conformed(image, 1.0, fastsurfer_compat=True)
        assert not is_conformed(image, 1.0)

    @pytest.mark.parametrize("vox_size", [0, -1.0, 1.5, float("nan"), "max", None])
    def test_senseless_voxel_sizes(self, vox_size):
        image = nib.Nifti1Image(head((20, 20, 20)), np.eye(4))
        with pytest.raises(ConfigError, match="Voxel size"):
            is_conformed(image, vox_size)


class TestTargetGrid:
    @pytest.mark.parametrize(
        ("zooms", "shape", "vox_size", "expected_mm", "expected_size"),
        [
            ((1.2, 1.2, 1.2), (20, 20, 20), "min", 1.0, 256),
            ((0.95, 1, 1), (20, 20, 20), "min", 0.95, 256),
            ((0.96, 1, 1), (20, 20, 20), "min", 1.0, 256),
            ((0.80004, 1, 1), (20, 20, 20), "min", 0.8, 256),
            ((0.8, 0.8, 0.8), (20, 20, 260), "min", 0.8, 260),
            ((0.8, 0.8, 1.0), (20, 20, 260), "min", 0.8, 325),
            ((1, 1, 1), (20, 20, 260), "min", 1.0, 256),
            ((1, 1, 1), (20, 20, 260), 0.96, 0.96, 271),
            ((1, 1, 1), (20, 20, 20), 1, 1.0, 256),
        ],
    )
    def test_voxel_size_and_size(self, zooms, shape, vox_size, expected_mm, expected_size):
        result = conform(nib.Nifti1Image(head(shape), np.diag([*zooms, 1])), vox_size)
        assert result.shape == (expected_size,) * 3
        assert result.header.get_zooms() == pytest.approx((expected_mm,) * 3)
        assert nib.aff2axcodes(result.affine) == ("L", "I", "A")
        assert result.get_data_dtype() == np.uint8


class TestReordering:
    @pytest.mark.parametrize(
        ("shape", "codes"),
        [
            ((60, 70, 48), "LIA"),
            ((60, 70, 48), "RAS"),
            ((61, 70, 47), "LPS"),
            ((61, 71, 47), "PIR"),
            ((61, 70, 48), "ASL"),
            ((255, 255, 255), "LIA"),
            ((255, 255, 255), "SRP"),
        ],
    )
    def test_every_voxel_keeps_its_value_and_its_place(self, codes, shape):
        affine = LIA_1MM.copy()
        affine[:3, 3] += [3.3, -7.1, 12.7]
        image = oriented(nib.Nifti1Image(head(shape), affine), codes)
        result = conform(image)
        voxels = np.argwhere(np.asanyarray(image.dataobj) > 0)[::97]
        world = nib.affines.apply_affine(image.affine, voxels)
        assert np.array_equal(values_at(result, world), np.asanyarray(image.dataobj)[tuple(voxels.T)])
        assert np.count_nonzero(result.dataobj) == np.count_nonzero(image.dataobj)

    def test_a_volume_larger_than_the_cube_is_cropped_around_its_centre(self):
        data = np.zeros((300, 20, 20), np.uint8)
        data[[21, 22, 277, 278]] = [[[1]], [[2]], [[3]], [[4]]]
        row = np.asanyarray(conform(nib.Nifti1Image(data, LIA_1MM)).dataobj)[:, 128, 128]
        assert (row[0], row[-1], np.count_nonzero(row)) == (2, 3, 2)

    def test_other_types_are_windowed(self):
        data = head(dtype=np.int16) * np.int16(4)
        result = np.asanyarray(conform(nib.Nifti1Image(data, LIA_1MM)).dataobj)
        assert (result.min(), result.max()) == (0, 255)
        assert np.count_nonzero(result) == np.count_nonzero(data)

    def test_even_sizes_agree_with_fastsurfer(self):
        image = oriented(nib.Nifti1Image(head(dtype=np.int16), LIA_1MM), "RAS")
        ours, theirs = conform(image), conform(image, fastsurfer_compat=True)
        assert np.array_equal(ours.affine, theirs.affine)
        assert np.array_equal(ours.dataobj, theirs.dataobj)

    def test_half_voxels_are_taken_by_the_centre_not_by_blurring(self):
        image = nib.Nifti1Image(head((59, 69, 47)), LIA_1MM)
        ours, theirs = conform(image), conform(image, fastsurfer_compat=True)
        assert np.abs(ours.affine - theirs.affine)[:3, 3] == pytest.approx(0.5)
        assert set(np.unique(image.dataobj)) == set(np.unique(ours.dataobj))
        assert np.ptp(np.asanyarray(theirs.dataobj).astype(int)) < 255  # means of eight voxels

    def test_scaled_uint8_is_taken_by_its_real_values(self):
        image = scaled_uint8(head(), LIA_1MM, slope=3.0, inter=0.0)
        real = nib.Nifti1Image(np.asanyarray(image.dataobj).astype(np.float32), LIA_1MM)
        assert np.array_equal(conform(image).dataobj, conform(real).dataobj)
        clipped = np.asanyarray(conform(image, fastsurfer_compat=True).dataobj)
        assert np.mean(clipped[clipped > 0] == 255) > 0.5


class TestAirBelowZero:
    @pytest.mark.parametrize("axes", [np.eye(3), rotation(20)], ids=["reordered", "interpolated"])
    def test_where_zero_lies_does_not_matter(self, axes):
        affine = nib.affines.from_matvec(axes @ LIA_1MM[:3, :3])
        data = head(dtype=np.int16)
        expected = conform(nib.Nifti1Image(data, affine))
        assert np.array_equal(conform(nib.Nifti1Image(data - np.int16(100), affine)).dataobj, expected.dataobj)

    def test_fastsurfer_blackens_tissue_of_value_zero(self):
        data = head(dtype=np.int16)
        image = nib.Nifti1Image(data - np.int16(100), LIA_1MM)
        ours, theirs = (np.asanyarray(conform(image, fastsurfer_compat=compat).dataobj) for compat in (False, True))
        black = (theirs == 0) & (ours > 0)
        assert np.count_nonzero(black) == np.count_nonzero(data == 100)

    def test_background_of_standardised_values_stays_black(self):
        data = head(dtype=np.float32)
        data[data > 0] = (data[data > 0] - 128.5) / 74
        result = np.asanyarray(conform(nib.Nifti1Image(data, LIA_1MM)).dataobj)
        assert np.count_nonzero(result) == pytest.approx(np.count_nonzero(data), rel=0.01)


class TestInterpolation:
    AFFINE = np.block([[rotation(7) @ LIA_1MM[:3, :3] * [0.8, 0.9, 1.2], np.c_[[90, -100, 110]]], [0, 0, 0, 1]])

    def test_is_trilinear_in_world_coordinates(self):
        smooth = np.fromfunction(lambda x, y, z: x + y / 2 + z / 4, (100, 120, 90))
        image = nib.Nifti1Image(np.rint(smooth).astype(np.uint8), self.AFFINE)
        result = conform(image)
        voxels = np.argwhere(np.asanyarray(result.dataobj) > 0)[::1009]
        source = nib.affines.apply_affine(np.linalg.inv(self.AFFINE) @ result.affine, voxels)
        expected = map_coordinates(np.asanyarray(image.dataobj), source.T, output=float, order=1)
        assert np.asanyarray(result.dataobj)[tuple(voxels.T)] == pytest.approx(expected, abs=0.501)

    def test_both_modes_take_the_same_path(self):
        image = nib.Nifti1Image(head((60, 70, 80), np.int16), self.AFFINE)
        ours, theirs = conform(image), conform(image, fastsurfer_compat=True)
        assert np.array_equal(ours.affine, theirs.affine)
        assert np.array_equal(ours.dataobj, theirs.dataobj)

    def test_the_centre_of_the_volume_keeps_its_place(self):
        result = conform(nib.Nifti1Image(head((60, 71, 80)), self.AFFINE))
        centre = nib.affines.apply_affine(self.AFFINE, [30, 35.5, 40])
        size = result.shape[0]
        assert nib.affines.apply_affine(result.affine, [size / 2] * 3) == pytest.approx(centre, abs=1e-4)

    def test_scan_parameters_of_an_mgh_input_are_kept(self):
        image = nib.MGHImage(head((60, 70, 80)), self.AFFINE)
        image.header["tr"], image.header["ti"] = 2300, 900
        result = conform(image)
        assert (result.header["tr"], result.header["ti"]) == (2300, 900)


# FastSurfer's conform (commit 7c45785) of subject-02: size, sum of all voxels, sums of voxels times their
# index along each axis, the values at [128, 128, 100:200:20], translation of the affine.
FASTSURFER = {
    "odd": (
        (256, 279071266, 35785348236, 39132172624, 32707396791),
        [134, 85, 110, 140, 80],
        [128.10000610351562, -135.98001098632812, 135.97999572753906],
    ),
    "1.2 mm": (
        (256, 644152724, 80699850018, 89187064143, 71076065024),
        [56, 154, 78, 189, 123],
        [98.0, -84.0, 130.0],
    ),
    "oblique": (
        (256, 437088823, 55123189374, 60637666872, 50194567770),
        [218, 178, 163, 222, 146],
        [75.35481262207031, -116.5533676147461, 110.0],
    ),
    "anisotropic": (
        (330, 620007319, 99173103071, 107491737300, 88462349877),
        [108, 167, 160, 171, 122],
        [134.44992065429688, -109.75850677490234, 170.0],
    ),
}


def subject_02_as(name, original):
    data = np.asanyarray(original.dataobj)
    if name == "odd":
        return nib.Nifti1Image(data[:-1, :-3, :-5], original.affine)
    if name == "1.2 mm":
        data, axes = data[30:230, 40:220, 10:250].astype(np.int16) * 3, np.eye(3) * 1.2
    elif name == "oblique":
        data, axes = data.astype(np.int16) * 4 - 60, rotation(7)
    else:
        data, axes = data[40:220, 50:210, 20:240].astype(np.float32), rotation(7)
    affine = np.eye(4)
    affine[:3, :3] = axes @ original.affine[:3, :3]
    if name == "anisotropic":
        affine[:3, :3] *= [0.8, 0.9, 1.2]
    affine[:3, 3] = [90, -100, 110]
    return nib.Nifti1Image(data, affine)


@pytest.mark.parametrize("name", FASTSURFER)
def test_compat_gives_fastsurfers_numbers(name, data_dir):
    (size, *sums), values, translation = FASTSURFER[name]
    result = conform(subject_02_as(name, nib.load(data_dir / "t1" / "subject-02_T1w.nii.gz")), fastsurfer_compat=True)
    data = np.asanyarray(result.dataobj)
    profiles = [data.sum(axis=others, dtype=np.int64) for others in ((1, 2), (0, 2), (0, 1))]
    assert result.shape == (size, size, size)
    # The last bit of a matrix inverse may differ between machines and turn a tie in rounding.
    expected_sums = [profiles[0].sum(), *(profile @ np.arange(size) for profile in profiles)]
    assert expected_sums == pytest.approx(sums, rel=1e-6)
    assert data[128, 128, 100:200:20].tolist() == pytest.approx(values, abs=1)
    assert result.affine[:3, 3] == pytest.approx(translation, abs=1e-4)


@pytest.mark.parametrize(
    "name", ["subject-01_orig.mgz", "subject-02_T1w.nii.gz", "subject-03_brain.mgz", "fsaverage_brain.mgz"]
)
def test_real_volumes_are_conformed_and_survive_reorientation(name, data_dir):
    image = nib.load(data_dir / "t1" / name)
    assert is_conformed(image)
    data = np.asanyarray(image.dataobj)
    back = conform(oriented(nib.Nifti1Image(data, image.affine), "RAS"))
    voxels = np.argwhere(data > 0)
    world = nib.affines.apply_affine(image.affine, voxels)
    assert np.array_equal(values_at(back, world), data[tuple(voxels.T)])
