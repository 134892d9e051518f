"""A subject's folder, laid out as FreeSurfer's: all of it, or nothing.

Everything is written into a hidden folder beside the subject's and moved into place at the end, the run record
last: a folder that holds the record is complete.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from nansurfer.errors import BusyError, InputNotFoundError, OccupiedError, OutputError
from nansurfer.files import atomic_path, locked, sha256
from nansurfer.labels import load_table, write_stats, write_volumes_csv
from nansurfer.pipeline.options import SegmentOptions
from nansurfer.pipeline.result import SegmentationResult, measured, voxel_volume_mm3
from nansurfer.pipeline.skipping import SkipOptions
from nansurfer.report import SKIP_REPORT_FILES, mosaic, save_mosaic, save_thumbnail, write_skip_report
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
THUMBNAIL = Path("qc/thumbnail.jpg")
REPORT = Path("report")
_VOLUMES_AND_STATS = (ORIGINAL, CONFORMED, LABELS, MASK, ASEG, STATS)
_UNFINISHED = "-unfinished"  # ends the name of the hidden folder
_DECISIVE = (
    *("weights", "views", "vox_size", "fastsurfer_compat", "native", "precision"),
    *(field.name for field in fields(SkipOptions)),
)
"""Options by which the labels differ, or whether they are there."""


def is_finished(folder: Path) -> bool:
    """Whether a subject's folder holds a complete segmentation."""
    with suppress(OSError):  # a folder that may not be entered, a name too long: writing will say so
        return (folder / RECORD).is_file()
    return False


def holds_result_of(folder: Path, path: Path) -> bool:
    """Whether a subject's folder holds the complete segmentation of that very file.

    Raises
    ------
    InputNotFoundError
        The file is there but may not be read.
    OccupiedError
        It holds the segmentation of another file, another program's files, or a record that cannot be read.
    """
    if not is_finished(folder):
        _check_nothing_is_replaced(folder)
        return False
    recorded = _read_record(folder)["input"]
    try:
        found = sha256(path) if path.is_file() else recorded["sha256"]
    except OSError as error:
        raise InputNotFoundError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    if found != recorded["sha256"]:
        raise OccupiedError(
            f"{folder} holds the segmentation of another image, {recorded['path']}; choose another subject "
            "name, or replace it with --overwrite."
        )
    return True


def _check_nothing_is_replaced(folder: Path) -> None:
    """FreeSurfer and FastSurfer give some files the same names: a subject of theirs keeps its own."""
    with suppress(OSError):  # writing will say so
        if theirs := [path for path in _VOLUMES_AND_STATS if (folder / path).exists()]:
            raise OccupiedError(
                f"{folder} holds {theirs[0]} but no {RECORD}: it is another program's, or half replaced; choose another"
                " folder or subject name, or replace it with --overwrite."
            )


def other_choices(folder: Path, options: SegmentOptions) -> str:
    """How a finished subject was segmented, where these options would give other labels; empty if they would not.

    In words: ``"weights compact instead of official, views coronal instead of axial,coronal,sagittal"``.

    Raises
    ------
    OutputError
        Its record cannot be read.
    """
    then = _decisive(_read_record(folder).get("options", {}))
    now = _decisive(json.loads(json.dumps(asdict(options))))  # as it will be read back: lists for tuples
    differ = [name for name in then if then[name] != now.get(name)]
    return ", ".join(f"{name} {_in_words(then[name])} instead of {_in_words(now.get(name))}" for name in differ)


def _decisive(options: Mapping[str, Any]) -> dict[str, Any]:
    flat = {**options, **options.get("skip", {}), **options.get("compute", {})}
    return {name: flat[name] for name in _DECISIVE if name in flat}


def _in_words(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder whose files replace those in ``folder`` when the block ends without an error.

    The subject is locked meanwhile; what a run that was killed has left of it is removed.

    Raises
    ------
    BusyError
        Another run is at work on the same subject.
    OutputError
        The folder or its parent cannot be made or written, or a file cannot be moved.
    """
    with _locked_subject(folder):
        staging = _new_staging(folder)
        try:
            yield staging
            try:
                _move_into_place(staging, folder)
            except OSError as error:
                raise OutputError(f"The results could not be moved to {folder} ({error.strerror}).") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def discard_unfinished(folder: Path) -> None:
    """Remove what a run that was killed has left of a subject; a run that is at work on it is not disturbed."""
    with suppress(OutputError), _locked_subject(folder):
        shutil.rmtree(_staging_of(folder), ignore_errors=True)


def subjects_at_hand(output_dir: Path) -> set[str]:
    """Names of the subjects below a folder whose results are being written, or were when a run was killed."""
    return {path.name[1 : -len(_UNFINISHED)] for path in output_dir.glob(f".*{_UNFINISHED}")}


def _new_staging(folder: Path) -> Path:
    staging = _staging_of(folder)
    _check_may_be_filled(folder)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
    except OSError as error:
        raise OutputError(_not_writable(folder.parent, error)) from error
    return staging


def _staging_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{_UNFINISHED}")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs from a folder that is filled bit by bit; it goes again if nothing came to lie in it.

    Raises
    ------
    BusyError
        Another run is at work on it.
    OutputError
        It cannot be made or written.
    """
    try:
        with _alone_at_work(folder, folder / ".lock"):
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _locked_subject(folder: Path) -> AbstractContextManager[None]:
    return _alone_at_work(folder, folder.with_name(f".{folder.name}-lock"))


@contextmanager
def _alone_at_work(folder: Path, lock: Path) -> Iterator[None]:
    """Hold the file ``lock``, whose own folder is made for it, as the only run on ``folder``."""
    with ExitStack() as stack:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(lock, wait=False))
        except BusyError as error:
            raise BusyError(f"Another run is at work on {folder}; wait until it has ended.") from error
        except OSError as error:
            raise OutputError(_not_writable(lock.parent, error)) from error
        yield


