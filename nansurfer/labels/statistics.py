"""Volume and intensity of every structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nansurfer.errors import InputGeometryError, InputIntensityError
from nansurfer.labels.classes import map_labels
from nansurfer.labels.regions import Labels
from nansurfer.labels.table import load_table
from nansurfer.volume import mask_box

MIN_BRAIN_VOLUME_ML = 700.0
"""Below this FastSurfer doubts the segmentation."""

_LEVELS = np.arange(256)  # of a uint8 image

_BRAIN_STEM = 16
_VENTRICLES_AND_CHOROID = (4, 5, 31, 43, 44, 63)
_MIDLINE_VENTRICLES_AND_CSF = (14, 15, 24)
_CEREBELLUM = (7, 8, 46, 47)
_CEREBRAL_WHITE_MATTER = (2, 41, 77)
_SUBCORTICAL_GRAY = (10, 11, 12, 13, 17, 18, 26, 28, 49, 50, 51, 52, 53, 54, 58, 60)

_MEASURE_NAMES = {
    "BrainSeg": ("BrainSegVol", "Brain Segmentation Volume"),
    "BrainSegNotVent": ("BrainSegVolNotVent", "Brain Segmentation Volume Without Ventricles"),
    "VentricleChoroidVol": ("VentricleChoroidVol", "Volume of ventricles and choroid plexus"),
    "CerebralWhiteMatter": ("CerebralWhiteMatterVol", "Total cerebral white matter volume"),
    "SubCortGray": ("SubCortGrayVol", "Subcortical gray matter volume"),
    "SupraTentorial": ("SupraTentorialVol", "Supratentorial volume"),
    "SupraTentorialNotVent": ("SupraTentorialVolNotVent", "Supratentorial volume"),
    "Mask": ("MaskVol", "Mask Volume"),
}
"""Name and description of each measure, by the key that FreeSurfer's readers look for."""


@dataclass(frozen=True)
class StructureStats:
    """Size of one structure and, with an image and at least one voxel, its intensities.

    Parameters
    ----------
    label, name
        FreeSurfer's number and name.
    n_voxels
        Voxels that carry the label.
    volume_mm3
        Their volume.
    mean, std, min, max
        Of the T1 inside the structure; ``std`` is the sample's (n - 1), 0 for a single voxel, as
        FreeSurfer's.
    """

    label: int
    name: str
    n_voxels: int
    volume_mm3: float
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None

    @property
    def range(self) -> float | None:
        """``max`` less ``min``."""
        return None if self.max is None or self.min is None else self.max - self.min


@dataclass(frozen=True)
class Measure:
    """One of FreeSurfer's whole-brain measures.

    Parameters
    ----------
    key, name, description
        As FreeSurfer writes them.
    volume_mm3
        The value.
    """

    key: str
    name: str
    description: str
    volume_mm3: float


def volume_statistics(
    labels: Labels,
    image: npt.NDArray[Any] | None,
    voxel_volume_mm3: float,
) -> list[StructureStats]:
    """Statistics of all 95 structures in ascending order of label, those without a voxel included.

    Parameters
    ----------
    labels
        (X, Y, Z), integer: the finished segmentation, after `split_cortex`.
    image
        (X, Y, Z), uint8: the conformed T1; None leaves the intensities out.
    voxel_volume_mm3
        Volume of one voxel.

    Raises
    ------
    ConfigError
        The volume holds labels that a segmentation cannot hold.
    InputGeometryError
        The image's shape is not that of the labels.
    InputIntensityError
        The image is not uint8.

    Notes
    -----
    Volume is voxels times voxel volume. FreeSurfer and FastSurfer correct for partial volumes at the
    borders, and take intensities from a bias-corrected image; neither is done here.
    """
    table = load_table()
    box = mask_box(labels != 0)
    rows = map_labels(labels[box], {label: row for row, label in enumerate(table.labels)})
    if image is None:
        counts = np.bincount(rows.ravel(), minlength=len(table.labels))
        intensities: list[dict[str, float]] = [{}] * len(table.labels)
    else:
        _check_image(image, labels.shape)
        histograms = _histograms(rows, image[box], len(table.labels))
        counts = histograms.sum(axis=1)
        intensities = [_intensities(histogram) for histogram in histograms]
    return [
        StructureStats(label, table.name(label), int(n), int(n) * voxel_volume_mm3, **values)
        for label, n, values in zip(table.labels, counts, intensities, strict=True)
        if label != 0
    ]


