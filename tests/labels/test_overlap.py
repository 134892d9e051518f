"""Dice overlap and the mapping of Desikan-Killiany labels."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.errors import InputGeometryError
from nansurfer.labels import Overlap, count_overlap, dice, labels_to_classes, mapped_dk_to_dkt

A = np.array([[[0, 2, 2, 4, 0, 0]]], np.int16)
B = np.array([[[0, 2, 4, 4, 17, 0]]], np.int16)


def test_dice() -> None:
    assert dice(A, B) == {2: pytest.approx(2 / 3), 4: pytest.approx(2 / 3), 17: 0.0}


def test_dice_of_chosen_labels() -> None:
    scores = dice(A, B, labels=[0, 4, 9999])
    assert list(scores) == [0, 4, 9999]
    assert scores[0] == pytest.approx(2 * 2 / (3 + 2))
    assert math.isnan(scores[9999])


def test_dice_of_nothing() -> None:
    assert dice(A * 0, A * 0) == {}
    assert dice(A * 0, A * 0, labels=[0]) == {0: 1.0}


def test_dice_is_symmetric_and_takes_any_integer_type() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 9, 9, 9))
    assert dice(a.astype(np.uint8), b.astype(">i2")) == dice(b, a)


def test_dice_of_other_shapes() -> None:
    with pytest.raises(InputGeometryError, match=r"\(1, 1, 6\) and \(1, 1, 5\)"):
        dice(A, B[..., :5])


def test_all_counts() -> None:
    counts = count_overlap(A, B)
    assert counts.structures == {2: Overlap(2, 1, 1), 4: Overlap(1, 2, 1), 17: Overlap(0, 1, 0)}
    assert counts.whole == Overlap(3, 4, 2)
    assert counts.foreground == Overlap(3, 4, 3)
    assert counts.voxels_changed == 2
    assert counts.whole.dice == pytest.approx(4 / 7)
    assert [o.voxels_in_one for o in counts.structures.values()] == [1, 1, 1]


def test_the_whole_does_not_depend_on_the_structures_asked_for() -> None:
    all_labels, one = count_overlap(A, B), count_overlap(A, B, labels=[17])
    assert list(one.structures) == [17]
    assert (one.whole, one.foreground, one.voxels_changed) == (
        all_labels.whole,
        all_labels.foreground,
        all_labels.voxels_changed,
    )


def test_parcels_that_dkt_lacks() -> None:
    labels = np.array([[[1001, 1032, 1033, 2001, 2032, 2033, 1002, 17]]])
    before = labels.copy()
    assert mapped_dk_to_dkt(labels).tolist() == [[[1015, 1027, 1030, 2015, 2027, 2030, 1002, 17]]]
    assert (labels == before).all()


def test_corpus_callosum_joins_the_nearest_white_matter() -> None:
    labels = np.array([[[0, 2, 251, 252, 4, 255, 255, 41]]])
    assert mapped_dk_to_dkt(labels).tolist() == [[[0, 2, 2, 2, 4, 41, 41, 41]]]


def test_corpus_callosum_without_white_matter_stays() -> None:
    labels = np.array([[[0, 251, 17]]])
    assert (mapped_dk_to_dkt(labels) == labels).all()


def test_a_real_freesurfer_segmentation(data_dir: Path) -> None:
    labels = np.asarray(nib.load(data_dir / "labels" / "subject-01_aparc+aseg.mgz").dataobj)
    mapped = mapped_dk_to_dkt(labels)
    assert not np.isin(mapped, [*range(251, 256), 1001, 1032, 1033, 2001, 2032, 2033]).any()
    assert labels_to_classes(mapped, "coronal").max() == 78
    scores = dice(labels, mapped)
    assert scores[17] == scores[1035] == 1
    assert 0.9 < scores[2] < 1