def _not_writable(folder: Path, error: OSError) -> str:
    return f"The output folder {folder} cannot be written ({error.strerror}); choose another."


def _check_may_be_filled(folder: Path) -> None:
    """Better now than when the result is there."""
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise OutputError(f"{folder} is no folder that may be written to; choose another folder or subject name.")


def _move_into_place(staging: Path, folder: Path) -> None:
    """Every file below ``staging`` to the same place below ``folder``, the record last.

    What an earlier run left and this one does not write is removed: it belongs to another segmentation.
    """
    if not folder.exists():
        staging.rename(folder)
        return
    for path in (RECORD, NATIVE_LABELS, *(REPORT / name for name in SKIP_REPORT_FILES)):
        (folder / path).unlink(missing_ok=True)
    with suppress(OSError):  # not there, or it holds what is not ours
        (folder / REPORT).rmdir()
    files = [path.relative_to(staging) for path in staging.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path == RECORD):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / path).replace(folder / path)


def write_outputs(
    folder: Path,
    original: SpatialImage,
    result: SegmentationResult,
    *,
    sid: str,
    native: bool,
    caption: str,
    threads: int,
) -> float:
    """All files but the record, below ``folder``, written by so many threads at once.

    Returns
    -------
    float
        Seconds that the skip report took; 0 without one.

    Raises
    ------
    OutputError
        A file cannot be written, or the disk is full.
    """
    conformed, labels = result.conformed, result.labels
    volumes = {CONFORMED: np.asanyarray(conformed.dataobj), LABELS: labels, MASK: result.mask, ASEG: result.aseg}
    with ThreadPoolExecutor(threads) as pool:  # what takes longest first
        pictures = pool.submit(_write_pictures, folder, result, caption)
        report = pool.submit(_write_report, folder / REPORT, result, sid)
        others = [pool.submit(_write_volume, folder / path, data, conformed) for path, data in volumes.items()]
        others.append(pool.submit(save_image, original, folder / ORIGINAL))
        if native:
            others.append(pool.submit(_write_native, folder / NATIVE_LABELS, result, original))
        others.append(pool.submit(_write_statistics, folder, result, sid))
        for written in (pictures, *others):
            written.result()
        return report.result()


def _write_volume(path: Path, data: npt.NDArray[Any], conformed: nib.MGHImage) -> None:
    save_image(label_image(data, conformed, data.dtype), path)


def _write_native(path: Path, result: SegmentationResult, original: SpatialImage) -> None:
    save_image(to_native(result.labels, result.conformed.affine, original), path)


def _write_statistics(folder: Path, result: SegmentationResult, sid: str) -> None:
    voxel_mm3 = voxel_volume_mm3(result.conformed)
    mask_mm3 = float(result.mask.sum()) * voxel_mm3
    write_stats(folder / STATS, result.stats, subject=sid, voxel_volume_mm3=voxel_mm3, mask_volume_mm3=mask_mm3)
    write_volumes_csv(folder / VOLUMES, result.stats)


def _write_pictures(folder: Path, result: SegmentationResult, caption: str) -> None:
    t1, affine = np.asanyarray(result.conformed.dataobj), result.conformed.affine
    picture = mosaic(t1, result.labels, load_table(), affine=affine, caption=caption)
    save_mosaic(picture, folder / PICTURE)
    save_thumbnail(picture, folder / THUMBNAIL)


def _write_report(folder: Path, result: SegmentationResult, sid: str) -> float:
    """The seconds that it took."""
    if result.skip_report is None:
        return 0.0
    started = perf_counter()
    write_skip_report(folder, replace(result.skip_report, sid=sid), result.conformed, result.labels)
    return perf_counter() - started


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """The run record ``nansurfer.json``: what was run, on what, with what, and how long it took.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with atomic_path(folder / RECORD) as path:
        path.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")


def load_result(folder: Path) -> SegmentationResult:
    """The segmentation that a finished folder holds, its statistics measured anew.

    Raises
    ------
    OutputError
        A file is missing or damaged.
    """
    timings_s = _read_record(folder)["timings_s"]
    with _damage_reported(folder):
        images = {path: nib.MGHImage.from_filename(folder / path) for path in (CONFORMED, LABELS, MASK, ASEG)}
        arrays = {path: np.asarray(image.dataobj) for path, image in images.items()}
    return measured(
        images[CONFORMED],
        labels=arrays[LABELS].astype(np.int16),
        mask=arrays[MASK],
        aseg=arrays[ASEG],
        timings_s=timings_s,
        folder=folder,
    )


def _read_record(folder: Path) -> dict[str, Any]:
    """The run record of a finished folder, with the entries that this program relies on."""
    with _damage_reported(folder):
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if not (isinstance(record, dict) and {"input", "timings_s"} <= set(record)):
            raise ValueError(f"{RECORD} is no run record")
    return record


@contextmanager
def _damage_reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error, nib.filebasedimages.ImageFileError) as error:
        raise OccupiedError(
            f"{folder} looks finished but cannot be read ({error}); run again with --overwrite."
        ) from error
