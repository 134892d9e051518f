"""How far apart the surfaces of a structure lie in two segmentations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nansurfer.labels.overlap import check_same_shape
from nansurfer.labels.regions import Labels

_PERCENTILE = 95

Points = npt.NDArray[np.float64]


def hausdorff95(a: Labels, b: Labels, labels: Iterable[int], affine: npt.NDArray[np.floating[Any]]) -> dict[int, float]:
    """95 % Hausdorff distance of each label's surfaces in two volumes, in mm.

    Parameters
    ----------
    a, b
        (X, Y, Z): integer label volumes of one grid, without negative labels.
    labels
        The labels to measure, 1 or greater.
    affine
        (4, 4): voxel to world (mm), of any orientation and voxel size.

    Returns
    -------
    distances_mm
        Label to distance; nan where a volume lacks the label.

    Raises
    ------
    InputGeometryError
        The shapes differ.

    Notes
    -----
    MONAI's convention: a surface voxel has one of its six neighbours outside of the structure (beyond the
    volume is outside); distances go from the centre of each surface voxel to the nearest one of the other
    surface; the result is the larger of the two directions' 95th percentiles (interpolated linearly). Other
    tools pool both directions (medpy) or weight by area (DeepMind's surface-distance).
    Distances are taken between points in the world rather than by a distance transform: exact for oblique
    and sheared grids too, and faster, as surfaces hold few of a box's voxels.
    """
    check_same_shape(a, b)
    asked = [int(label) for label in labels]
    if not asked:
        return {}
    surfaces_a, surfaces_b = _surfaces_mm(a, asked, affine), _surfaces_mm(b, asked, affine)
    return {
        label: _hausdorff95(surfaces_a[label], surfaces_b[label])
        if label in surfaces_a and label in surfaces_b
        else float("nan")
        for label in asked
    }


def _surfaces_mm(volume: Labels, labels: Iterable[int], affine: npt.NDArray[np.floating[Any]]) -> dict[int, Points]:
    """World positions (n, 3) of each label's surface voxels, up to the affine's translation."""
    boxes = ndimage.find_objects(volume)
    surfaces = {}
    for label in labels:
        box = boxes[label - 1] if label <= len(boxes) else None
        if box is None:
            continue
        mask = volume[box] == label
        surface = mask & ~ndimage.binary_erosion(mask)
        surfaces[label] = (np.argwhere(surface) + [axis.start for axis in box]) @ np.asarray(affine)[:3, :3].T
    return surfaces


def _hausdorff95(a: Points, b: Points) -> float:
    """The larger of the two directed 95th percentiles between two sets of points (n, 3)."""
    from scipy.spatial import KDTree  # here, as nothing but `compare` needs it and all else would wait for it

    directed = (KDTree(target).query(source)[0] for source, target in ((a, b), (b, a)))
    return float(max(np.percentile(distances, _PERCENTILE) for distances in directed))
