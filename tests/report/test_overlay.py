"""The colours of the mosaic."""

from __future__ import annotations

import numpy as np
from PIL import Image

from nansurfer.labels import LabelTable, Structure
from nansurfer.report.overlay import grey_levels, label_colors, outlines, overlay

TABLE = LabelTable(
    (
        Structure(0, "Background", (0, 0, 0), 0),
        Structure(2, "Red", (200, 0, 0), 1),
        Structure(3, "Blue", (0, 0, 200), 2),
    )
)


def test_outlines_are_one_pixel_wide_and_lie_inside() -> None:
    labels = np.array(
        [
            [0, 0, 0, 0, 0, 0],
            [0, 2, 2, 2, 3, 3],
            [0, 2, 2, 2, 3, 3],
            [0, 2, 2, 2, 3, 3],
            [0, 2, 2, 2, 3, 3],
        ]
    )
    expected = np.array(
        [
            [0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 1, 1],
            [0, 1, 0, 0, 1, 0],
            [0, 1, 0, 0, 1, 0],
            [0, 1, 0, 0, 1, 0],
        ]
    )
    np.testing.assert_array_equal(outlines(labels), expected)
    np.testing.assert_array_equal(outlines(labels.T), expected.T)


def test_overlay_tints_outlines_and_dims() -> None:
    background = Image.new("RGB", (8, 6), (100, 100, 100))
    labels = np.array([[0, 0, 0, 0], [0, 2, 2, 2], [0, 2, 2, 2]], dtype=np.int16)  # each voxel: 2x2 pixels
    pixels = np.asarray(overlay(background, labels, label_colors(TABLE, 2)))
    assert pixels[0, 0].tolist() == [55, 55, 55]
    assert pixels[2, 2].tolist() == [200, 0, 0]
    assert pixels[3, 3].tolist() == [125, 75, 75]
    assert (pixels == [200, 0, 0]).all(axis=2).sum() == 6 + 3


def test_labels_that_the_table_lacks_are_magenta() -> None:
    magenta = [255, 0, 255]
    assert label_colors(TABLE, 4).tolist() == [[0, 0, 0], magenta, [200, 0, 0], [0, 0, 200], magenta]
    assert label_colors(TABLE, 0).tolist() == [[0, 0, 0]]


def test_window_is_the_brains() -> None:
    t1 = np.full((4, 4, 1000), 250, dtype=np.uint8)  # fat
    labels = np.zeros(t1.shape, dtype=np.int16)
    t1[:2, :2] = np.linspace(20, 120, 1000)
    labels[:2, :2] = 2
    levels = grey_levels(t1, labels)
    assert levels[[0, 20, 120, 250]].tolist() == [0, 0, 255, 255]
    assert abs(int(levels[70]) - 127) <= 2
    assert (np.diff(levels.astype(int)) >= 0).all()


def test_window_without_labels_or_contrast() -> None:
    zeros = np.zeros((4, 4, 4), dtype=np.int16)
    t1 = np.zeros((4, 4, 4), dtype=np.uint8)
    assert grey_levels(t1, zeros).tolist() == list(range(256))
    t1[0, 0] = 7
    assert grey_levels(t1, zeros)[[6, 7, 8]].tolist() == [0, 0, 255]
