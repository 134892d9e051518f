"""Reading an input image, with every check that later steps rely on."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.analyze import AnalyzeHeader
from nibabel.imageglobals import logger as nibabel_logger
from nibabel.spatialimages import SpatialImage

from nansurfer.errors import InputFormatError, InputGeometryError, InputIntensityError, InputNotFoundError
from nansurfer.files import other_half

logger = logging.getLogger("nansurfer")

EXTENSIONS = (".mgz", ".mgh", ".nii.gz", ".nii", ".img", ".hdr")
MIN_VOXEL_MM, MAX_VOXEL_MM = 0.1, 10.0  # from ex-vivo microscopy to a localiser: outside, the header is wrong
MIN_AXIS_VOXELS, MAX_AXIS_VOXELS = 16, 2048
MAX_LABEL = 2**16 - 1  # FreeSurfer's labels have five digits at most
MAX_ABS_VALUE = 1e12  # no scanner writes more: wrong byte order or a damaged file
_MIN_NORMALISED_VOLUME = 1e-2  # of the box that the affine's unit axes span: below, they lie in a plane
_AFFINE_TOLERANCE_MM = 1e-3  # FastSurfer's, for header against affine and qform against sform
_ZERO_BELOW = 1e-15  # FastSurfer's idea of zero
_CHUNK_BYTES = 1 << 20


def read_image(path: str | Path) -> SpatialImage:
    """The 3D image in a .mgz, .mgh, .nii, .nii.gz or .img/.hdr file, read completely and checked.

    Returns
    -------
    nibabel.spatialimages.SpatialImage
        Of the file's own class. ``dataobj`` is an array in memory of shape (X, Y, Z): real values (scaled as
        the header says), finite, not all the same. ``get_data_dtype()`` still tells the file's type.

    Raises
    ------
    InputNotFoundError
        No such file, a folder, or no permission.
    InputFormatError
        Not one of these formats, or damaged: truncated, failing gzip's checksum, impossible header.
    InputGeometryError
        Not one 3D volume of plain numbers, or voxel sizes or an affine that cannot be right.
    InputIntensityError
        NaN, infinite or absurdly large values, or all the same.

    Notes
    -----
    When a NIfTI file's qform and sform (both set) disagree, the sform is used, as by FastSurfer's
    segmentation and nibabel, and a warning logged (FastSurfer's conform command takes the qform). A file that
    does not say its orientation (Analyze, NIfTI without either form) is taken as nibabel takes it, with a
    warning.
    """
    image = _read_volume(Path(path))
    _check_intensity(Path(path), np.asanyarray(image.dataobj))
    return image


def read_labels(path: str | Path) -> SpatialImage:
    """The label volume in a .mgz, .mgh, .nii, .nii.gz or .img/.hdr file, read completely and checked.

    Returns
    -------
    nibabel.spatialimages.SpatialImage
        Of the file's own class. ``dataobj`` is an int32 array in memory of shape (X, Y, Z), 0 to 65535; the
        file may hold whole numbers as floats, as some of FreeSurfer's do.

    Raises
    ------
    InputNotFoundError, InputFormatError, InputGeometryError
        As `read_image`.
    InputIntensityError
        Values that are no labels: fractions, NaN, negative or above 65535.

    Notes
    -----
    Files that say their orientation twice or not at all are treated as by `read_image`.
    """
    path = Path(path)
    image = _read_volume(path)
    labels = _as_labels(path, np.asanyarray(image.dataobj))
    checked: SpatialImage = type(image)(labels, image.affine, image.header)
    return checked


def _read_volume(path: Path) -> SpatialImage:
    """The image with its data in memory and a geometry that can be used."""
    _check_readable(path)
    with _damage_reported(path):
        _check_gzip(path)
        image: Any = nib.load(path, mmap=False)
    _check_kind(path, image)
    with _damage_reported(path):
        affine = _affine(path, image)
        zooms = np.asarray(_header_as_written(image).get_zooms()[:3], np.float64)
    _check_voxel_sizes(path, zooms)
    _check_affine(path, affine, zooms)
    with _damage_reported(path):
        data = _plain_array(np.asanyarray(image.dataobj))
    checked: SpatialImage = type(image)(data, affine, image.header)
    return checked


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputNotFoundError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    if not path.name.lower().endswith(EXTENSIONS):
        raise InputFormatError(f"{path} has none of the extensions we read: {', '.join(EXTENSIONS)}.")
    other = other_half(path)
    if other is not None and not other.exists():
        raise InputNotFoundError(f"{path} is half an image, and {other} is missing; put it beside it.")


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file provokes in nibabel into one error, and keep nibabel from printing."""
    nibabel_logger.addFilter(_drop)
    try:
        with np.errstate(all="ignore"):
            yield
    except MemoryError:
        raise
    except Exception as error:  # nibabel lets through a dozen kinds: of gzip, zlib, struct, numpy, its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputFormatError(
            f"{path} is not an image we can read, or it is damaged ({reason}); copy or convert it again."
        ) from error
    finally:
        nibabel_logger.removeFilter(_drop)


def _drop(record: logging.LogRecord) -> bool:
    return False


