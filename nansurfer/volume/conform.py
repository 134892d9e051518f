"""Conforming: uint8, LIA, a cube of isotropic voxels."""

from __future__ import annotations

from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.spatialimages import SpatialImage
from scipy.ndimage import affine_transform

from nansurfer.errors import ConfigError
from nansurfer.volume.intensity import from_zero, robust_window, to_uint8
from nansurfer.volume.read import MIN_VOXEL_MM

VoxelSize = float | Literal["min"]

# FreeSurfer's conformed space: LIA axes (columns), at least 256 voxels along each, at most 1 mm.
LIA = np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]])
_MIN_SIZE = 256
_MAX_VOXEL_MM = 1.0
# FastSurfer: smallest voxels above this are made 1 mm, sizes are rounded to 4 decimals, and a conformed image
# may deviate by 1e-6.
_TO_1MM_ABOVE = 0.95
_DECIMALS = 4
_TOLERANCE = 1e-6
# Two grids whose voxels lie nowhere farther apart than this (in voxels) are the same grid.
_SAME_GRID = 1e-3


def conform(image: SpatialImage, vox_size: VoxelSize = "min", *, fastsurfer_compat: bool = False) -> nib.MGHImage:
    """The image as uint8 on a LIA cube of isotropic voxels; itself, if it is that already.

    Parameters
    ----------
    image : nibabel.spatialimages.SpatialImage
        3D, of any orientation, voxel size and numeric type; `read_image` returns such images.
    vox_size : float or "min"
        Voxel size in mm, 0.1 to 1; ``"min"`` is the image's smallest, made 1 mm above 0.95 mm.
    fastsurfer_compat : bool
        Reproduce FastSurfer in every voxel (see Notes).

    Returns
    -------
    nibabel.MGHImage
        uint8, shape (N, N, N) with N = 256 at 1 mm and otherwise at least 256, enough for the field of view.

    Raises
    ------
    ConfigError
        ``vox_size`` is neither ``"min"`` nor 0.1 to 1.

    Notes
    -----
    The centre of the volume keeps its place in the world. Intensities are interpolated linearly and then
    windowed (`nansurfer.volume.intensity`), unless they are uint8. That is FastSurfer's conform (v2.3.0),
    with five deliberate differences, which ``fastsurfer_compat`` takes back:

    - Grids that agree up to the order and direction of their axes are reordered, cropped and padded, never
      interpolated; FastSurfer tests for this but its test cannot succeed.
    - Where an odd size would put such grids half a voxel apart, the centre moves by that half voxel and the
      affine with it; FastSurfer blurs the image.
    - uint8 voxels that the header scales are taken by their real values and windowed; FastSurfer clips them.
    - Where air lies below 0, its darkest voxel becomes 0 (`nansurfer.volume.intensity.from_zero`); FastSurfer takes
      every 0 for background, which leaves black specks in tissue and grey around the volume.
    - An image tilted out of LIA is not taken for conformed; FastSurfer overlooks the tilt where it shows in
      negative entries of the affine only.
    """
    if is_conformed(image, vox_size, fastsurfer_compat=fastsurfer_compat):
        return _as_mgh(image)
    voxel_mm, size = _target_grid(image, vox_size)
    header = _target_header(image, voxel_mm, size, np.divide(image.shape, 2))
    reordering = None if fastsurfer_compat else _reordering(image, header)
    data = np.asanyarray(image.dataobj) if fastsurfer_compat else from_zero(np.asanyarray(image.dataobj))
    keeps_values = _is_uint8(image) if fastsurfer_compat else _is_unscaled_uint8(image)
    window = None if keeps_values else robust_window(data)
    if reordering is None:
        data = _interpolate(data, image.affine, header)
    else:
        centre = np.linalg.inv(reordering) @ [size / 2, size / 2, size / 2, 1]
        header = _target_header(image, voxel_mm, size, centre[:3])
        data = _reorder(data, reordering, size)
    return nib.MGHImage(to_uint8(data, window), header.get_affine(), header)


def is_conformed(image: SpatialImage, vox_size: VoxelSize = "min", *, fastsurfer_compat: bool = False) -> bool:
    """Whether `conform` returns the image untouched.

    That is: 3D, a cube of the target size, voxels of the target size and LIA axes (both within 1e-6), uint8
    and not scaled by the header. With ``fastsurfer_compat``, LIA is FastSurfer's: negative deviations pass.

    Raises
    ------
    ConfigError
        ``vox_size`` is neither ``"min"`` nor 0.1 to 1.
    """
    voxel_mm, size = _target_grid(image, vox_size)
    zooms = np.asarray(image.header.get_zooms()[:3], np.float64)
    return (
        image.shape == (size, size, size)
        and bool(np.abs(zooms - voxel_mm).max() < _TOLERANCE)
        and _is_lia(image.affine[:3, :3], ignore_negative=fastsurfer_compat)
        and _is_unscaled_uint8(image)
    )


def check_voxel_size(vox_size: VoxelSize) -> None:
    """Check a voxel size that was asked for, where there is no image yet.

    Raises
    ------
    ConfigError
        It is neither ``"min"`` nor a number of mm from 0.1 to 1.
    """
    is_size = isinstance(vox_size, (int, float)) and MIN_VOXEL_MM <= vox_size <= _MAX_VOXEL_MM
    if not is_size and vox_size != "min":
        raise ConfigError(f'Voxel size {vox_size!r} makes no sense; give "min" or a size in mm, {MIN_VOXEL_MM:g} to 1.')


