"""Scoring one segmentation against another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nansurfer.errors import InputGeometryError
from nansurfer.labels.classes import RIGHT_CORTEX_OFFSET
from nansurfer.labels.hemispheres import LEFT_WHITE_MATTER, RIGHT_WHITE_MATTER
from nansurfer.labels.regions import Labels
from nansurfer.volume import mask_box

DK_TO_DKT = {
    1001: 1015,  # banks of the superior temporal sulcus -> middle temporal
    1032: 1027,  # frontal pole -> rostral middle frontal
    1033: 1030,  # temporal pole -> superior temporal
}
"""Left Desikan-Killiany parcels that the DKT protocol lacks, and the one that takes most of each."""

_CORPUS_CALLOSUM = range(251, 256)


@dataclass(frozen=True)
class Overlap:
    """Voxels that a structure has in two volumes and shares between them.

    Parameters
    ----------
    voxels_a, voxels_b
        In either volume.
    voxels_both
        At the same place in both.
    """

    voxels_a: int
    voxels_b: int
    voxels_both: int

    @property
    def dice(self) -> float:
        """2 |A ∩ B| / (|A| + |B|), 0 to 1; nan where neither volume has the structure."""
        total = self.voxels_a + self.voxels_b
        return 2 * self.voxels_both / total if total else float("nan")

    @property
    def voxels_in_one(self) -> int:
        """Voxels that have it in one volume and not in the other."""
        return self.voxels_a + self.voxels_b - 2 * self.voxels_both


@dataclass(frozen=True)
class LabelOverlap:
    """All counts of two label volumes.

    Parameters
    ----------
    structures
        Each label's overlap.
    whole
        All labels but 0 taken together: shared is a voxel that has the same label in both. Its Dice is that of
        the whole volume (Crum et al., IEEE TMI 25, 2006, each voxel weighing the same).
    foreground
        What is labelled at all, whatever the label.
    voxels_changed
        Voxels whose labels differ, 0 included.
    """

    structures: dict[int, Overlap]
    whole: Overlap
    foreground: Overlap
    voxels_changed: int


def count_overlap(a: Labels, b: Labels, labels: Iterable[int] | None = None) -> LabelOverlap:
    """Voxel counts from which every measure of overlap follows.

    Parameters
    ----------
    a, b
        Integer label volumes of one shape, without negative labels.
    labels
        The structures to count; by default all labels but 0 that occur in ``a`` or ``b``, ascending.
        ``whole``, ``foreground`` and ``voxels_changed`` always count all labels.

    Raises
    ------
    InputGeometryError
        The shapes differ.
    """
    check_same_shape(a, b)
    box = mask_box((a != 0) | (b != 0))
    a_inside, b_inside = a[box].ravel(), b[box].ravel()
    asked = None if labels is None else [int(label) for label in labels]
    length = 1 + max([int(a_inside.max(initial=0)), int(b_inside.max(initial=0)), *(asked or ())])
    same = a_inside[a_inside == b_inside]
    in_a, in_b, in_both = (np.bincount(voxels, minlength=length) for voxels in (a_inside, b_inside, same))
    for count in (in_a, in_b, in_both):
        count[0] += a.size - a_inside.size  # outside the box both are background
    counted = np.flatnonzero((in_a + in_b)[1:]) + 1 if asked is None else asked
    labelled_a, labelled_b = int(in_a[1:].sum()), int(in_b[1:].sum())
    return LabelOverlap(
        structures={int(i): Overlap(int(in_a[i]), int(in_b[i]), int(in_both[i])) for i in counted},
        whole=Overlap(labelled_a, labelled_b, int(in_both[1:].sum())),
        foreground=Overlap(labelled_a, labelled_b, int(np.count_nonzero((a_inside != 0) & (b_inside != 0)))),
        voxels_changed=a_inside.size - same.size,
    )


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
    return {label: overlap.dice for label, overlap in count_overlap(a, b, labels).structures.items()}


def check_same_shape(a: Labels, b: Labels) -> None:
    """Check that two label volumes can be laid over each other.

    Raises
    ------
    InputGeometryError
        The shapes differ.
    """
    if a.shape != b.shape:
        raise InputGeometryError(f"The label volumes have shapes {a.shape} and {b.shape}; compare volumes of one grid.")


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
        box = mask_box(callosum | white)
        nearest = ndimage.distance_transform_edt(~white[box], return_distances=False, return_indices=True)
        holes = callosum[box]
        mapped[box][holes] = mapped[box][tuple(nearest[:, holes])]
    return mapped
