"""The colours of the mosaic: grey T1, and labels laid over it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nansurfer.labels import LabelTable

_FILL_OPACITY = 0.25
_UNLABELLED_BRIGHTNESS = 0.55  # so that missed white matter is told from white matter, filled with white
_UNKNOWN_COLOR = (255, 0, 255)  # no structure has it
# Of the brain: the darkest CSF becomes black and the brightest vessels white; fat around it may saturate.
_WINDOW_PERCENTILES = (0.5, 99.7)
_COARSE_GREY = [4 * (value // 4) for value in range(256)]  # looks the same, stores in a quarter less
_SAMPLING = 2  # every second voxel along each axis is enough for percentiles


def grey_levels(t1: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """The grey level of each of the 256 T1 values: a window on what is labelled, or on all above 0."""
    step = (slice(None, None, _SAMPLING),) * 3
    sample = t1[step][labels[step] > 0]
    if sample.size == 0:
        sample = t1[t1 > 0]
    low, high = np.percentile(sample, _WINDOW_PERCENTILES) if sample.size else (0, 255)
    levels = (np.arange(256, dtype=np.float64) - float(low)) / max(float(high - low), 1.0) * 255
    rounded: npt.NDArray[np.uint8] = np.clip(levels, 0, 255).round().astype(np.uint8)
    return rounded


def label_colors(table: LabelTable, largest_label: int) -> npt.NDArray[np.uint8]:
    """Colour of each label from 0 to the largest, shape (labels, 3); magenta for those not in the table."""
    known = [s for s in table.structures if s.label <= largest_label]
    colors = np.full((largest_label + 1, 3), _UNKNOWN_COLOR, dtype=np.uint8)
    colors[[s.label for s in known]] = [s.color for s in known]
    return colors


def grey_panel(grey: npt.NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """A slice of grey levels, shape (rows, columns), smoothly scaled to (width, height) in pixels."""
    scaled = Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.BICUBIC)
    return scaled.point(_COARSE_GREY).convert("RGB")


def overlay(
    background: Image.Image, labels: npt.NDArray[np.integer[Any]], colors: npt.NDArray[np.uint8]
) -> Image.Image:
    """The background under a slice of labels: each structure tinted and outlined, the rest dimmed.

    Labels are scaled to the background by nearest neighbour, so an outline shows the voxels' true border.
    """
    slice_ = Image.fromarray(np.ascontiguousarray(labels, dtype=np.int32))
    scaled = np.asarray(slice_.resize(background.size, Image.Resampling.NEAREST))
    outline, inside = outlines(scaled), scaled > 0
    grey_share = np.select([outline, inside], [0, 1 - _FILL_OPACITY], _UNLABELLED_BRIGHTNESS)
    color_share = np.select([outline, inside], [1, _FILL_OPACITY], 0)
    pixels = grey_share[..., None] * np.asarray(background) + color_share[..., None] * colors[scaled]
    return Image.fromarray(pixels.round().astype(np.uint8))


def outlines(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
    """The labelled pixels with a neighbour (above, below, left or right) of a smaller label.

    Comparing by size makes the line between two structures one pixel wide, not two.
    """
    edge = np.zeros(labels.shape, dtype=bool)
    for axis in range(2):
        before, after = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
        line = np.moveaxis(edge, axis, 0)
        line[:-1] |= before > after
        line[1:] |= after > before
    return edge
