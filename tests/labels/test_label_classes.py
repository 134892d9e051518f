"""Labels to the classes of a view and back; the sagittal classes."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.errors import ConfigError
from nansurfer.labels import (
    N_CLASSES,
    N_SAGITTAL_CLASSES,
    SAGITTAL_CLASS_LABELS,
    SAGITTAL_TO_FULL,
    classes_to_labels,
    labels_to_classes,
    load_table,
)


def test_sagittal_index_is_fastsurfers() -> None:
    expected = chain(
        [0], range(5, 14), range(1, 4), [14, 15, 4], range(16, 19), range(5, 51),
        [20, 22, 27], range(29, 32), [33, 34], range(38, 43), [45],
    )  # fmt: skip
    assert SAGITTAL_TO_FULL.tolist() == list(expected)


def test_sagittal_class_labels() -> None:
    assert SAGITTAL_CLASS_LABELS.shape == (N_SAGITTAL_CLASSES,)
    assert SAGITTAL_CLASS_LABELS[:7].tolist() == [0, 14, 15, 16, 24, 41, 43]
    assert SAGITTAL_CLASS_LABELS[19:22].tolist() == [77, 1002, 1003]
    assert set(SAGITTAL_TO_FULL) == set(range(N_SAGITTAL_CLASSES))


@pytest.mark.parametrize(
    ("label", "full", "sagittal"),
    [
        (0, 0, 0),
        (2, 1, 5),
        (41, 19, 5),
        (77, 33, 19),
        (1003, 35, 21),
        (2003, 35, 21),  # no class of its own on the right
        (1002, 34, 20),
        (2002, 65, 20),  # a class of its own, but not in a sagittal slice
        (30, 1, 5),
        (62, 19, 5),
        (72, 15, 4),
        (80, 33, 19),
        (85, 0, 0),
        (2000, 0, 0),
    ],
)
def test_class_of_label(label: int, full: int, sagittal: int) -> None:
    volume = np.full((1, 1, 1), label)
    assert labels_to_classes(volume, "coronal").item() == full
    assert labels_to_classes(volume, "axial").item() == full
    assert labels_to_classes(volume, "sagittal").item() == sagittal


def test_classes_and_labels_are_inverse() -> None:
    classes = np.arange(N_CLASSES).reshape(1, N_CLASSES, 1)
    labels = classes_to_labels(classes)
    assert labels.dtype == np.int16
    assert labels.ravel().tolist() == load_table().class_labels.tolist()
    np.testing.assert_array_equal(labels_to_classes(labels, "coronal"), classes)


def test_classes_are_uint8_and_keep_the_shape() -> None:
    classes = labels_to_classes(np.zeros((2, 3, 4), np.int32), "sagittal")
    assert classes.dtype == np.uint8
    assert classes.shape == (2, 3, 4)


@pytest.mark.parametrize("unknown", [[253, 530], [-1], [4000]])
def test_unknown_labels_are_named(unknown: list[int]) -> None:
    with pytest.raises(ConfigError, match="holds " + ", ".join(map(str, unknown))):
        labels_to_classes(np.array([[[0, 2, *unknown]]]), "axial")


def test_unknown_view() -> None:
    with pytest.raises(ConfigError, match="'oblique'"):
        labels_to_classes(np.zeros((1, 1, 1), int), "oblique")  # type: ignore[arg-type]


def test_a_real_segmentation_has_classes_throughout(data_dir: Path) -> None:
    path = data_dir / "labels" / "subject-140_aparc.DKTatlas+aseg.deep.mgz"
    labels = np.asarray(nib.load(path).dataobj)[::2, ::2, ::2]
    classes = labels_to_classes(labels, "coronal")
    back = classes_to_labels(classes)
    changed = back != labels
    assert len(np.unique(classes)) == N_CLASSES
    assert set(labels[changed]) == set(load_table().labels_without_class)
    np.testing.assert_array_equal(back[changed] + 1000, labels[changed])
