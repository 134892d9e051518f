"""The BIDS derivatives of one subject: labels and brain mask on the grid of its T1.

The derivatives lie on the raw T1's own grid and carry no ``space-`` and no ``res-``: they can be laid over the T1
voxel by voxel, and are named as fMRIPrep's in its ``T1w`` space. The conformed volumes stay in the subject's
FreeSurfer folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nansurfer.batch.subjects import Subject
from nansurfer.errors import NansurferError
from nansurfer.files import atomic_path
from nansurfer.pipeline.outputs import ASEG, LABELS, MASK, RECORD
from nansurfer.volume import read_image, read_labels, save_image, to_native

FREESURFER = Path("sourcedata/freesurfer")
"""Where a derivative dataset keeps the subjects' FreeSurfer folders, as fMRIPrep does; validators pass it over."""

RAW = "raw"
"""Name of the raw dataset in BIDS URIs; ``DatasetLinks`` says where it is."""

_MAX_THREADS = 8  # each holds several volumes


@dataclass(frozen=True)
class Derivative:
    """One image a subject.

    Parameters
    ----------
    source
        The volume in the subject's FreeSurfer folder.
    ending
        What follows the entities of the T1 in the file's name.
    dtype
        Voxel type.
    facts
        What the sidecar says beyond what all say.
    """

    source: Path
    ending: str
    dtype: type[np.integer[Any]]
    facts: Mapping[str, Any]


LABELS_DSEG = Derivative(
    LABELS,
    "desc-aparcaseg_dseg",
    np.int16,
    {"Description": "Subcortical structures and cortical parcels (DKT), FreeSurfer's labels.", "Manual": False},
)
ASEG_DSEG = Derivative(
    ASEG,
    "desc-aseg_dseg",
    np.uint8,
    {"Description": "Subcortical structures and cortex, FreeSurfer's labels.", "Manual": False},
)
BRAIN_MASK = Derivative(
    MASK, "desc-brain_mask", np.uint8, {"Description": "Brain, without gaps between its folds.", "Type": "Brain"}
)
DERIVATIVES = (LABELS_DSEG, ASEG_DSEG, BRAIN_MASK)


def write_all_derivatives(
    subjects: Sequence[Subject], dataset: Path, output: Path, threads: int
) -> dict[str, NansurferError]:
    """Write the derivatives of segmented subjects; returned are those that failed, which do not stop the others.

    Parameters
    ----------
    subjects, dataset, output
        As of `write_derivatives`.
    threads
        Subjects at a time, of which there are 8 at most.
    """

    def failure(subject: Subject) -> NansurferError | None:
        try:
            write_derivatives(subject, dataset, output)
        except NansurferError as error:
            return error
        return None

    with ThreadPoolExecutor(min(threads, _MAX_THREADS)) as pool:
        failures = list(pool.map(failure, subjects))
    return {subject.sid: error for subject, error in zip(subjects, failures, strict=True) if error}


def write_derivatives(subject: Subject, dataset: Path, output: Path) -> None:
    """Write the images and sidecars of a segmented subject, unless they are newer than the segmentation.

    Parameters
    ----------
    subject
        Its T1 lies in ``dataset``.
    dataset
        The raw BIDS dataset.
    output
        The derivative dataset, which holds the segmented subject in ``sourcedata/freesurfer``.

    Raises
    ------
    NansurferError
        The T1 or the segmentation cannot be read any more, or a file cannot be written.
    """
    segmented, raw = output / FREESURFER / subject.sid, subject.path.relative_to(dataset)
    stem = output / raw.with_name(subject.sid)
    if _is_current(stem, segmented / RECORD):
        return
    t1 = read_image(subject.path)
    for derivative in DERIVATIVES:
        labels = read_labels(segmented / derivative.source)
        native = to_native(np.asarray(labels.dataobj), labels.affine, t1)
        native.set_data_dtype(derivative.dtype)
        save_image(native, _path(stem, derivative, ".nii.gz"))
        write_json(_path(stem, derivative, ".json"), _sidecar(derivative, raw))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file as BIDS tools do, indented.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _path(stem: Path, derivative: Derivative, suffix: str) -> Path:
    return stem.with_name(f"{stem.name}_{derivative.ending}{suffix}")


def _is_current(stem: Path, record: Path) -> bool:
    """Whether everything is there and younger than the segmentation, whose record is written last."""
    files = [_path(stem, derivative, suffix) for derivative in DERIVATIVES for suffix in (".nii.gz", ".json")]
    segmented_ns = record.stat().st_mtime_ns
    return all(file.is_file() and file.stat().st_mtime_ns >= segmented_ns for file in files)


def shared_facts(derivative: Derivative) -> dict[str, Any]:
    """What the sidecars of a derivative say for all subjects.

    ``Resolution`` belongs to ``res-``, and ``SkullStripped`` to images that are neither masks nor segmentations.
    """
    return {**derivative.facts, "SpatialReference": "orig"}


def _sidecar(derivative: Derivative, raw: Path) -> dict[str, Any]:
    return {**shared_facts(derivative), "Sources": [f"bids:{RAW}:{raw.as_posix()}"]}
