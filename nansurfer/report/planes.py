"""The geometry of the mosaic: which slices of a volume are shown, and which part of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from nansurfer.volume import head_box, mask_box

Box = tuple[slice, slice, slice]

# A volume with these axes gives upright slices in radiological convention when it is merely indexed: the
# patient's right on the left of the page, superior up, anterior up (axial) or left (sagittal).
PAGE_AXES = "LIP"
# From the vertex down: the brain ends 140-160 mm below it, also in a tilted head; further down is neck.
_HEAD_HEIGHT_MM = 190


@dataclass(frozen=True)
class Plane:
    """One of the three planes, for volumes with axes `PAGE_AXES`.

    Parameters
    ----------
    title
        Its name and the order of its slices.
    n_slices
        How many are shown: fewer of the wide sagittal ones, and an odd number, for the middle one to show
        the midline.
    axis
        Volume axis that the plane is perpendicular to.
    world_axis
        The same axis in the world: 0, 1 or 2 for x, y or z.
    rows, columns
        Volume axes that run down and across the page.
    sides
        What lies on the left and on the right of the page.
    """

    title: str
    n_slices: int
    axis: int
    world_axis: int
    rows: int
    columns: int
    sides: tuple[str, str]

    def take(self, volume: npt.NDArray[Any], index: int, frame: Box) -> npt.NDArray[Any]:
        """The part of a slice that lies in the frame, shape (rows, columns)."""
        part = volume[tuple(index if axis == self.axis else frame[axis] for axis in range(3))]
        return part.T if self.rows > self.columns else part

    def position_mm(self, index: int, affine: npt.NDArray[np.float64], frame: Box) -> float:
        """World coordinate of the slice, measured in the middle of the frame."""
        voxel = [index if axis == self.axis else (s.start + s.stop - 1) / 2 for axis, s in enumerate(frame)]
        return float(affine[self.world_axis] @ [*voxel, 1])


PLANES = (
    Plane("Axial, superior to inferior", 7, axis=1, world_axis=2, rows=2, columns=0, sides=("R", "L")),
    Plane("Coronal, anterior to posterior", 7, axis=2, world_axis=1, rows=1, columns=0, sides=("R", "L")),
    Plane("Sagittal, right to left", 5, axis=0, world_axis=0, rows=1, columns=2, sides=("A", "P")),
)


def to_page(
    volume: npt.NDArray[Any], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """The volume with its axes reordered and flipped to `PAGE_AXES`, and its affine; nothing is resampled."""
    to = ornt_transform(io_orientation(affine), axcodes2ornt(PAGE_AXES))
    return apply_orientation(volume, to), affine @ inv_ornt_aff(to, volume.shape)


def labelled_box(labels: npt.NDArray[np.integer[Any]]) -> Box | None:
    """The smallest box that holds all labelled voxels, or None if there is none."""
    labelled = labels > 0
    return mask_box(labelled) if labelled.any() else None


def frame_of_head(t1: npt.NDArray[np.uint8], labelled: Box | None, voxel_height_mm: float) -> Box:
    """The part of the volume (axes `PAGE_AXES`) to be shown: the head without the neck, and all labels."""
    left, down, back = head_box(t1, margin_voxels=0)
    bottom = down.start + round(_HEAD_HEIGHT_MM / voxel_height_mm)
    head = (left, slice(down.start, min(down.stop, bottom)), back)
    if labelled is None:
        return head
    across, along, behind = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(head, labelled, strict=True)
    )
    return across, along, behind


def spread(extent: slice, n: int) -> list[int]:
    """The middles of ``n`` equal parts of an extent, as voxel indices."""
    step = (extent.stop - extent.start) / n
    return [int(extent.start + (i + 0.5) * step) for i in range(n)]
