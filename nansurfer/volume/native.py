"""Labels back on the input's own grid."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage
from scipy.ndimage import affine_transform

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
    native_to_conformed = np.linalg.inv(conformed_affine) @ native_image.affine
    on_grid = affine_transform(
        labels,
        # MGH affines are float32: unrounded, grids half a voxel apart would fall left here and right there.
        np.round(native_to_conformed, 6),
        output_shape=native_image.shape[:3],
        output=np.int16,
        order=0,
        mode="grid-constant",
    )
    return nifti_image(on_grid, native_image.affine, _coordinate_system(native_image))


def _coordinate_system(image: SpatialImage) -> int:
    """The NIfTI code that says what the image's world coordinates are."""
    if not isinstance(image.header, nib.Nifti1Header):
        return NIFTI_SCANNER
    return int(image.header["sform_code"]) or int(image.header["qform_code"]) or NIFTI_SCANNER