def conformed_size(image: SpatialImage, vox_size: VoxelSize = "min") -> int:
    """Number of voxels along each side of the cube that `conform` makes of an image, by its header alone.

    Raises
    ------
    ConfigError
        ``vox_size`` makes no sense.
    """
    return _target_grid(image, vox_size)[1]


def _target_grid(image: SpatialImage, vox_size: VoxelSize) -> tuple[float, int]:
    """Voxel size (mm) and number of voxels along each side of the conformed cube."""
    check_voxel_size(vox_size)
    zooms = np.asarray(image.header.get_zooms()[:3], np.float64)
    if vox_size == "min":
        voxel_mm = min(round(float(zooms.min()), _DECIMALS), _MAX_VOXEL_MM)
        if voxel_mm > _TO_1MM_ABOVE:
            voxel_mm = _MAX_VOXEL_MM
    else:
        voxel_mm = float(vox_size)
    if voxel_mm == _MAX_VOXEL_MM:
        return voxel_mm, _MIN_SIZE
    field_of_view = float((zooms * image.shape[:3]).max()) / voxel_mm
    truncated = int(field_of_view * 10**_DECIMALS) / 10**_DECIMALS
    return voxel_mm, max(_MIN_SIZE, int(np.ceil(truncated)))


def _is_lia(axes: npt.NDArray[np.float64], *, ignore_negative: bool) -> bool:
    along, across = axes[LIA != 0], axes[LIA == 0]
    deviation = across if ignore_negative else np.abs(across)
    return bool(np.all(np.sign(along) == LIA[LIA != 0]) and np.all(deviation <= _TOLERANCE))


def _is_uint8(image: SpatialImage) -> bool:
    return bool(image.get_data_dtype() == np.uint8)


def _is_unscaled_uint8(image: SpatialImage) -> bool:
    # One voxel read through nibabel tells: scaled data come out as floats.
    return _is_uint8(image) and bool(image.dataobj[:1, :1, :1].dtype == np.uint8)


def _as_mgh(image: SpatialImage) -> nib.MGHImage:
    if isinstance(image, nib.MGHImage):
        return image
    return nib.MGHImage(np.asanyarray(image.dataobj), image.affine)


def _target_header(image: SpatialImage, voxel_mm: float, size: int, centre: npt.NDArray[np.float64]) -> MGHHeader:
    """The conformed header; ``centre`` (in the image's voxels) comes to lie at the centre of the cube.

    Scan parameters of an MGH input (TR, flip angle ...) are kept.
    """
    header: MGHHeader = MGHHeader.from_header(image.header)
    header.set_data_shape((size, size, size))
    header.set_data_dtype(np.uint8)
    header.set_zooms((voxel_mm, voxel_mm, voxel_mm))
    header["Mdc"] = LIA.T
    header["fov"] = size * voxel_mm
    header["Pxyz_c"] = (image.affine @ [*centre, 1])[:3]
    return header


def _reordering(image: SpatialImage, header: MGHHeader) -> npt.NDArray[np.int64] | None:
    """The image's voxels to the target's as a map of whole numbers, shape (4, 4); None where there is none.

    Where the grids are half a voxel apart, the map rounds the target position down: a flipped axis of 255
    voxels then fits into 256.
    """
    axes = np.linalg.inv(header.get_affine().astype(np.float64))[:3, :3] @ image.affine[:3, :3]
    whole = np.rint(axes).astype(np.int64)
    half_shape = np.divide(image.shape, 2)
    is_signed_permutation = np.array_equal(whole @ whole.T, np.eye(3))
    if not is_signed_permutation or np.any(np.abs(axes - whole) @ half_shape > _SAME_GRID):
        return None
    mapping = np.eye(4, dtype=np.int64)
    mapping[:3, :3] = whole
    mapping[:3, 3] = np.floor(header.get_data_shape()[0] / 2 - whole @ half_shape)
    return mapping


def _reorder(data: npt.NDArray[Any], mapping: npt.NDArray[np.int64], size: int) -> npt.NDArray[Any]:
    """``data`` moved by ``mapping`` into a cube of ``size`` voxels, cropped at its faces, 0 elsewhere."""
    source_axes = np.abs(mapping[:3, :3]).argmax(axis=1)
    data = data.transpose(source_axes)
    inside, taken = [], []
    for axis, (length, offset) in enumerate(zip(data.shape, mapping[:3, 3], strict=True)):
        if mapping[axis, source_axes[axis]] < 0:
            data = np.flip(data, axis)
            offset -= length - 1
        start, stop = max(offset, 0), min(offset + length, size)
        inside.append(slice(start, stop))
        taken.append(slice(start - offset, stop - offset))
    cube = np.zeros((size, size, size), data.dtype)
    cube[tuple(inside)] = data[tuple(taken)]
    return cube


def _interpolate(data: npt.NDArray[Any], affine: npt.NDArray[np.float64], header: MGHHeader) -> npt.NDArray[np.float64]:
    """``data`` on the header's grid, linearly interpolated, 0 outside the volume."""
    # Inverted as nibabel hands it over (float32) and multiplied before the second inversion: the last bits of
    # the matrix decide ties in rounding, and FastSurfer's must come out.
    source_to_target = np.linalg.inv(header.get_affine()) @ affine
    resampled: npt.NDArray[np.float64] = affine_transform(
        data,
        np.linalg.inv(source_to_target),
        output_shape=header.get_data_shape(),
        output=np.float64,
        order=1,
    )
    return resampled
