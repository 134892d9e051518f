"""What is made of the classes of the voxels."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from nansurfer.labels import load_table
from nansurfer.pipeline.result import result_from_classes

SIZE = 48
LEFT, RIGHT = (int(np.flatnonzero(load_table().class_labels == label)[0]) for label in (2, 41))


def classes_of_a_block(moved_by: int, axis: int) -> np.ndarray:
    """White matter of both sides in a cube of 24 voxels in the middle, moved along an axis."""
    classes = np.zeros((SIZE, SIZE, SIZE), np.uint8)
    classes[12:24, 12:36, 12:36], classes[24:36, 12:36, 12:36] = RIGHT, LEFT
    return np.roll(classes, moved_by, axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("moved_by", "at_the_edge"), [(0, False), (6, False), (12, True), (-6, False), (-12, True)])
def test_a_brain_at_the_edge_is_a_warning(caplog, monkeypatch, axis, moved_by, at_the_edge) -> None:
    monkeypatch.setattr("nansurfer.pipeline.result._logger.propagate", True)
    conformed = nib.MGHImage(np.zeros((SIZE, SIZE, SIZE), np.uint8), np.diag([-1.0, 1, 1, 1]))
    result = result_from_classes(conformed, classes_of_a_block(moved_by, axis))
    assert np.count_nonzero(result.labels == 2) == np.count_nonzero(result.labels == 41) == 12 * 24 * 24
    assert ["reaches the edge of the conformed image" in message for message in caplog.messages] == [True] * at_the_edge
