"""What a segmentation gives back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from nansurfer.labels import (
    StructureStats,
    brain_mask,
    brain_volume_ml,
    classes_to_labels,
    reaches_edge,
    reduce_to_aseg,
    split_cortex,
    volume_statistics,
)
from nansurfer.report import SkipReport

_logger = logging.getLogger("nansurfer")


@dataclass(frozen=True)
class SegmentationResult:
    """One segmented subject.

    Parameters
    ----------
    conformed
        The T1 that was segmented: uint8, LIA, isotropic, with the affine that all volumes share.
    labels
        FreeSurfer's labels (aparc.DKTatlas+aseg), int16 (X, Y, Z).
    mask
        Brain mask, uint8 (X, Y, Z), 0 or 1.
    aseg
        Labels without cortical parcels and corpus callosum, uint8 (X, Y, Z).
    stats
        Volume and intensities of each structure.
    brain_volume_ml
        Volume of all labelled voxels.
    timings_s
        Stage of the run to its duration in seconds.
    folder
        The subject's folder; None when nothing was written.
    device, engine
        Where and how the networks were run; empty for a result read from disk.
    skip_report
        What the networks did not compute; None where it was not counted, and for a result read from disk.
    brain_search
        What came of the search for the brain, as in ``nansurfer.json``; None where it was not looked for, and for a
        result read from disk.
    """

    conformed: nib.MGHImage
    labels: npt.NDArray[np.int16]
    mask: npt.NDArray[np.uint8]
    aseg: npt.NDArray[np.uint8]
    stats: list[StructureStats]
    brain_volume_ml: float
    timings_s: Mapping[str, float]
    folder: Path | None
    device: str = ""
    engine: str = ""
    skip_report: SkipReport | None = None
    brain_search: Mapping[str, Any] | None = None


def result_from_classes(
    conformed: nib.MGHImage, classes: npt.NDArray[np.uint8], threads: int = 1
) -> SegmentationResult:
    """The finished segmentation: hemispheres split, masked, reduced and measured.

    A brain at the edge of the volume is a warning. It may go on beyond: the conformed cube has 256 mm at 1 mm, and a T1
    with more is cut there around its centre, as by FastSurfer.

    Parameters
    ----------
    conformed
        The T1 that was segmented.
    classes
        Class of each voxel, uint8 (X, Y, Z), 0..78.
    threads
        How many may work on it.
    """
    labels = split_cortex(classes_to_labels(classes), threads).astype(np.int16, copy=False)
    mask = brain_mask(labels)
    if reaches_edge(mask):
        _logger.warning(
            "The brain reaches the edge of the conformed image: some of it may be cut off, look at the picture."
        )
    return measured(conformed, labels=labels, mask=mask, aseg=reduce_to_aseg(labels, mask))


def measured(
    conformed: nib.MGHImage,
    *,
    labels: npt.NDArray[np.int16],
    mask: npt.NDArray[np.uint8],
    aseg: npt.NDArray[np.uint8],
    timings_s: Mapping[str, float] | None = None,
    folder: Path | None = None,
) -> SegmentationResult:
    """A result with the statistics of its labels."""
    voxel_mm3 = voxel_volume_mm3(conformed)
    return SegmentationResult(
        conformed=conformed,
        labels=labels,
        mask=mask,
        aseg=aseg,
        stats=volume_statistics(labels, np.asanyarray(conformed.dataobj), voxel_mm3),
        brain_volume_ml=brain_volume_ml(labels, voxel_mm3),
        timings_s=timings_s or {},
        folder=folder,
    )


def voxel_volume_mm3(image: nib.MGHImage) -> float:
    """Volume of one voxel in cubic millimetres."""
    return float(np.prod(np.asarray(image.header.get_zooms()[:3], dtype=float)))
