"""Scoring one segmentation against another."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from nansurfer.errors import InputGeometryError
from nansurfer.labels.classes import RIGHT_CORTEX_OFFSET
from nansurfer.labels.hemispheres import LEFT_WHITE_MATTER, RIGHT_WHITE_MATTER
from nansurfer.labels.regions import Labels, content_box

DK_TO_DKT = {
    1001: 1015,  # banks of the superior temporal sulcus -> middle temporal
    1032: 1027,  # frontal pole -> rostral middle frontal
    1033: 1030,  # temporal pole -> superior temporal
}
"""Left Desikan-Killiany parcels that the DKT protocol lacks, and the one that takes most of each."""

_CORPUS_CALLOSUM = range(251, 256)


def dice(a: Labels, b: Labels, labels: Iterable[int] | None = None) -> dict[int, float]:
    """Dice overlap of each label in two volumes.

    Parameters
    ----------
    a, b
        Integer label volumes of one shape, without negative labels.
    labels
        The labels to score; by default all but 0 that occur in ``a`` or ``b``.

    Returns
    -------
    dice
        Label to 2 |A ∩ B| / (|A| + |B|), 0 to 1; nan where neither volume has the label.

    Raises
    ------
    InputGeometryError
        The shapes differ.
    """
    if a.shape != b.shape:
        raise InputGeometryError(f"The label volumes have shapes {a.shape} and {b.shape}; compare volumes of one grid.")
    box = content_box((a != 0) | (b != 0))
    a_inside, b_inside = a[box].ravel(), b[box].ravel()
    asked = None if labels is None else [int(label) for label in labels]
    length = 1 + max([int(a_inside.max(initial=0)), int(b_inside.max(initial=0)), *(asked or ())])
    same = a_inside[a_inside == b_inside]
    in_a, in_b, in_both = (np.bincount(voxels, minlength=length) for voxels in (a_inside, b_inside, same))
    for count in (in_a, in_b, in_both):
        count[0] += a.size - a_inside.size  # outside the box both are background
    total = in_a + in_b
    scored = np.flatnonzero(total[1:]) + 1 if asked is None else asked
    return {int(i): float(2 * in_both[i] / total[i]) if total[i] else float("nan") for i in scored}


def mapped_dk_to_dkt(labels: Labels) -> Labels:
    """A copy of FreeSurfer's Desikan-Killiany ``aparc+aseg`` with what the DKT classes lack relabelled.

    The three parcels of `DK_TO_DKT` join their neighbours on either side, and the corpus callosum (251 to
    255) the nearest cerebral white matter. Borders between the remaining parcels stay those of
    Desikan-Killiany.
    """
    mapped = np.array(labels)
    for source, target in DK_TO_DKT.items():
        for side in (0, RIGHT_CORTEX_OFFSET):
            mapped[mapped == source + side] = target + side
    callosum = np.isin(mapped, _CORPUS_CALLOSUM)
    white = np.isin(mapped, (LEFT_WHITE_MATTER, RIGHT_WHITE_MATTER))
    if callosum.any() and white.any():
        box = content_box(callosum | white)
        nearest = ndimage.distance_transform_edt(~white[box], return_distances=False, return_indices=True)
        holes = callosum[box]
        mapped[box][holes] = mapped[box][tuple(nearest[:, holes])]
    return mapped
