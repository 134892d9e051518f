"""A subject's folder, laid out as FreeSurfer's: all of it, or nothing.

Everything is written into a hidden folder beside the subject's and moved into place at the end, the run record
last: a folder that holds the record is complete.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from nansurfer.errors import OutputError
from nansurfer.files import atomic_path
from nansurfer.labels import load_table, write_stats, write_volumes_csv
from nansurfer.pipeline.result import SegmentationResult, measured, voxel_volume_mm3
from nansurfer.report.mosaic import mosaic, save_mosaic
from nansurfer.volume import label_image, save_image, to_native

RECORD = Path("nansurfer.json")
ORIGINAL = Path("mri/orig/001.mgz")
CONFORMED = Path("mri/orig.mgz")
LABELS = Path("mri/aparc.DKTatlas+aseg.deep.mgz")
MASK = Path("mri/mask.mgz")
ASEG = Path("mri/aseg.auto_noCCseg.mgz")
NATIVE_LABELS = Path("mri/aparc.DKTatlas+aseg.deep.native.nii.gz")
STATS = Path("stats/aseg+DKT.stats")
VOLUMES = Path("stats/volumes.csv")
PICTURE = Path("qc/segmentation.png")


def is_finished(folder: Path) -> bool:
    """Whether a subject's folder holds a complete segmentation."""
    return (folder / RECORD).is_file()


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder whose files replace those in ``folder`` when the block ends without an error.

    Raises
    ------
    OutputError
        The parent folder cannot be made or written, or a file cannot be moved.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent)
    except OSError as error:
        raise OutputError(
            f"The output folder {folder.parent} cannot be written ({error.strerror}); choose another --output-dir."
        ) from error
    with staging as name:
        yield Path(name)
        try:
            _move_into_place(Path(name), folder)
        except OSError as error:
            raise OutputError(f"The results could not be moved to {folder} ({error.strerror}).") from error


def _move_into_place(staging: Path, folder: Path) -> None:
    """Every file below ``staging`` to the same place below ``folder``, the record last."""
    folder.mkdir(exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    files = [path.relative_to(staging) for path in staging.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path == RECORD):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / path).replace(folder / path)


def write_outputs(
    folder: Path, original: SpatialImage, result: SegmentationResult, *, sid: str, native: bool, caption: str
) -> None:
    """All files but the record, below ``folder``.

    Raises
    ------
    OutputError
        A file cannot be written, or the disk is full.
    """
    conformed, labels = result.conformed, result.labels
    save_image(original, folder / ORIGINAL)
    save_image(label_image(np.asanyarray(conformed.dataobj), conformed, np.uint8), folder / CONFORMED)
    save_image(label_image(labels, conformed, np.int16), folder / LABELS)
    save_image(label_image(result.mask, conformed, np.uint8), folder / MASK)
    save_image(label_image(result.aseg, conformed, np.uint8), folder / ASEG)
    if native:
        save_image(to_native(labels, conformed.affine, original), folder / NATIVE_LABELS)
    write_stats(
        folder / STATS,
        result.stats,
        subject=sid,
        voxel_volume_mm3=voxel_volume_mm3(conformed),
        mask_volume_mm3=float(result.mask.sum()) * voxel_volume_mm3(conformed),
    )
    write_volumes_csv(folder / VOLUMES, result.stats)
    picture = mosaic(np.asanyarray(conformed.dataobj), labels, load_table(), affine=conformed.affine, caption=caption)
    save_mosaic(picture, folder / PICTURE)


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """The run record ``nansurfer.json``: what was run, on what, with what, and how long it took.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with atomic_path(folder / RECORD) as path:
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def load_result(folder: Path) -> SegmentationResult:
    """The segmentation that a finished folder holds, its statistics measured anew.

    Raises
    ------
    OutputError
        A file is missing or damaged.
    """
    try:
        images = {path: nib.MGHImage.from_filename(folder / path) for path in (CONFORMED, LABELS, MASK, ASEG)}
        arrays = {path: np.asarray(image.dataobj) for path, image in images.items()}
        timings_s = json.loads((folder / RECORD).read_text(encoding="utf-8"))["timings_s"]
    except (OSError, EOFError, ValueError, KeyError, nib.filebasedimages.ImageFileError) as error:
        raise OutputError(
            f"{folder} looks finished but cannot be read ({error}); run again with --overwrite."
        ) from error
    return measured(
        images[CONFORMED],
        labels=arrays[LABELS].astype(np.int16),
        mask=arrays[MASK],
        aseg=arrays[ASEG],
        timings_s=timings_s,
        folder=folder,
    )
