"""Which slices the mosaic shows, and how they lie on the page."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from nansurfer.report.planes import PLANES, frame_of_head, labelled_box, spread, to_page

AXIAL, CORONAL, SAGITTAL = PLANES
WHOLE = (slice(0, 2),) * 3
LIA_AFFINE = np.array([[-1, 0, 0, 10], [0, 0, 1, 20], [0, -1, 0, 30], [0, 0, 0, 1]], dtype=float)


@pytest.mark.parametrize(
    ("plane", "expected"),
    [
        (AXIAL, [["anterior-right", "anterior-left"], ["posterior-right", "posterior-left"]]),
        (CORONAL, [["superior-right", "superior-left"], ["inferior-right", "inferior-left"]]),
        (
            SAGITTAL,
            [["superior-anterior", "superior-posterior"], ["inferior-anterior", "inferior-posterior"]],
        ),
    ],
    ids=lambda value: getattr(value, "title", ""),
)
@pytest.mark.parametrize("axes", ["LIA", "RAS", "LPS", "PSR", "IAL"])
def test_slices_are_upright_whatever_the_orientation(plane, expected, axes) -> None:
    names = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    volume = np.empty((2, 2, 2), dtype=object)
    for voxel in np.ndindex(2, 2, 2):
        volume[voxel] = {names[a if i else opposite[a]] for a, i in zip(axes, voxel, strict=True)}
    to_lia = ornt_transform(axcodes2ornt(axes), axcodes2ornt("LIA"))
    affine = LIA_AFFINE @ np.linalg.inv(inv_ornt_aff(to_lia, (2, 2, 2)))
    assert "".join(nib.aff2axcodes(affine)) == axes

    page, page_affine = to_page(volume, affine)
    shown = plane.take(page, 0, WHOLE)
    for row, words in zip(shown, expected, strict=True):
        for voxel, word in zip(row, words, strict=True):
            assert set(word.split("-")) <= voxel
    first_mm = {AXIAL: 30, CORONAL: 21, SAGITTAL: 10}  # top, front and right voxel of LIA_AFFINE
    assert plane.position_mm(0, page_affine, WHOLE) == pytest.approx(first_mm[plane])


def test_take_crops_to_the_frame() -> None:
    volume = np.arange(24).reshape(2, 3, 4)
    frame = (slice(0, 2), slice(1, 3), slice(2, 4))
    np.testing.assert_array_equal(CORONAL.take(volume, 3, frame), [[7, 19], [11, 23]])
    np.testing.assert_array_equal(AXIAL.take(volume, 1, frame), [[6, 18], [7, 19]])
    np.testing.assert_array_equal(SAGITTAL.take(volume, 1, frame), [[18, 19], [22, 23]])


def test_spread() -> None:
    assert spread(slice(10, 20), 5) == [11, 13, 15, 17, 19]
    assert spread(slice(3, 6), 1) == [4]
    assert spread(slice(3, 4), 3) == [3, 3, 3]


def test_labelled_box() -> None:
    labels = np.zeros((5, 6, 7), dtype=np.int16)
    assert labelled_box(labels) is None
    labels[1, 2, 3] = 2035
    labels[3, 2, 6] = 2
    assert labelled_box(labels) == (slice(1, 4), slice(2, 3), slice(3, 7))


def test_frame_leaves_out_the_neck_but_no_label() -> None:
    t1 = np.zeros((64, 256, 64), dtype=np.uint8)
    t1[20:40, 20:250, 20:40] = 100
    across, down, behind = frame_of_head(t1, None, 1.0)
    assert (across, behind) == (slice(16, 44), slice(16, 44))
    assert down.start == 16
    assert down.stop == 16 + 190
    labelled = (slice(2, 30), slice(100, 240), slice(20, 60))
    assert frame_of_head(t1, labelled, 1.0) == (slice(2, 44), slice(16, 240), slice(16, 60))
    assert frame_of_head(t1, None, 0.8)[1].stop == 254  # the head's own end: 190 mm would go beyond
