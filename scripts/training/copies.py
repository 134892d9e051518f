"""Copies of a labelled T1, as the same head could as well have been scanned or stored.

A copy's labels stay on the voxels that they came on, whatever happens to the head: only their affine says where in
the world they are now. They are resampled once, onto the grid on which they are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import nibabel as nib
import numpy as np
import numpy.typing as npt
from atlas import other_side
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from nibabel.spatialimages import SpatialImage
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

DEGREES = (10.0, 10.0, 10.0)  # a head that lies badly in the coil: 17 degrees in all
SHIFT_MM = (6.0, -5.0, 7.0)  # no multiples of four, of which two poolings would notice nothing
STORED_AS = "PSR"  # axes in another order, all of them in another direction than in LIA

Affine = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelledT1:
    """A T1 and FreeSurfer's labels of it, each on a grid of its own in one world.

    Where the T1 is ``mirrored``, the labels keep their names: a left hippocampus is labelled left, though it now
    lies, and looks, like a right one.
    """

    t1: SpatialImage
    labels: SpatialImage
    mirrored: bool = False


def rotated(subject: LabelledT1, degrees: tuple[float, float, float] = DEGREES) -> LabelledT1:
    """The head turned about the world's axes x, y and z, one after the other, on the T1's grid."""
    return _moved(subject, Rotation.from_euler("xyz", degrees, degrees=True).as_matrix())


def flipped(subject: LabelledT1) -> LabelledT1:
    """The head mirrored, right to left."""
    return replace(_moved(subject, np.diag([-1.0, 1.0, 1.0])), mirrored=not subject.mirrored)


def shifted(subject: LabelledT1, shift_mm: tuple[float, float, float] = SHIFT_MM) -> LabelledT1:
    """The head elsewhere in the field of view; what leaves it is lost."""
    return _moved(subject, np.eye(3), shift_mm)


def stored(subject: LabelledT1) -> LabelledT1:
    """The same image in a file whose axes have another order and direction: for a user, no difference.

    Conforming centres the point ``shape / 2``, as FreeSurfer does, which lies a voxel farther along an axis that
    is stored in the other direction; so the head comes to lie a voxel farther in the conformed cube.
    """
    axes = nib.orientations.axcodes2ornt(STORED_AS)
    change = nib.orientations.ornt_transform(nib.io_orientation(subject.t1.affine), axes)
    return replace(subject, t1=subject.t1.as_reoriented(change))


def resampled(subject: LabelledT1, voxel_mm: float) -> LabelledT1:
    """The T1 with other voxels, the same field of view and more where it is no multiple of them.

    The point ``shape / 2``, which conforming takes for the centre, keeps its place: the conformed grid is then
    the original's and the labels lie on it as they are.
    """
    affine, shape = subject.t1.affine, np.array(subject.t1.shape)
    sizes = voxel_sizes(affine)
    new_shape = np.ceil(np.round(shape * sizes / voxel_mm, 4)).astype(int)
    axes = affine[:3, :3] * (voxel_mm / sizes)
    new_affine = from_matvec(axes, apply_affine(affine, shape / 2) - axes @ (new_shape / 2))
    return replace(subject, t1=_interpolated(subject.t1, tuple(new_shape.tolist()), new_affine))


COPIES: Mapping[str, Callable[[LabelledT1], LabelledT1]] = {
    "rotated": rotated,
    "flipped": flipped,
    "shifted": shifted,
    "stored": stored,
    "1.2mm": partial(resampled, voxel_mm=1.2),
    "0.8mm": partial(resampled, voxel_mm=0.8),
}


def swapped_sides(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """The labels of the other hemisphere for each voxel's; what has no side stays."""
    other = np.array([other_side(label) for label in range(labels.max() + 1)], labels.dtype)
    return other[labels]


def _moved(subject: LabelledT1, matrix: Affine, shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> LabelledT1:
    """The head moved in the world, about the middle of the T1, which keeps its grid."""
    t1, labels = subject.t1, subject.labels
    middle = apply_affine(t1.affine, (np.array(t1.shape) - 1) / 2)
    motion = from_matvec(matrix, middle - matrix @ middle + shift_mm)
    moved = _with(t1, np.asanyarray(t1.dataobj), motion @ t1.affine)
    return replace(
        subject,
        t1=_interpolated(moved, t1.shape, t1.affine),
        labels=_with(labels, np.asanyarray(labels.dataobj), motion @ labels.affine),
    )


def _interpolated(image: SpatialImage, shape: tuple[int, ...], affine: Affine) -> SpatialImage:
    """The image on another grid, 0 outside: by cubic splines, or as it is where voxels meet voxels.

    scipy rounds whole numbers and clips unsigned ones.
    """
    # Rounded, because what lies outside by the last bit of a float would be 0.
    mapping = np.round(np.linalg.inv(image.affine) @ affine, 6)
    order = 0 if np.array_equal(mapping, np.rint(mapping)) else 3
    data = affine_transform(np.asanyarray(image.dataobj), mapping[:3, :3], mapping[:3, 3], shape, order=order)
    return _with(image, data, affine)


def _with(image: SpatialImage, data: npt.NDArray[np.generic], affine: Affine) -> SpatialImage:
    """The image with other voxels, or elsewhere in the world."""
    return type(image)(data, affine, image.header)
