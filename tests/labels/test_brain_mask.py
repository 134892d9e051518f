"""The brain mask and the reduced segmentation."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nansurfer.labels import brain_mask, load_table, merge_parcels, reduce_to_aseg

CUBE = np.ones((3, 3, 3))


def test_a_voxel_becomes_a_cube() -> None:
    labels = np.zeros((21, 21, 21), np.int16)
    labels[10, 10, 10] = 17
    mask = brain_mask(labels)
    assert mask.dtype == np.uint8
    assert mask.sum() == 27
    assert (mask[9:12, 9:12, 9:12] == 1).all()


def test_beyond_the_border_is_background() -> None:
    labels = np.zeros((21, 21, 21), np.int16)
    labels[10, 10, 0:3] = 17
    assert np.flatnonzero(brain_mask(labels)[10, 10]).tolist() == []
    labels[10, 10, 0:6] = 17
    assert np.flatnonzero(brain_mask(labels)[10, 10]).tolist() == [4, 5, 6]


def test_gaps_close_and_small_pieces_go() -> None:
    labels = np.zeros((60, 21, 21), np.int16)
    labels[10, 10, 10] = labels[20, 10, 10] = 2
    labels[50, 10, 10] = 41
    mask = brain_mask(labels)
    assert np.flatnonzero(mask[:, 10, 10]).tolist() == list(range(9, 22))


def test_orbital_parcels_do_not_grow() -> None:
    labels = np.zeros((31, 21, 21), np.int16)
    labels[10, 10, 10] = 2
    labels[25, 10, 10] = 2019
    mask = brain_mask(labels)
    assert mask.sum() == 28
    assert mask[25, 10, 10] == 1


@pytest.mark.parametrize("label", [0, 1012])
def test_nothing_to_grow(label: int) -> None:
    labels = np.zeros((6, 6, 6), np.int16)
    labels[2, 3, 4] = label
    assert brain_mask(labels).sum() == (label > 0)


def test_cortex_becomes_one_label_a_side() -> None:
    labels = np.array([[[1002, 1999, 2000, 2035, 77, 17, 3]]], np.int16)
    mask = np.array([[[1, 1, 1, 1, 1, 0, 1]]], np.uint8)
    aseg = reduce_to_aseg(labels, mask)
    assert aseg.dtype == np.uint8
    assert aseg.tolist() == [[[3, 3, 42, 42, 77, 0, 3]]]


def test_islands_take_the_side_around_them() -> None:
    labels = np.zeros((30, 5, 5), np.int16)
    labels[0:12], labels[18:30] = 2, 41
    labels[22:25, 1:4, 1:4] = 2024  # room for an island of the left in the right
    labels[23, 2, 2] = 2
    labels[4:7, 1:4, 1:4] = 0
    labels[5, 2, 2] = 41
    aseg = reduce_to_aseg(labels, np.ones(labels.shape, np.uint8))
    assert aseg[23, 2, 2] == 41
    assert aseg[5, 2, 2] == 2


def test_an_island_far_from_the_other_side_stays() -> None:
    labels = np.zeros((40, 1, 1), np.int16)
    labels[:2], labels[-2:], labels[19], labels[21] = 2, 41, 2, 41
    aseg = reduce_to_aseg(labels, np.ones(labels.shape, np.uint8))
    assert (aseg == labels).all()


@pytest.mark.parametrize("white", [2, 41])
def test_one_hemisphere_or_none(white: int) -> None:
    labels = np.zeros((9, 9, 9), np.int16)
    everywhere = np.ones(labels.shape, np.uint8)
    assert not reduce_to_aseg(labels, everywhere).any()
    assert not reduce_to_aseg(labels, 0 * everywhere).any()
    labels[2:4, 2:4, 2:4] = white
    assert (reduce_to_aseg(labels, everywhere) == labels).all()


def reference_mask(labels: np.ndarray) -> np.ndarray:
    """The rule with scipy's binary morphology on the whole volume."""
    orbital = np.isin(labels, (1012, 2012, 1019, 2019))
    mask = ndimage.binary_dilation((labels > 0) & ~orbital, CUBE, iterations=5)
    mask = ndimage.binary_erosion(mask, CUBE, iterations=4)
    components, count = ndimage.label(mask, CUBE)
    if count:
        mask = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
    return mask | orbital


def reference_aseg(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The rule on the whole volume."""
    aseg = np.where(labels >= 2000, 42, np.where(labels >= 1000, 3, labels))
    aseg[mask == 0] = 0
    balance = ndimage.gaussian_filter(
        np.isin(aseg, (41, 42)) * 1.0 - np.isin(aseg, (2, 3)), 1.5, mode="nearest", truncate=4.0
    )
    out = aseg.copy()
    for white, other, wrong in ((2, 41, balance > 0), (41, 2, balance < 0)):
        components, count = ndimage.label(aseg == white, CUBE)
        if count:
            largest = 1 + np.argmax(np.bincount(components.ravel())[1:])
            out[(components > 0) & (components != largest) & wrong] = other
    return out


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), block=st.integers(1, 5), empty=st.integers(0, 8))
def test_equals_the_plain_rules(seed: int, block: int, empty: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.choice(load_table().labels, (5, 4, 4)) * (rng.random((5, 4, 4)) < 0.4)
    coarse += rng.choice([0, 2, 41, 2, 41], (5, 4, 4)) * (coarse == 0)
    labels = np.pad(np.kron(coarse, np.ones((block,) * 3, int)), empty)
    mask = brain_mask(labels)
    np.testing.assert_array_equal(mask, reference_mask(labels))
    np.testing.assert_array_equal(reduce_to_aseg(labels, mask), reference_aseg(labels, mask))


@pytest.mark.parametrize("margin", [0, 20])
def test_equals_the_plain_rules_on_a_real_segmentation(data_dir: Path, margin: int) -> None:
    path = data_dir / "labels" / "subject-140_aparc.DKTatlas+aseg.deep.mgz"
    brain = np.asarray(nib.load(path).dataobj)[62:197, 36:172, 34:209].astype(np.int16)
    labels = np.pad(brain, margin)
    labels[margin + 60 : margin + 64, margin + 30, margin + 40] = (2, 41, 41, 2)
    mask = brain_mask(labels)
    np.testing.assert_array_equal(mask, reference_mask(labels))
    np.testing.assert_array_equal(reduce_to_aseg(labels, mask), reference_aseg(labels, mask))


def test_parcels_become_one_label_a_side() -> None:
    labels = np.array([[[0, 3, 255, 999, 1000, 1035, 1999, 2000, 2035, 3000, 42]]])
    before = labels.copy()
    assert merge_parcels(labels).tolist() == [[[0, 3, 255, 999, 3, 3, 3, 42, 42, 3000, 42]]]
    assert (labels == before).all()
