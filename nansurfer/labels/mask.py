"""The brain mask and the segmentation without cortical parcels, both made from the labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nansurfer.labels.classes import RIGHT_CORTEX_OFFSET
from nansurfer.labels.hemispheres import LEFT_WHITE_MATTER, RIGHT_WHITE_MATTER
from nansurfer.labels.regions import Labels, Mask, largest_component
from nansurfer.volume import mask_box

LEFT_CORTEX = 3
RIGHT_CORTEX = 42

ORBITAL_LABELS = (1012, 2012, 1019, 2019)
"""Lateral orbitofrontal and pars orbitalis: growing these would take in the eye's nerves (FastSurfer)."""

_DILATE_VOXELS = 5
_ERODE_VOXELS = 4

_SIGMA_VOXELS = 1.5
_REACH_VOXELS = 6  # a Gaussian is cut off at four standard deviations


def brain_mask(labels: Labels) -> npt.NDArray[np.uint8]:
    """Mask of the brain, uint8 of 0 and 1: the labels dilated by 5 voxels, eroded by 4, largest component.

    The orbital parcels are left out of that and added back as they are. The same voxels as FastSurfer, which
    fails on a volume without labels; here its mask is empty.

    Parameters
    ----------
    labels
        (X, Y, Z), integer: the finished segmentation.
    """
    mask = np.zeros(labels.shape, dtype=np.uint8)
    box = mask_box(labels > 0, margin=_DILATE_VOXELS)
    inside = labels[box]
    orbital = np.isin(inside, ORBITAL_LABELS)
    mask[box] = largest_component(_close((inside > 0) & ~orbital)) | orbital
    return mask


def reaches_edge(mask: npt.NDArray[np.uint8]) -> bool:
    """Whether a brain mask comes as near to a face of its volume as erosion lets it: the brain may go on beyond."""
    nearest = (_ERODE_VOXELS, -_ERODE_VOXELS - 1)
    return any(bool(mask.take(nearest, axis).any()) for axis in range(mask.ndim))


def reduce_to_aseg(labels: Labels, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Segmentation with one cortical label a side (3, 42), zero outside ``mask``, uint8.

    Islands of cerebral white matter, which are all its components but the largest, change sides where the
    other hemisphere's white matter and cortex prevail.

    Parameters
    ----------
    labels
        (X, Y, Z), integer: the finished segmentation. Labels from 256 to 999 and from 3000 do not fit.
    mask
        (X, Y, Z): the brain mask; nonzero is brain.

    Notes
    -----
    The same voxels as FastSurfer's ``aseg.auto_noCCseg.mgz``. Where FastSurfer fails because a hemisphere
    has no white matter, the other one is treated all the same.
    """
    aseg = np.zeros(labels.shape, dtype=np.uint8)
    brain = mask != 0
    box = mask_box(brain, margin=_REACH_VOXELS)
    aseg[box] = merge_parcels(np.where(brain[box], labels[box], 0))
    _flip_islands(aseg[box])
    return aseg


def merge_parcels(labels: Labels) -> Labels:
    """A copy in which the cortical parcels (1000 to 1999, 2000 to 2999) are one label a side, 3 and 42."""
    merged = np.array(labels)
    thousands = merged // RIGHT_CORTEX_OFFSET
    merged[thousands == 1] = LEFT_CORTEX
    merged[thousands == 2] = RIGHT_CORTEX
    return merged


def _close(mask: Mask) -> Mask:
    """Dilate and erode by cubes; outside of the array is background, as in scipy's binary morphology.

    A cube's repeated dilation is one by a larger cube, which the running maximum does in a time that does not
    depend on its size.
    """
    grown = ndimage.maximum_filter(mask.view(np.uint8), 2 * _DILATE_VOXELS + 1, mode="constant", cval=0)
    return np.asarray(ndimage.minimum_filter(grown, 2 * _ERODE_VOXELS + 1, mode="constant", cval=0).view(np.bool_))


def _flip_islands(aseg: npt.NDArray[np.uint8]) -> None:
    """Give white matter islands on the wrong side the other side's label, in place."""
    left_islands, right_islands = _islands(aseg == LEFT_WHITE_MATTER), _islands(aseg == RIGHT_WHITE_MATTER)
    if not (left_islands.any() or right_islands.any()):
        return
    box = mask_box(left_islands | right_islands, margin=_REACH_VOXELS)
    around = aseg[box]  # a view: what follows writes into `aseg`
    right = np.isin(around, (RIGHT_WHITE_MATTER, RIGHT_CORTEX)).astype(np.float64)
    left = np.isin(around, (LEFT_WHITE_MATTER, LEFT_CORTEX))
    balance = ndimage.gaussian_filter(right - left, _SIGMA_VOXELS, mode="nearest")
    around[left_islands[box] & (balance > 0)] = RIGHT_WHITE_MATTER
    around[right_islands[box] & (balance < 0)] = LEFT_WHITE_MATTER


def _islands(mask: Mask) -> Mask:
    return mask & ~largest_component(mask)
