"""Comparing two segmentations of one image: overlap, volumes, surfaces."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from nansurfer.errors import InputGeometryError, InputNotFoundError
from nansurfer.labels import (
    LEFT_CORTEX,
    RIGHT_CORTEX,
    Overlap,
    count_overlap,
    hausdorff95,
    mapped_dk_to_dkt,
    merge_parcels,
    structure_name,
)
from nansurfer.labels.regions import Labels
from nansurfer.volume import mask_box, read_labels

SUBJECT_LABELS = (
    "mri/aparc.DKTatlas+aseg.deep.mgz",
    "mri/aparc.DKTatlas+aseg.mgz",
    "mri/aparc+aseg.mgz",
    "mri/aseg.mgz",
)
"""Label volumes of a subject's folder, the first that exists is taken: nansurfer's and FastSurfer's, then those
of FreeSurfer's ``recon-all`` from the most to the least alike."""

_AFFINE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Region:
    """A structure, or several taken together, in two segmentations A and B.

    Parameters
    ----------
    label, name
        FreeSurfer's number and name; several structures together have no number.
    dice
        0 to 1; nan where neither segmentation has it.
    volume_a_mm3, volume_b_mm3
        Voxels times voxel volume.
    voxels_changed
        Voxels that belong to it in one segmentation only; for all labels together, whose label differs.
    hd95_mm
        95 % Hausdorff distance of the surfaces, see `nansurfer.labels.hausdorff95`; nan where it was not
        asked for or a segmentation lacks the structure.
    """

    label: int | None
    name: str
    dice: float
    volume_a_mm3: float
    volume_b_mm3: float
    voxels_changed: int
    hd95_mm: float = math.nan

    @property
    def volume_difference(self) -> float:
        """B less A as a fraction of A; infinite where A has nothing, nan where neither has."""
        difference = self.volume_b_mm3 - self.volume_a_mm3
        if self.volume_a_mm3 == 0:
            return math.inf if difference else math.nan
        return difference / self.volume_a_mm3


@dataclass(frozen=True, kw_only=True)
class LabelComparison:
    """How label volume B differs from label volume A.

    Parameters
    ----------
    structures
        Ascending by label.
    whole
        All labels together: its Dice is that of the whole volume, where only voxels with the same label count
        as shared.
    foreground
        All labels as one: whether a voxel is labelled at all.
    voxels_labelled
        Voxels that have a label in A or in B.
    """

    structures: tuple[Region, ...]
    whole: Region
    foreground: Region
    voxels_labelled: int

    @property
    def mean_dice(self) -> float:
        """Unweighted mean over the structures that A or B has; nan without any."""
        scores = [s.dice for s in self.structures if not math.isnan(s.dice)]
        return sum(scores) / len(scores) if scores else math.nan


@dataclass(frozen=True, kw_only=True)
class Comparison(LabelComparison):
    """How the segmentation in one file differs from that in another.

    Parameters
    ----------
    pair
        Name of the pair.
    a, b
        The label files.
    notes
        Sentences on what was done to the labels before.
    structures, whole, foreground, voxels_labelled
        See `LabelComparison`.
    """

    pair: str
    a: Path
    b: Path
    notes: tuple[str, ...]


def compare(
    a: str | Path,
    b: str | Path,
    *,
    pair: str = "1",
    structures: Collection[int] | None = None,
    surfaces: Collection[int] | None = (),
    map_dk: bool = False,
) -> Comparison:
    """Compare two label volumes of one grid.

    Parameters
    ----------
    a, b
        Label files or subject folders (see `find_labels`); A is the reference of volume differences.
    pair
        Name for the pair.
    structures
        Labels to compare; by default all that occur.
    surfaces
        Labels to measure the surface distance of; None measures all that are compared. Those missing in
        ``structures`` are added to it.
    map_dk
        Relabel what the DKT protocol lacks first, see `nansurfer.labels.mapped_dk_to_dkt`.

    Raises
    ------
    InputNotFoundError, InputFormatError, InputIntensityError
        As `nansurfer.volume.read_labels`.
    InputGeometryError
        Also where the two grids differ: another shape, or affines that differ by more than 1e-3.

    Notes
    -----
    Where one volume has cortical parcels and the other only the ``aseg``'s cortex (3, 42), the parcels are
    merged into 3 and 42, and a note says so.
    """
    path_a, path_b = find_labels(a), find_labels(b)
    image_a, image_b = read_labels(path_a), read_labels(path_b)
    _check_same_grid(path_a, image_a, path_b, image_b)
    labels_a, labels_b = _labelled_part(image_a, image_b)
    notes = []
    if map_dk:
        labels_a, labels_b = mapped_dk_to_dkt(labels_a), mapped_dk_to_dkt(labels_b)
        notes.append("Desikan-Killiany parcels that DKT lacks, and the corpus callosum, were relabelled.")
    labels_a, labels_b, merged = _merge_cortex_alike(labels_a, labels_b)
    if structures is not None:
        structures = sorted({*structures, *(surfaces or ())})
    measured = compare_labels(labels_a, labels_b, image_a.affine, structures=structures, surfaces=surfaces)
    return Comparison(pair=pair, a=path_a, b=path_b, notes=(*notes, *merged), **vars(measured))


