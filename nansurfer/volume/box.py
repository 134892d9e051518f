"""The box around the head, outside of which there is nothing to segment."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

# Averaging 4x4x4 voxels narrows the noise of the air eightfold, to a peak far below any tissue.
_BLOCK = 4
# From the mean of the dark class to Otsu's threshold: low, since a box too large costs time and one too small
# costs brain. Measured: at 0.25 with strong noise the box loses the darkest rim; at 0.10 it starts to grow.
_TOWARDS_OTSU = 0.15
_MIN_CONTRAST = 2.0  # bright class to dark class, of their means: below, it is all noise
_MIN_COMPONENT_SHARE = 0.05  # of the largest: keeps the parts of a head that an artefact has cut in two
MIN_HEAD_SHARE = 0.005  # of the volume: a small brain has 0.02 of a 256 mm cube
_LEVELS = 256  # of uint8

Box = tuple[slice, slice, slice]


def head_box(volume: npt.NDArray[np.uint8], margin_voxels: int = 8) -> Box:
    """The box around the head, widened by a margin and clipped to the volume.

    Parameters
    ----------
    volume : uint8 array of shape (X, Y, Z)
        Conformed; a full head with noisy or zeroed air, or a skull-stripped brain.
    margin_voxels : int
        Voxels beyond the head on every side.

    Returns
    -------
    three slices
        The whole volume when there is no telling head from air.

    Notes
    -----
    The head is what is brighter than air on a grid of 4x4x4 block means, less specks; a block on each side
    is added for what fills a block only in part. FastSurfer computes the whole volume.
    """
    return box_and_air_level(volume, margin_voxels)[0]


def box_and_air_level(volume: npt.NDArray[np.uint8], margin_voxels: int = 8) -> tuple[Box, float]:
    """The box of `head_box`, and how bright air can be; -1 when it cannot be told from the head."""
    means = _block_means(volume)
    level = _air_level(means)
    head = large_components(means > level)
    if head.mean() < MIN_HEAD_SHARE:
        return whole_box(volume), level
    box = (
        _span(np.asarray(head.any(axis=(1, 2))), volume.shape[0], margin_voxels),
        _span(np.asarray(head.any(axis=(0, 2))), volume.shape[1], margin_voxels),
        _span(np.asarray(head.any(axis=(0, 1))), volume.shape[2], margin_voxels),
    )
    return box, level


def whole_box(volume: npt.NDArray[Any]) -> Box:
    """The box that holds the whole volume."""
    x, y, z = volume.shape
    return slice(0, x), slice(0, y), slice(0, z)


def mask_box(mask: npt.NDArray[np.bool_], margin: int = 0) -> Box:
    """Smallest box that holds every True voxel, grown by ``margin`` voxels within the volume.

    Without a True voxel the box is the whole volume, so that callers need no special case.
    """
    if not mask.any():
        return whole_box(mask)
    spans = []
    for size, others in zip(mask.shape, ((1, 2), (0, 2), (0, 1)), strict=True):
        occupied = np.flatnonzero(mask.any(axis=others))
        spans.append(slice(max(int(occupied[0]) - margin, 0), min(int(occupied[-1]) + 1 + margin, size)))
    x, y, z = spans
    return x, y, z


def _block_means(volume: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Means over blocks of 4x4x4 voxels; blocks cut by the volume's end are averaged with zeros."""
    sums: npt.NDArray[np.unsignedinteger[Any]] = volume
    for _ in range(3):  # along the first axis, which then becomes the last
        total = sums[::_BLOCK].astype(np.uint16)
        for start in range(1, _BLOCK):
            part = sums[start::_BLOCK]
            total[: len(part)] += part
        sums = np.moveaxis(total, 0, -1)
    return sums / _BLOCK**3


def _air_level(means: npt.NDArray[np.float64]) -> float:
    """The brightest that air can be; -1, so that everything is head, when it cannot be told from the head."""
    counts, edges = np.histogram(means, bins=_LEVELS, range=(0, _LEVELS))
    values = edges[:-1] + 0.5
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[-2::-1]
    with np.errstate(invalid="ignore"):
        dark = np.cumsum(counts * values)[:-1] / below
        bright = np.cumsum((counts * values)[::-1])[-2::-1] / above
    between_classes = np.nan_to_num(below * above * (bright - dark) ** 2)
    split = int(between_classes.argmax())  # Otsu's threshold is the edge above this bin
    if not bright[split] > _MIN_CONTRAST * dark[split]:
        return -1.0
    return float(dark[split] + _TOWARDS_OTSU * (edges[split + 1] - dark[split]))


def large_components(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The 26-connected components that are not specks beside the largest."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    owners = labels[mask]
    sizes = np.bincount(owners, minlength=count + 1)
    components = np.zeros_like(mask)
    components[mask] = (sizes >= _MIN_COMPONENT_SHARE * sizes.max())[owners]
    return components


def _span(occupied: npt.NDArray[np.bool_], length: int, margin: int) -> slice:
    """The voxels from the first to the last occupied block, a block and the margin more on either side."""
    blocks = np.flatnonzero(occupied)
    start, stop = (blocks[0] - 1) * _BLOCK - margin, (blocks[-1] + 2) * _BLOCK + margin
    return slice(max(int(start), 0), min(int(stop), length))
