"""The split of the cortex into left and right."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nansurfer.labels import classes_to_labels, labels_to_classes, load_table, split_cortex
from nansurfer.labels.hemispheres import SPLIT_BY_VOXEL, SPLIT_LABELS


def line(*labels: int) -> np.ndarray:
    """A volume of one row, its first axis left to right."""
    return np.array(labels, dtype=np.int16).reshape(-1, 1, 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1003, 2, 0, 41, 1003), (1003, 2, 0, 41, 2003)),
        ((1003, 41, 0, 2, 1003), (2003, 41, 0, 2, 1003)),
        ((2, 0, 1003, 0, 41), (2, 0, 1003, 0, 41)),  # equally near: left
        ((2, 2, 0, 1003, 0, 41), (2, 2, 0, 2003, 0, 41)),
        ((2, 1005, 41, 1005), (2, 1005, 41, 1005)),  # a class of its own on the right
        ((2, 2025, 0, 0, 41), (2, 2025, 0, 0, 41)),  # only left labels move
        ((2, 1011, 1011, 41), (2, 1011, 2011, 41)),  # by voxel
        ((2, 1011, 1011, 1011, 41), (2, 1011, 1011, 2011, 41)),  # the middle ties: left
        ((2, 2011, 0, 0, 41), (2, 1011, 0, 0, 41)),  # by voxel, right labels move too
    ],
)
def test_small_rows(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    assert split_cortex(line(*before)).ravel().tolist() == list(after)


def test_only_the_largest_white_matter_counts() -> None:
    row = [2, 2, 2, 0, 1003] + [0] * 3 + [41, 41] + [0] * 30 + [41]
    assert split_cortex(line(*row))[4, 0, 0] == 1003


def test_touching_corners_make_one_component() -> None:
    labels = np.zeros((9, 3, 3), np.int16)
    labels[0], labels[8] = 2, 41
    labels[3, 0, 0] = labels[4, 1, 1] = labels[5, 2, 2] = 1035  # centre in the middle: left
    assert (split_cortex(labels) == labels).all()


def test_far_from_all_white_matter_is_left() -> None:
    row = [2, 2] + [0] * 20 + [2011] + [0] * 20 + [41, 41]
    assert split_cortex(line(*row))[22, 0, 0] == 1011


@pytest.mark.parametrize("labels", [line(2, 1003, 1003), line(1011, 41, 0), line(0, 0, 0), line(1003)])
def test_without_white_matter_nothing_moves(labels: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert (split_cortex(labels) == labels).all()
    assert "no white matter" in caplog.text


def test_input_stays_and_type_is_kept() -> None:
    labels = line(1003, 2, 0, 41, 1003)
    before = labels.copy()
    assert split_cortex(labels).dtype == np.int16
    assert (labels == before).all()


def test_split_labels_are_fastsurfers() -> None:
    assert sorted(SPLIT_LABELS) == [
        1003, 1006, 1007, 1008, 1009, 1011, 1015, 1018, 1019, 1020,
        1025, 1026, 1027, 1028, 1029, 1030, 1031, 1034, 1035,
    ]  # fmt: skip


def reference_split(labels: np.ndarray) -> np.ndarray:
    """The rule in its plainest form: whole volumes, one component at a time."""
    out = labels.copy()
    centre = {}
    for white in (2, 41):
        components, _ = ndimage.label(out == white, np.ones((3, 3, 3)))
        largest = 1 + np.argmax(np.bincount(components.ravel())[1:])
        centre[white] = np.argwhere(components == largest).mean(axis=0)
    for label in SPLIT_LABELS:
        components, count = ndimage.label(out == label, np.ones((3, 3, 3)))
        for index in range(1, count + 1):
            at = np.argwhere(components == index).mean(axis=0)
            if np.linalg.norm(at - centre[41]) < np.linalg.norm(at - centre[2]):
                out[components == index] = label + 1000
    density = [ndimage.gaussian_filter(1000.0 * (out == white), 3) for white in (2, 41)]
    side = np.argmax(density, axis=0)
    for label in SPLIT_BY_VOXEL:
        here = (out == label) | (out == label + 1000)
        out[here] = label + 1000 * side[here]
    return out


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), block=st.integers(1, 6), empty=st.integers(0, 14), threads=st.integers(1, 3))
def test_equals_the_plain_rule(seed: int, block: int, empty: int, threads: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.choice(load_table().class_labels, (4, 5, 4))
    coarse[0, 0, 0], coarse[-1, 0, 0] = 2, 41
    labels = np.pad(np.kron(coarse, np.ones((block,) * 3, np.int16)), empty)
    np.testing.assert_array_equal(split_cortex(labels, threads), reference_split(labels))


def test_undoes_the_fusion_of_a_real_fastsurfer_output(data_dir: Path) -> None:
    path = data_dir / "labels" / "subject-140_aparc.DKTatlas+aseg.deep.mgz"
    truth = np.asarray(nib.load(path).dataobj).astype(np.int16)
    fused = classes_to_labels(labels_to_classes(truth, "coronal"))
    assert (fused != truth).sum() == 151_567
    np.testing.assert_array_equal(split_cortex(fused), truth)