def brain_volume_ml(labels: Labels, voxel_volume_mm3: float) -> float:
    """Volume of all labelled voxels in millilitres; FastSurfer's check of a segmentation rests on it."""
    return float(np.count_nonzero(labels > 0)) * voxel_volume_mm3 / 1000


def brain_measures(stats: Sequence[StructureStats], mask_volume_mm3: float | None = None) -> list[Measure]:
    """FreeSurfer's whole-brain volumes, as far as voxels alone define them.

    Parameters
    ----------
    stats
        From `volume_statistics`.
    mask_volume_mm3
        Volume of the brain mask; without it ``Mask`` is left out.

    Notes
    -----
    Definitions of FreeSurfer 7 (``ComputeBrainVolumeStats2``): BrainSeg is all but the brain stem;
    ventricles are the lateral ones with the choroid plexus, the 3rd, the 4th and CSF; supratentorial is all
    of BrainSeg but the cerebellum. Cortical volumes (and so TotalGray) come from surfaces, eTIV from the
    Talairach transform and the sides of WM-hypointensities too, so those are not given.
    """
    volumes = {s.label: s.volume_mm3 for s in stats}

    def total(labels: tuple[int, ...]) -> float:
        return sum(volumes[label] for label in labels)

    brain = sum(volumes.values()) - volumes[_BRAIN_STEM]
    ventricles = total(_VENTRICLES_AND_CHOROID)
    not_tissue = ventricles + total(_MIDLINE_VENTRICLES_AND_CSF)
    supratentorial = brain - total(_CEREBELLUM)
    values = {
        "BrainSeg": brain,
        "BrainSegNotVent": brain - not_tissue,
        "VentricleChoroidVol": ventricles,
        "CerebralWhiteMatter": total(_CEREBRAL_WHITE_MATTER),
        "SubCortGray": total(_SUBCORTICAL_GRAY),
        "SupraTentorial": supratentorial,
        "SupraTentorialNotVent": supratentorial - not_tissue,
    }
    if mask_volume_mm3 is not None:
        values["Mask"] = mask_volume_mm3
    return [Measure(key, *_MEASURE_NAMES[key], value) for key, value in values.items()]


def _check_image(image: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if image.shape != shape:
        raise InputGeometryError(f"The image has shape {image.shape} and the labels {shape}; give the conformed image.")
    if image.dtype != np.uint8:
        raise InputIntensityError(f"The image's values are {image.dtype}, expected uint8; give the conformed image.")


def _histograms(rows: npt.NDArray[np.int16], image: npt.NDArray[np.uint8], n_rows: int) -> npt.NDArray[np.intp]:
    """Voxels of each row's structure at each intensity, (n_rows, 256): all that the statistics need."""
    codes = rows.astype(np.intp) * _LEVELS.size + image
    counts = np.bincount(codes.ravel(), minlength=n_rows * _LEVELS.size)
    return counts.reshape(n_rows, _LEVELS.size)


def _intensities(histogram: npt.NDArray[np.intp]) -> dict[str, float]:
    """Mean, standard deviation, minimum and maximum from a histogram; nothing from an empty one."""
    n = int(histogram.sum())
    if n == 0:
        return {}
    levels = np.flatnonzero(histogram)
    mean = float(histogram @ _LEVELS) / n
    squares = float(histogram @ (_LEVELS - mean) ** 2)
    return {
        "mean": mean,
        "std": float(np.sqrt(squares / max(n - 1, 1))),
        "min": float(levels[0]),
        "max": float(levels[-1]),
    }
