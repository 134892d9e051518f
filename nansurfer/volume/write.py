"""Writing images, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from nansurfer.errors import OutputError
from nansurfer.files import atomic_path

# The four voxel types of the MGH format, narrowest first.
_MGH_DTYPES = (np.uint8, np.int16, np.int32, np.float32)
NIFTI_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT: coordinates of the scanner


def label_image(data: npt.NDArray[Any], conformed: nib.MGHImage, dtype: npt.DTypeLike) -> nib.MGHImage:
    """``data`` as ``dtype`` with the conformed image's header and affine.

    Parameters
    ----------
    data : array of the conformed image's shape
    conformed : nibabel.MGHImage
    dtype : uint8, int16, int32 or float32
        The voxel types of the MGH format; ``data`` must fit.
    """
    image = nib.MGHImage(_in_file_order(data, dtype), conformed.affine, conformed.header)
    image.set_data_dtype(dtype)
    return image


def save_image(image: SpatialImage, path: str | Path) -> None:
    """Write an image as MGH (.mgz, .mgh) or NIfTI (.nii.gz, .nii), whole or not at all.

    MGH holds uint8, int16, int32 and float32: other voxel types are widened, float64 is narrowed to float32.
    Compression is nibabel's (gzip level 1): level 9 takes six times as long and saves 5 % of a T1.

    Raises
    ------
    OutputError
        The suffix is none of these, the folder cannot be written, or the disk is full.
    """
    name = Path(path).name.lower()
    if name.endswith((".mgz", ".mgh")):
        image = _as_mgh(image)
    elif name.endswith((".nii", ".nii.gz")):
        image = _as_nifti(image)
    else:
        raise OutputError(f"{path} cannot be written: give it the suffix .mgz, .mgh, .nii.gz or .nii.")
    with atomic_path(path) as temporary:
        image.to_filename(temporary)


def nifti_image(data: npt.NDArray[Any], affine: npt.NDArray[Any], code: int = NIFTI_SCANNER) -> nib.Nifti1Image:
    """A NIfTI image in millimetres whose sform and qform both hold ``affine``.

    A qform is a rotation, so it is left unset for an affine with shears.
    """
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    if not np.allclose(image.get_qform(), affine, atol=1e-3):
        image.set_qform(None)
    return image


def _in_file_order(data: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """``data`` (X, Y, Z) as ``dtype``, X fastest as in the file: three times as fast by planes as numpy and nibabel."""
    if data.flags.f_contiguous:
        return data.astype(dtype, copy=False)
    stored = np.empty(data.shape, dtype, order="F")
    for y in range(data.shape[1]):
        stored[:, y] = data[:, y]
    return stored


def _as_mgh(image: SpatialImage) -> nib.MGHImage:
    if isinstance(image, nib.MGHImage):
        return image
    data = np.asanyarray(image.dataobj)
    dtype = next((mgh for mgh in _MGH_DTYPES if np.can_cast(data.dtype, mgh)), np.float32)
    return nib.MGHImage(data.astype(dtype), image.affine)


def _as_nifti(image: SpatialImage) -> nib.Nifti1Image:
    if isinstance(image, nib.Nifti1Image):
        return image
    return nifti_image(np.asanyarray(image.dataobj), image.affine)