def _check_gzip(path: Path) -> None:
    """Decompress to the end, where the checksum is; nibabel stops at the last voxel."""
    if path.suffix.lower() in (".gz", ".mgz"):
        with gzip.open(path) as file:
            while file.read(_CHUNK_BYTES):
                pass


def _check_kind(path: Path, image: Any) -> None:
    """One 3D volume of numbers, of a plausible size?"""
    if not isinstance(image, SpatialImage):
        raise InputFormatError(f"{path} holds no volume but a {type(image).__name__}; give a T1 image.")
    shape = image.shape
    if len(shape) < 3 or any(frames != 1 for frames in shape[3:]):
        raise InputGeometryError(f"{path} has shape {_by(shape)}; give an image with a single 3D volume.")
    if not all(MIN_AXIS_VOXELS <= length <= MAX_AXIS_VOXELS for length in shape[:3]):
        raise InputGeometryError(
            f"{path} has {_by(shape[:3])} voxels; expected {MIN_AXIS_VOXELS} to {MAX_AXIS_VOXELS} along each"
            " axis: give an image of a whole head."
        )
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputGeometryError(f"{path} holds {dtype}; give one integer or float of at most 64 bits a voxel.")


def _affine(path: Path, image: Any) -> npt.NDArray[np.float64]:
    """Voxel to world (mm), as the file says it or, failing that, as nibabel assumes it."""
    header = image.header
    if isinstance(header, nib.Nifti1Header):
        codes = int(header["qform_code"]), int(header["sform_code"])
        if all(codes) and not np.allclose(image.get_sform(), image.get_qform(), atol=_AFFINE_TOLERANCE_MM):
            logger.warning("The qform and the sform of %s disagree; the sform is used.", path)
            return np.asarray(image.get_sform(), np.float64)
        says_orientation = any(codes)
    else:
        says_orientation = not isinstance(header, AnalyzeHeader) or _has_mat_file(image)
    if not says_orientation:
        axes = "".join(nib.aff2axcodes(image.affine))
        logger.warning("%s does not say its orientation; %s is assumed, check left and right.", path, axes)
    return np.asarray(image.affine, np.float64)


def _has_mat_file(image: Any) -> bool:
    """Whether SPM left the orientation of an Analyze image in a .mat file beside it."""
    return "mat" in image.file_map and Path(image.file_map["mat"].filename).exists()


def _header_as_written(image: Any) -> Any:
    """The header before nibabel's repairs, which turn negative and zero voxel sizes into positive ones."""
    holder = image.file_map.get("header", image.file_map["image"])
    with holder.get_prepare_fileobj("rb") as file:
        return image.header_class.from_fileobj(file, check=False)


def _check_voxel_sizes(path: Path, zooms: npt.NDArray[np.float64]) -> None:
    if not np.all((zooms >= MIN_VOXEL_MM) & (zooms <= MAX_VOXEL_MM)):
        raise InputGeometryError(
            f"{path} has voxels of {_by(zooms)} mm, not {MIN_VOXEL_MM} to {MAX_VOXEL_MM}; mend the header."
        )


def _check_affine(path: Path, affine: npt.NDArray[np.float64], zooms: npt.NDArray[np.float64]) -> None:
    if not np.all(np.isfinite(affine)):
        raise InputGeometryError(f"The affine of {path} holds NaN or infinity; mend the header.")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.allclose(lengths, zooms, atol=_AFFINE_TOLERANCE_MM):
        raise InputGeometryError(
            f"{path} has voxels of {_by(zooms)} mm by its header but of {_by(lengths)} mm by its affine;"
            " mend the header."
        )
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < _MIN_NORMALISED_VOLUME:
        raise InputGeometryError(f"The affine of {path} is singular (its axes lie in a plane); mend the header.")


def _plain_array(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The data with three axes, in native byte order."""
    data = data.reshape(data.shape[:3], order="A")
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _check_intensity(path: Path, data: npt.NDArray[Any]) -> None:
    precision = 0.0
    if data.dtype.kind == "f":
        # A thousand histogram bins must be told apart.
        precision = 1000 * float(np.finfo(data.dtype).eps)
        unusable = data.size - np.count_nonzero(np.isfinite(data))
        if unusable:
            raise InputIntensityError(
                f"{path} holds NaN or infinity in {unusable} of {data.size} voxels; replace them by numbers."
            )
    low, high = float(data.min()), float(data.max())
    largest = max(abs(low), abs(high))
    if largest > MAX_ABS_VALUE:
        raise InputIntensityError(
            f"{path} holds values from {low:g} to {high:g}, which no scanner writes; convert it again."
        )
    if high - low <= max(_ZERO_BELOW, precision * largest):
        raise InputIntensityError(f"{path} holds the value {low:g} in every voxel; give an image of a head.")


def _as_labels(path: Path, data: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    is_label = (data >= 0) & (data <= MAX_LABEL)
    if data.dtype.kind == "f":
        is_label &= np.rint(data) == data
    if not is_label.all():
        raise InputIntensityError(
            f"{path} holds the value {data[~is_label][0]:g}; give a label volume, whole numbers from 0 to {MAX_LABEL}."
        )
    return data.astype(np.int32, copy=False)


def _by(values: Any) -> str:
    return "x".join(f"{value:g}" for value in values)
