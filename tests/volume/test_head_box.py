from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from nansurfer.volume import head_box, mask_box, whole_box

SIZE = 96


def ball(level=100, radius=30, centre=(48, 44, 52)):
    distance = np.linalg.norm(np.indices((SIZE,) * 3) - np.reshape(centre, (3, 1, 1, 1)), axis=0)
    return np.where(distance <= radius, level, 0).astype(np.uint8)


def rician(volume, sigma, seed=0):
    """The volume as a scanner with noise ``sigma`` in each channel would have measured it."""
    real, imaginary = np.random.default_rng(seed).normal(0, sigma, (2, *volume.shape)).astype(np.float32)
    return np.hypot(volume + real, imaginary).round().clip(0, 255).astype(np.uint8)


def extent(mask):
    """First and last + 1 along each axis, shape (3, 2)."""
    return np.array([(along.min(), along.max() + 1) for along in np.nonzero(mask)])


def bounds(box):
    return np.array([(span.start, span.stop) for span in box])


def assert_holds(box, mask, margin):
    """The box reaches ``margin`` beyond the mask, or to the volume's faces."""
    (low, high), (start, stop) = extent(mask).T, bounds(box).T
    assert np.all(start <= np.maximum(low - margin, 0))
    assert np.all(stop >= np.minimum(high + margin, mask.shape))


@pytest.mark.parametrize("margin", [0, 5, 12])
def test_literal_block(margin):
    volume = np.zeros((64, 64, 64), np.uint8)
    volume[16:40, 20:44, 24:48] = 100
    expected = np.add([[12, 44], [16, 48], [20, 52]], [-margin, margin])
    assert np.array_equal(bounds(head_box(volume, margin)), expected)


def test_is_clipped_to_the_volume():
    volume = np.zeros((64, 64, 64), np.uint8)
    volume[:40, 8:, 24:] = 100
    assert np.array_equal(bounds(head_box(volume, 12)), [[0, 56], [0, 64], [8, 64]])


@pytest.mark.parametrize("sigma", [2, 6, 12, 25])
def test_noise_in_the_air_does_not_widen_it(sigma):
    clean = ball()
    box = head_box(rician(clean, sigma), 4)
    assert_holds(box, clean, 4)
    assert np.all(np.ptp(bounds(box), axis=1) <= 61 + 2 * (4 + 8))


def test_noise_inside_a_smaller_field_of_view():
    clean = ball()
    volume = np.zeros_like(clean)
    volume[8:-8, 4:-4] = rician(clean, 8)[8:-8, 4:-4]
    box = head_box(volume, 0)
    assert_holds(box, clean, 0)
    assert np.all(np.ptp(bounds(box), axis=1) <= 61 + 2 * 8)


def test_specks_are_left_out_and_parts_are_not():
    volume = ball()
    volume[2:6, 2:6, 2:6] = 255  # a speck
    assert bounds(head_box(volume, 0)).min() > 6
    volume[44:52] = 0  # an artefact cuts the head in two
    assert_holds(head_box(volume, 0), ball(), 0)


@pytest.mark.parametrize(
    "volume",
    [
        np.zeros((32, 33, 34), np.uint8),
        np.full((32, 33, 34), 80, np.uint8),
        np.random.default_rng(0).integers(0, 256, (32, 33, 34), dtype=np.uint8),
        rician(np.zeros((32, 33, 34)), 20),
        np.pad(np.full((4, 4, 4), 200, np.uint8), 50),
    ],
    ids=["empty", "constant", "random", "air", "a speck alone"],
)
def test_in_doubt_it_is_the_whole_volume(volume):
    assert head_box(volume) == whole_box(volume)
    assert whole_box(volume) == tuple(slice(0, length) for length in volume.shape)


@pytest.mark.parametrize(
    ("t1", "labels", "largest_share"),
    [
        ("subject-01_orig.mgz", "labels/subject-01_aparc+aseg.mgz", 0.52),
        ("subject-02_T1w.nii.gz", None, 0.56),
        ("subject-03_brain.mgz", None, 0.40),
        ("fsaverage_brain.mgz", "labels/fsaverage_aseg.mgz", 0.45),
    ],
)
@pytest.mark.parametrize("sigma", [0, 12])
def test_real_heads(t1, labels, largest_share, sigma, data_dir):
    volume = np.asanyarray(nib.load(data_dir / "t1" / t1).dataobj)
    # Without labels: what is brighter than a dark fluid, in the clean volume.
    head = volume > 20 if labels is None else np.asanyarray(nib.load(data_dir / labels).dataobj) > 0
    box = head_box(rician(volume, sigma) if sigma else volume, 8)
    assert_holds(box, head, 8)
    assert np.prod(np.ptp(bounds(box), axis=1)) / volume.size < largest_share


def test_box_of_a_mask_grows_and_stops_at_the_border():
    mask = np.zeros((10, 10, 10), bool)
    mask[1, 4:6, 9] = mask[2, 4, 7] = True
    assert mask_box(mask) == (slice(1, 3), slice(4, 6), slice(7, 10))
    assert mask_box(mask, margin=2) == (slice(0, 5), slice(2, 8), slice(5, 10))


def test_box_of_an_empty_mask_is_everything():
    assert mask_box(np.zeros((2, 3, 4), bool), margin=5) == (slice(0, 2), slice(0, 3), slice(0, 4))
