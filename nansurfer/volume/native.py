"""Labels back on the input's own grid."""

from __future__ import annotations

from itertools import product
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine
from nibabel.spatialimages import SpatialImage
from scipy.ndimage import affine_transform, find_objects

from nansurfer.volume.write import NIFTI_SCANNER, nifti_image


def to_native(
    labels: npt.NDArray[np.integer[Any]],
    conformed_affine: npt.NDArray[np.float64],
    native_image: SpatialImage,
) -> nib.Nifti1Image:
    """Labels on the grid of ``native_image``, each voxel taking the nearest label (int16, 0 outside).

    Parameters
    ----------
    labels : integer array of shape (N, N, N)
        On the conformed grid.
    conformed_affine : array of shape (4, 4)
        Conformed voxel to world (mm).
    native_image : nibabel.spatialimages.SpatialImage
        The 3D input; its affine is kept, as sform and qform, with its own coordinate-system code.
    """
    # MGH affines are float32: unrounded, grids half a voxel apart would fall left here and right there.
    native_to_conformed = np.round(np.linalg.inv(conformed_affine) @ native_image.affine, 6)
    on_grid = np.zeros(native_image.shape[:3], np.int16)
    box = _box_around(labels, native_to_conformed, on_grid.shape)
    start = [side.start for side in box]
    affine_transform(
        labels,
        native_to_conformed[:3, :3],
        offset=native_to_conformed[:3, :3] @ start + native_to_conformed[:3, 3],
        output=on_grid[box],
        order=0,
        mode="grid-constant",
    )
    return nifti_image(on_grid, native_image.affine, _coordinate_system(native_image))


def _box_around(
    labels: npt.NDArray[np.integer[Any]], native_to_conformed: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[slice, ...]:
    """The native voxels in which there can be labels: of a whole head, a fifth of the volume and of the time."""
    inside = find_objects((labels != 0).view(np.uint8))
    if not inside:
        return tuple(slice(0, 0) for _ in shape)
    corners = list(product(*((side.start - 1, side.stop) for side in inside[0])))
    native = apply_affine(np.linalg.inv(native_to_conformed), corners)
    first = np.clip(np.floor(native.min(axis=0)), 0, shape).astype(int)
    stop = np.clip(np.ceil(native.max(axis=0)) + 1, first, shape).astype(int)
    return tuple(map(slice, first.tolist(), stop.tolist()))


def _coordinate_system(image: SpatialImage) -> int:
    """The NIfTI code that says what the image's world coordinates are."""
    if not isinstance(image.header, nib.Nifti1Header):
        return NIFTI_SCANNER
    return int(image.header["sform_code"]) or int(image.header["qform_code"]) or NIFTI_SCANNER
