"""Interpolation between the image's voxels and the network's 1 mm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nansurfer.models.blocks import zoom

INNER = (256, 256)


def scale_of(voxel_mm: float) -> float:
    return float(np.float32(1) / np.float32(voxel_mm))


def test_at_1_mm_nothing_changes() -> None:
    x = torch.randn(2, 3, 256, 256)
    there, applied = zoom(x, INNER, (1.0, 1.0))
    assert applied == (1.0, 1.0)
    assert torch.equal(there, x)


def test_halving_averages_pairs() -> None:
    x = torch.arange(4.0).reshape(1, 1, 1, 4).expand(1, 1, 4, 4)
    zoomed, applied = zoom(x, (2, 2), (2.0, 2.0))
    assert applied == (2.0, 2.0)
    assert zoomed.tolist() == [[[[0.5, 2.5], [0.5, 2.5]]]]


def test_too_small_an_image_is_padded_at_bottom_and_right() -> None:
    zoomed, applied = zoom(torch.ones(1, 1, 4, 4), (3, 4), (2.0, 1.0))
    assert applied == (2.0, 1.0)
    assert zoomed.tolist() == [[[[1.0] * 4, [1.0] * 4, [0.0] * 4]]]


def test_too_large_an_image_is_cropped_at_bottom_and_right() -> None:
    x = torch.arange(5.0).reshape(1, 1, 1, 5)
    zoomed, applied = zoom(x, (1, 3), (1.0, 1.0))
    assert applied == (1.0, 1.0)
    assert zoomed.tolist() == [[[[0.0, 1.0, 2.0]]]]


# Computed with FastSurfer's own layer (commit 7c45785). Its arithmetic is float32: at 0.98 mm a pixel is lost on
# the way back, at 0.7333 and 0.96 mm float64 would lose one that it keeps.
@pytest.mark.parametrize(
    ("voxel_mm", "size", "there", "back"),
    [
        (1.0, 256, (256, 256), (256, 256)),
        (0.8, 320, (320, 256), (256, 320)),
        (0.8, 256, (256, 204), (204, 256)),
        (0.7, 366, (365, 256), (256, 366)),
        (0.9, 285, (284, 256), (256, 285)),
        (0.9, 256, (256, 230), (230, 256)),
        (0.98, 256, (256, 250), (249, 256)),
        (0.7333, 285, (285, 208), (208, 285)),
        (0.96, 512, (266, 256), (256, 266)),
        (0.53, 300, (300, 158), (158, 300)),
    ],
)
def test_pixels_used_and_made(voxel_mm: float, size: int, there: tuple[int, int], back: tuple[int, int]) -> None:
    inner, applied = zoom(torch.ones(1, 1, size, size), INNER, (scale_of(voxel_mm),) * 2)
    assert applied == (np.float32(there[0] / there[1]),) * 2
    assert int(inner[0, 0, 0].count_nonzero()) == there[1]  # the rest is padding
    outer, undone = zoom(inner, (size, size), (1 / applied[0], 1 / applied[1]))
    assert undone == (np.float32(back[0] / back[1]),) * 2
    assert outer.shape[2:] == (size, size)
