"""Which voxels are head, and where thick slices meet them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from nansurfer.volume import head_mask, thick_mask, widened

SIZE = 80


def ball(radius=24, level=100):
    distance = np.linalg.norm(np.indices((SIZE,) * 3) - np.reshape((38, 33, 36), (3, 1, 1, 1)), axis=0)
    return np.where(distance <= radius, level, 0).astype(np.uint8)


def rician(volume, sigma):
    real, imaginary = np.random.default_rng(0).normal(0, sigma, (2, *volume.shape)).astype(np.float32)
    return np.hypot(volume + real, imaginary).round().clip(0, 255).astype(np.uint8)


def grown(mask, voxels):
    return ndimage.binary_dilation(mask, np.ones((3, 3, 3)), voxels)


def test_literal_block():
    volume = np.zeros((64, 64, 64), np.uint8)
    volume[20:40, 24:40, 24:44] = 90
    mask = head_mask(volume)
    assert mask.dtype == bool
    # A face's neighbours hold 9 of 27 voxels of it and are bright; at a corner, 1 of 27 is not.
    assert np.array_equal(np.flatnonzero(mask.any((1, 2)))[[0, -1]], [18, 41])
    assert mask[volume > 0].all()
    assert not mask[~grown(volume > 0, 2)].any()


@pytest.mark.parametrize("sigma", [0, 3, 12])
def test_noise_in_the_air_is_background(sigma):
    clean = ball()
    mask = head_mask(rician(clean, sigma) if sigma else clean)
    assert mask[clean > 0].all()
    assert not mask[~grown(clean > 0, 3)].any()


def test_holes_are_head_and_specks_are_not():
    volume = ball()
    volume[34:42, 30:36, 32:40] = 0
    volume[2:4, 2:4, 2:4] = 255
    mask = head_mask(volume)
    assert mask[34:42, 30:36, 32:40].all()
    assert not mask[:6, :6, :6].any()


@pytest.mark.parametrize("volume", [np.zeros((32,) * 3, np.uint8), np.full((32,) * 3, 80, np.uint8)])
def test_in_doubt_everything_is_head(volume):
    assert head_mask(volume).all()


@pytest.mark.parametrize(
    ("name", "labels", "largest_share"),
    [
        ("subject-01_orig.mgz", "labels/subject-01_aparc+aseg.mgz", 0.23),
        ("subject-02_T1w.nii.gz", None, 0.23),
        ("subject-03_brain.mgz", None, 0.12),
        ("fsaverage_brain.mgz", "labels/fsaverage_aseg.mgz", 0.15),
    ],
)
@pytest.mark.parametrize("sigma", [0, 12])
def test_real_heads_lose_no_labelled_voxel(name, labels, largest_share, sigma, data_dir):
    volume = np.asanyarray(nib.load(data_dir / "t1" / name).dataobj)
    mask = head_mask(rician(volume, sigma) if sigma else volume)
    assert 0.1 < mask.mean() < largest_share
    if labels is not None:
        assert mask[np.asanyarray(nib.load(data_dir / labels).dataobj) > 0].all()


@pytest.mark.parametrize("margin", [0, 1, 2, 5, 12])
def test_widened_is_the_dilation_by_a_cube(margin):
    mask = np.random.default_rng(margin).random((7, 40, 9)) < 0.01
    mask[:, 0] |= mask[:, 1]
    cube = np.ones((2 * margin + 1,) * 3)
    assert np.array_equal(widened(mask, margin), ndimage.binary_dilation(mask, cube))


def test_thick_mask_by_hand():
    mask = np.zeros((5, 6, 12), bool)
    mask[1, 2, 5] = True
    thick = thick_mask(mask, 0, 12, thickness=7)
    assert thick.shape == (12, 5, 6)
    assert np.array_equal(np.flatnonzero(thick[:, 1, 2]), np.arange(2, 9))
    assert thick.sum() == 7
    wide = thick_mask(mask, 2, 4, thickness=7, margin=1)
    assert np.array_equal(np.argwhere(wide[0]), [[r, c] for r in range(3) for c in range(1, 4)])


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 4), (5, 9), (11, 12)])
@pytest.mark.parametrize("margin", [0, 2])
def test_thick_mask_of_some_slices_is_that_of_all(start, stop, margin):
    mask = np.random.default_rng(1).random((9, 8, 12)) < 0.02
    everything = thick_mask(mask, 0, 12, margin=margin)
    assert np.array_equal(thick_mask(mask, start, stop, margin=margin), everything[start:stop])
