"""Telling left from right in the cortical parcels that the network does not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nansurfer.labels.classes import RIGHT_CORTEX_OFFSET
from nansurfer.labels.regions import Labels, Mask, components_and_centres
from nansurfer.labels.table import load_table
from nansurfer.volume import mask_box, widened

LEFT_WHITE_MATTER = 2
RIGHT_WHITE_MATTER = 41

SPLIT_LABELS = (
    *(label - RIGHT_CORTEX_OFFSET for label in load_table().labels_without_class),
    1025,
    1028,
)
"""Left labels whose components may turn out to be on the right: those whose right counterpart has no class,
and the precuneus and superior frontal gyrus, whose classes the network confuses (FastSurfer's list)."""

SPLIT_BY_VOXEL = (1011, 1019, 1026, 1029)
"""Left labels whose two sides touch and so need a decision a voxel (FastSurfer's list)."""

_SIGMA_VOXELS = 3
_REACH_VOXELS = 4 * _SIGMA_VOXELS  # scipy cuts a Gaussian off at four standard deviations

_log = logging.getLogger(__name__)


def split_cortex(labels: Labels, threads: int = 1) -> Labels:
    """Labels in which every cortical parcel carries its own side's number.

    A 26-connected component of a parcel moves to the right (+1000) when its centre is strictly nearer to
    the centre of the largest component of the right white matter than to that of the left. In the four
    parcels of `SPLIT_BY_VOXEL` each voxel then takes the side whose white matter is denser around it, left
    where they tie.

    Parameters
    ----------
    labels
        (X, Y, Z), signed integers: the network's labels, see `classes_to_labels`.
    threads
        Parcels at a time.

    Returns
    -------
    labels
        A copy, same shape and type.

    Notes
    -----
    The same voxels as FastSurfer, with two exceptions for damaged segmentations. If one side has no white
    matter, the labels stay as they are, with a warning; FastSurfer measures from the centre of the volume
    instead. And the largest component is meant literally; FastSurfer leaves out the most frequent value,
    which is the background only while less than half of the volume is white matter.
    """
    split = np.array(labels, order="C")
    box = mask_box(split != 0, margin=_REACH_VOXELS)
    inside = split[box]  # a view: what follows writes into `split`
    left, right = inside == LEFT_WHITE_MATTER, inside == RIGHT_WHITE_MATTER
    if not (left.any() and right.any()):
        _log.warning("A hemisphere has no white matter; the cortex is not split into left and right.")
        return split
    with ThreadPoolExecutor(threads) as pool:
        _split_by_component(inside, left, right, [axis.start for axis in box], pool)
        _split_by_voxel(inside, left, right, pool)
    return split


def _split_by_component(inside: Labels, left: Mask, right: Mask, origin: Sequence[int], pool: Executor) -> None:
    """Move components of `SPLIT_LABELS` to the right where they are nearer to it."""
    left_centre, right_centre = pool.map(lambda side: _main_centre(side, origin), (left, right))
    boxes = ndimage.find_objects(inside, max_label=max(SPLIT_LABELS))

    def move(label: int) -> None:  # several at a time: each reads and writes no other label's voxels
        box = boxes[label - 1]
        if box is None:
            return
        parcel = inside[box]
        start = [axis.start + first for axis, first in zip(box, origin, strict=True)]
        components, _, centres = components_and_centres(parcel == label, start)
        is_right = _distance(centres, right_centre) < _distance(centres, left_centre)
        parcel[np.append(False, is_right)[components]] = label + RIGHT_CORTEX_OFFSET

    for _ in pool.map(move, SPLIT_LABELS):
        pass


def _split_by_voxel(inside: Labels, left: Mask, right: Mask, pool: Executor) -> None:
    """Let the smoothed white matter decide the side of each voxel of `SPLIT_BY_VOXEL`."""
    right_labels = [label + RIGHT_CORTEX_OFFSET for label in SPLIT_BY_VOXEL]
    in_left, in_right = np.isin(inside, SPLIT_BY_VOXEL), np.isin(inside, right_labels)
    near_left, near_right = widened(left, _REACH_VOXELS), widened(right, _REACH_VOXELS)
    nearer_right = near_right & ~near_left
    contested = (in_left | in_right) & near_left & near_right  # elsewhere, one side's density is 0
    if contested.any():
        box = mask_box(contested, margin=_REACH_VOXELS)
        density_left, density_right = pool.map(_smooth, (left[box], right[box]))
        nearer_right[box] |= contested[box] & (density_right > density_left)
    to_right, to_left = in_left & nearer_right, in_right & ~nearer_right
    inside[to_right] = inside[to_right] + RIGHT_CORTEX_OFFSET
    inside[to_left] = inside[to_left] - RIGHT_CORTEX_OFFSET


def _main_centre(mask: Mask, origin: Sequence[int]) -> npt.NDArray[np.float64]:
    box = mask_box(mask)
    start = [axis.start + first for axis, first in zip(box, origin, strict=True)]
    _, sizes, centres = components_and_centres(mask[box], start)
    return np.asarray(centres[np.argmax(sizes)])


def _distance(points: npt.NDArray[np.float64], point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.linalg.norm(points - point, axis=1))


def _smooth(mask: Mask) -> npt.NDArray[np.float64]:
    # The factor changes nothing but the rounding, which FastSurfer's near-ties depend on.
    return np.asarray(ndimage.gaussian_filter(1000.0 * mask, _SIGMA_VOXELS))
