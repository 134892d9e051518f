"""Copies of a labelled T1 for the evaluator: literal small volumes, then the subject's own."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from nansurfer.volume import conform, read_image, to_native

LIA = np.array([[-1.0, 0, 0, 10], [0, 0, 1, -20], [0, -1, 0, 30], [0, 0, 0, 1]])


@pytest.fixture
def subject(copies: ModuleType):
    """A T1 of 5 x 5 x 5 random voxels; of the labels, one voxel is left and its neighbour on the left right."""
    t1 = np.random.default_rng(0).integers(0, 256, (5, 5, 5)).astype(np.uint8)
    labels = np.zeros((5, 5, 5), np.int32)
    labels[1, 2, 3], labels[0, 2, 3], labels[2, 1, 1] = 17, 2035, 16
    return copies.LabelledT1(nib.MGHImage(t1, LIA), nib.MGHImage(labels, LIA))


def voxels(image) -> np.ndarray:
    """The image's data."""
    return np.asanyarray(image.dataobj)


def labels_on_t1(copy) -> np.ndarray:
    """The copy's labels on the grid of its T1."""
    return voxels(to_native(voxels(copy.labels), copy.labels.affine, copy.t1))


def in_world(image) -> np.ndarray:
    """World coordinates and value of each voxel that is not 0, (n, 4), sorted."""
    inside = np.argwhere(voxels(image))
    places = nib.affines.apply_affine(image.affine, inside)
    return np.array(sorted(np.column_stack([places, voxels(image)[tuple(inside.T)]]).tolist()))


@pytest.mark.parametrize(
    ("degrees", "plane"),
    # In LIA, x is -i, y is k and z is -j. About x, y turns to z: k to -j, or j to k.
    [((90, 0, 0), (1, 2)), ((0, 90, 0), (1, 0)), ((0, 0, 90), (2, 0))],
)
def test_rotation_by_90_degrees_is_exact(copies, subject, degrees, plane) -> None:
    copy = copies.rotated(subject, degrees)
    turned = np.rot90(voxels(subject.t1), axes=plane)
    assert np.array_equal(copy.t1.affine, LIA)
    assert np.array_equal(voxels(copy.t1), turned)
    assert np.array_equal(labels_on_t1(copy), np.rot90(voxels(subject.labels), axes=plane))


def test_four_rotations_by_90_degrees_change_nothing(copies, subject) -> None:
    copy = subject
    for _ in range(4):
        copy = copies.rotated(copy, (0, 0, 90))
    assert np.array_equal(voxels(copy.t1), voxels(subject.t1))
    assert np.array_equal(labels_on_t1(copy), voxels(subject.labels))


def test_flipping_mirrors_voxels_and_keeps_names(copies, subject) -> None:
    copy = copies.flipped(subject)
    assert np.array_equal(voxels(copy.t1), voxels(subject.t1)[::-1])
    assert np.array_equal(labels_on_t1(copy), voxels(subject.labels)[::-1])
    assert copy.mirrored
    again = copies.flipped(copy)
    assert not again.mirrored
    assert np.array_equal(voxels(again.t1), voxels(subject.t1))


def test_swapping_sides_twice_changes_nothing(copies) -> None:
    labels = np.array([[2, 3, 31, 1035], [16, 255, 2002, 0]], np.int16)
    swapped = copies.swapped_sides(labels)
    assert swapped.tolist() == [[41, 42, 63, 2035], [16, 255, 1002, 0]]
    assert swapped.dtype == np.int16
    every = np.arange(3000)
    assert np.array_equal(copies.swapped_sides(copies.swapped_sides(every)), every)


def test_shifting_moves_image_and_labels_alike(copies, subject) -> None:
    copy = copies.shifted(subject, (-1.0, 0.0, 0.0))
    assert np.array_equal(voxels(copy.t1)[1:], voxels(subject.t1)[:-1])
    assert not voxels(copy.t1)[0].any()
    assert np.array_equal(labels_on_t1(copy)[1:], voxels(subject.labels)[:-1])


def test_another_storage_is_the_same_image(copies, subject) -> None:
    copy = copies.stored(subject)
    assert nib.aff2axcodes(copy.t1.affine) == ("P", "S", "R")
    assert np.array_equal(copy.t1.dataobj[0, 1, 2], subject.t1.dataobj[2, 3, 4])  # P is -k, S is -j, R is i
    assert np.array_equal(in_world(conform(copy.t1)), in_world(conform(subject.t1)))
    assert copy.labels is subject.labels


def test_resampled_voxels_keep_the_point_that_conforming_centres(copies) -> None:
    ramp = np.broadcast_to(np.arange(24, dtype=np.float32)[:, None, None], (24, 24, 24))
    image = nib.MGHImage(np.ascontiguousarray(ramp), LIA)
    copy = copies.resampled(copies.LabelledT1(image, image), 1.2)
    assert copy.t1.shape == (20, 20, 20)
    assert copy.t1.header.get_zooms() == pytest.approx((1.2, 1.2, 1.2))
    assert voxels(copy.t1)[2:-2, 5, 5] == pytest.approx(12 + 1.2 * (np.arange(2, 18) - 10), abs=0.02)
    assert np.array_equal(conform(copy.t1).affine, conform(image).affine)


def test_real_voxels_resampled_are_conformed_to_where_they_were(copies, data_dir: Path) -> None:
    t1 = read_image(data_dir / "t1" / "subject-01_orig.mgz").slicer[100:160, 100:160, 100:160]
    coarse = conform(copies.COPIES["1.2mm"](copies.LabelledT1(t1, t1)).t1)
    assert np.allclose(coarse.affine, conform(t1).affine, atol=1e-4)
    there, back = voxels(conform(t1)).astype(float), voxels(coarse).astype(float)
    misses = {shift: np.abs(np.roll(back, shift, axis=(0, 1, 2)) - there).mean() for shift in (-1, 0, 1)}
    assert misses[0] < 0.5 * min(misses[-1], misses[1])


def test_fine_voxels_stay_fine(copies, subject) -> None:
    fine = copies.COPIES["0.8mm"](subject).t1
    assert fine.shape == (7, 7, 7)
    assert conform(fine).header.get_zooms() == pytest.approx((0.8, 0.8, 0.8))