def compare_labels(
    a: Labels,
    b: Labels,
    affine: npt.NDArray[np.floating[Any]],
    *,
    structures: Collection[int] | None = None,
    surfaces: Collection[int] | None = (),
) -> LabelComparison:
    """Compare two label arrays of one grid.

    Parameters
    ----------
    a, b
        (X, Y, Z): integer label volumes of one grid, without negative labels.
    affine
        (4, 4): voxel to world (mm).
    structures, surfaces
        As in `compare`, but structures not compared are not measured.

    Raises
    ------
    InputGeometryError
        The shapes differ.
    """
    counts = count_overlap(a, b, structures)
    voxel_volume_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    measured = [label for label in counts.structures if surfaces is None or label in surfaces]
    distances_mm = hausdorff95(a, b, measured, affine)

    def region(label: int | None, name: str, overlap: Overlap, changed: int) -> Region:
        volumes_mm3 = overlap.voxels_a * voxel_volume_mm3, overlap.voxels_b * voxel_volume_mm3
        distance_mm = math.nan if label is None else distances_mm.get(label, math.nan)
        return Region(label, name, overlap.dice, *volumes_mm3, changed, distance_mm)

    foreground = counts.foreground
    return LabelComparison(
        structures=tuple(region(i, structure_name(i), o, o.voxels_in_one) for i, o in counts.structures.items()),
        whole=region(None, "whole volume", counts.whole, counts.voxels_changed),
        foreground=region(None, "foreground", foreground, foreground.voxels_in_one),
        voxels_labelled=foreground.voxels_both + foreground.voxels_in_one,
    )


def by_structure(comparisons: Iterable[Comparison]) -> list[list[Region]]:
    """Each structure's regions, one a comparison that has the structure; ascending by label."""
    regions: dict[int, list[Region]] = {}
    for comparison in comparisons:
        for region in comparison.structures:
            regions.setdefault(region.label or 0, []).append(region)
    return [regions[label] for label in sorted(regions)]


def find_labels(path: str | Path) -> Path:
    """The label file that a path stands for: the file itself, or the first of `SUBJECT_LABELS` in a folder.

    Raises
    ------
    InputNotFoundError
        There is no such file or folder, or the folder holds none of them.
    """
    path = Path(path)
    if not path.exists():
        raise InputNotFoundError(f"{path} does not exist; give a label file or a subject folder.")
    if not path.is_dir():
        return path
    for name in SUBJECT_LABELS:
        if (path / name).is_file():
            return path / name
    raise InputNotFoundError(f"{path} is no subject folder: it holds none of {', '.join(SUBJECT_LABELS)}.")


def _check_same_grid(path_a: Path, a: SpatialImage, path_b: Path, b: SpatialImage) -> None:
    advice = "resample one onto the other's grid, by nearest label."
    if a.shape != b.shape:
        shape_a, shape_b = ("x".join(map(str, image.shape)) for image in (a, b))
        raise InputGeometryError(f"{path_a} has {shape_a} voxels but {path_b} has {shape_b}; {advice}")
    deviation = float(np.abs(a.affine - b.affine).max())
    if deviation > _AFFINE_TOLERANCE:
        raise InputGeometryError(
            f"{path_a} and {path_b} lie on different grids (their affines differ by up to {deviation:.3g}); {advice}"
        )


def _labelled_part(a: SpatialImage, b: SpatialImage) -> tuple[Labels, Labels]:
    """Both volumes cut to the box that holds all labels; no measure depends on what is outside."""
    labels_a, labels_b = np.asarray(a.dataobj), np.asarray(b.dataobj)
    box = mask_box((labels_a != 0) | (labels_b != 0))
    return labels_a[box], labels_b[box]


def _merge_cortex_alike(a: Labels, b: Labels) -> tuple[Labels, Labels, Sequence[str]]:
    """Merge one volume's parcels where the other has only whole cortex, and say so."""
    note = "The cortical parcels of {} were merged into 3 and 42, for {} has none."
    cortex_a, cortex_b = _cortex(a), _cortex(b)
    if (cortex_a, cortex_b) == ("parcels", "whole"):
        return merge_parcels(a), b, [note.format("A", "B")]
    if (cortex_a, cortex_b) == ("whole", "parcels"):
        return a, merge_parcels(b), [note.format("B", "A")]
    return a, b, []


def _cortex(labels: Labels) -> Literal["parcels", "whole", "none"]:
    """How a volume labels the cortex."""
    present = np.flatnonzero(np.bincount(labels.ravel()))
    if np.any((present >= 1000) & (present < 3000)):
        return "parcels"
    return "whole" if np.isin(present, (LEFT_CORTEX, RIGHT_CORTEX)).any() else "none"
