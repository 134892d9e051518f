"""Label maps and what is known of their labels: what synthetic T1s are painted from.

The maps and the priors of intensities are SynthSeg's (Billot et al., Medical Image Analysis 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from nansurfer.errors import NansurferError
from nansurfer.labels import labels_to_classes
from nansurfer.volume import VIEWS, read_labels

VOLUME = 256  # side of the conformed cube, in voxels of 1 mm
FLUID, INNER_FLUID = 24, 72
FREESURFER = {INNER_FLUID: 24, 25: 77, 57: 77, 136: 31, 137: 31, 163: 63, 164: 63}
"""FreeSurfer's numbers of what it also has: CSF, white-matter hypointensities (by side in the maps), choroid plexus."""
MAPS_OWN = {label: own for own, label in reversed(FREESURFER.items())}
"""The maps' first number of each of these."""
LESIONS = {25: 2, 57: 41}
"""White-matter hypointensities of the maps, and the white matter that healthy heads have there."""
ABSENT = {FLUID: 0, 30: 2, 62: 41, 85: 0}
"""Labels of the maps without a class of their own: fluid around the brain is none, vessels are the white matter they
lie in."""
THALAMI, WHITE_MATTER = (10, 49), (2, 41)
LATERAL_VENTRICLES = (4, 43)
HEADS, AVERAGES = "heads", "averages"
CEDED = {
    HEADS: {2: {10: 0.22, 11: 0.38, 13: 0.33, 28: 0.22}, 18: {3: 0.33}, 26: {3: 0.33}},
    AVERAGES: {
        2: {10: 0.28, 13: 0.33, 28: 0.32},
        4: {11: 0.4, 136: 0.35, 137: 0.35},
        5: {17: 0.32, 18: 0.32},
        8: {7: 0.35},
        10: {136: 0.35, 137: 0.35},
        11: {2: 0.33},
    },
}
"""What takes the outermost voxels of which structures in FreeSurfer's labels, in heads and in averages of them, and the
share of it beside a voxel from which on it does; left numbers stand for both sides, 3 for all of the cortex. Nuclei are
grey for most of a voxel beyond FreeSurfer's labels, and the maps' reach as far; its amygdala and accumbens are larger
than the maps'. In averages, votes leave too much of cerebellar white matter and choroid plexus, and put the caudate too
far into the ventricle."""
FAINT = {5: 0.35, 14: 0.6, 15: 0.45, INNER_FLUID: 0.6}
"""Share of the cortex's contrast to fluid from which on a voxel of a thin ventricle is labelled as what is beside it.
FreeSurfer labels what is dark, and real heads hold more that is half dark than it labels."""
INNER_FLUID_BOX = ((-0.3, 0.3), (-0.9, 0.6), (-0.65, 0.85))  # LIA; the box around both thalami is -1..1 along each axis
EXTRA_CEREBRAL = range(500, 1000)
LIFT = {8: 0.4, 10: 0.35, 11: 0.4, 13: 0.2, 16: 0.2, 17: 0.25, 18: 0.25, 25: 0.5, 26: 0.4, 28: 0.3, 136: 0.7, 137: 0.7}
"""How much brighter a structure may be than its prior, as a share of white matter's contrast to cortex.
The priors have nuclei and the cerebellum's cortex as dark as the cerebrum's, thalamus and pallidum well below white
matter, and choroid plexus nearly as dark as fluid; T1s do not."""
FOLIATED = (8, 47)
_RIM = 3  # voxels of fluid around a segmented brain, where the maps have all of a head
SPLIT_SIDES = ((2, 41), (25, 57), (30, 62), (136, 163), (137, 164), (26, 58), (28, 60), (17, 53), (18, 54))
SPLIT_SIDES += ((3, 42), (29, 61), (31, 63))  # FreeSurfer's, not in the maps
SPLIT_SIDES += tuple((left, left + 39) for left in (4, 5, 7, 8, 10, 11, 12, 13))


@dataclass(frozen=True)
class Cession:
    """What a structure takes from those around it.

    Parameters
    ----------
    taker
        Whether a label is that structure, bool (K,).
    limit
        Share of it beside a voxel of each label from which on it takes the voxel, float (K,); 1, if it does not.
    successor
        Index of the structure's label on each label's side, int64 (K,); left, if it has none.
    """

    taker: Tensor
    limit: Tensor
    successor: Tensor


@dataclass(frozen=True)
class Atlas:
    """Label maps and what is known of each of their labels; K labels occur in all.

    Parameters
    ----------
    maps
        Index of the label at each voxel, uint8 (maps, 256, 256, 256), LIA; heads first, then brains alone.
    heads
        How many of the maps are heads.
    centers, extents
        Centre of the brain and half its size along each axis, float (maps, 3), in voxels.
    alignments
        Affine from the heads' common space, offsets in mm from the middle of a symmetric brain, to voxels of each of
        them, float (heads, 3, 4).
    mirrored
        Index of each label's counterpart in the other hemisphere, int64 (K,).
    healthy
        Index of each label, or of the white matter that a lesion lies in, int64 (K,).
    brain, head, cortex, white, foliated, fluid
        Whether a label belongs to the brain; to the head around it, fluid left out; to the cerebral cortex; to the
        cerebral white matter; to the cerebellar cortex; is the fluid around the brain. Bool (K,).
    classes
        View to the class of each label, int64 (K,).
    structures, tissues
        Index of each label's structure, int64 (K,): both sides and all of the cortex are one; of its tissue, to which
        several structures may belong.
    elected
        Index of what each label is in an average of heads, int64 (K,): one for all that is not brain, and one for all
        parcels of a side.
    lift, faint
        What :data:`LIFT` and :data:`FAINT` say of each label, float (K,); 0, if nothing.
    cessions
        What :data:`CEDED` says: one of each structure that takes from others.
    fitted
        Whether a label fits the image well, bool (K,), as those of cerebral cortex and white matter do, which come from
        surfaces, those of fluid, which is dark, and what is around the brain.
    mean, mean_spread, std, std_spread
        Normal priors of each label's mean intensity and standard deviation, float (K,), on a 0..255 scale.
    """

    maps: Tensor
    heads: int
    centers: Tensor
    extents: Tensor
    alignments: Tensor
    mirrored: Tensor
    healthy: Tensor
    brain: Tensor
    head: Tensor
    cortex: Tensor
    white: Tensor
    foliated: Tensor
    fluid: Tensor
    classes: dict[str, Tensor]
    structures: Tensor
    tissues: Tensor
    elected: Tensor
    lift: Tensor
    faint: Tensor
    cessions: dict[str, list[Cession]]
    fitted: Tensor
    mean: Tensor
    mean_spread: Tensor
    std: Tensor
    std_spread: Tensor

    @property
    def device(self) -> torch.device:
        """Device that all tensors lie on."""
        return self.maps.device


def load_atlas(folder: Path, device: torch.device) -> Atlas:
    """The label maps and T1 priors in ``folder`` (``labelmaps/`` and ``labels/``).

    What FastSurfer segmented, if ``labels/`` has any, is painted as well: brains alone, with its habits at borders.
    """
    volumes = [_read_head(path) for path in sorted((folder / "labelmaps").glob("seg_*.nii.gz"))]
    heads = len(volumes)
    if not heads:
        raise SystemExit(
            f"{folder / 'labelmaps'} has no seg_*.nii.gz; --data is the folder with labelmaps/ and labels/."
        )
    segmented = sorted((folder / "labels").glob("*DKTatlas+aseg.deep.mgz"))
    volumes += [in_fluid(_read_labels(path)) for path in segmented]
    labels = np.unique(np.concatenate([np.unique(volume) for volume in volumes]))
    index = np.zeros(labels.max() + 1, np.uint8)
    index[labels] = np.arange(labels.size)
    freesurfer = np.array([_freesurfer_label(int(label)) for label in labels])
    brain = freesurfer > 0
    maps = [index[volume] for volume in volumes]
    boxes = [_bounds(brain[indices]) for indices in maps]
    others = np.array([other_side(int(label)) for label in labels])
    mirrored = index[others]
    structures = np.array([_structure(int(label)) for label in labels])
    elected = np.where(labels < 1000, labels, labels // 1000 * 1000) * brain
    tissues = _tissues(folder / "labels", labels)
    priors = _intensity_priors(folder / "labels")[:, tissues]

    def put(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(np.asarray(array)).to(device, dtype)

    def cession(taker: int, limits: dict[int, float]) -> Cession:
        return Cession(
            taker=put(structures == taker, torch.bool),
            limit=put([limits.get(structure, 1) for structure in structures]),
            successor=put(index[np.where(others < labels, other_side(taker), taker)], torch.int64),
        )

    return Atlas(
        maps=torch.stack([put(indices, torch.uint8) for indices in maps]),
        heads=heads,
        centers=put(np.array([(low + high) / 2 for low, high in boxes])),
        extents=put(np.array([(high - low) / 2 for low, high in boxes])),
        alignments=put(align(maps[:heads], brain, mirrored)),
        mirrored=put(mirrored, torch.int64),
        healthy=put(index[[LESIONS.get(int(label), int(label)) for label in labels]], torch.int64),
        brain=put(brain, torch.bool),
        head=put([int(label) in EXTRA_CEREBRAL for label in labels], torch.bool),
        cortex=put(labels >= 1000, torch.bool),
        white=put(np.isin(labels, WHITE_MATTER), torch.bool),
        foliated=put(np.isin(labels, FOLIATED), torch.bool),
        fluid=put(labels == FLUID, torch.bool),
        classes={view: put(labels_to_classes(freesurfer, view), torch.int64) for view in VIEWS},
        structures=put(np.unique(structures, return_inverse=True)[1], torch.int64),
        tissues=put(tissues, torch.int64),
        elected=put(np.unique(elected, return_inverse=True)[1], torch.int64),
        lift=put([LIFT.get(structure, 0) for structure in structures]),
        faint=put([FAINT.get(structure, 0) for structure in structures]),
        cessions={kind: [cession(taker, limits) for taker, limits in ceded.items()] for kind, ceded in CEDED.items()},
        fitted=put([_fitted(int(label)) for label in labels], torch.bool),
        mean=put(priors[0]),
        mean_spread=put(priors[1]),
        std=put(priors[2]),
        std_spread=put(priors[3]),
    )


def _read_head(path: Path) -> np.ndarray:
    try:
        return split_fluid(_read_labels(path))
    except ValueError as error:
        raise SystemExit(f"{path} is no map of a head: {error}.") from error


def _read_labels(path: Path) -> np.ndarray:
    try:
        image = read_labels(path)
    except NansurferError as error:
        raise SystemExit(str(error)) from error
    if image.shape != (VOLUME,) * 3 or nib.aff2axcodes(image.affine) != ("L", "I", "A"):
        raise SystemExit(f"{path} is not conformed: labels are painted from {VOLUME}x{VOLUME}x{VOLUME} voxels, LIA.")
    return np.asanyarray(image.dataobj).astype(np.int16)


def split_fluid(volume: np.ndarray) -> np.ndarray:
    """Number fluid between the thalami, which is what FreeSurfer calls CSF, apart from that around the brain.

    The maps have one label for both. The box is that of FastSurfer's CSF in subject-140, in parts of the thalami's.

    Parameters
    ----------
    volume
        Labels, int16 (256, 256, 256), LIA; changed in place and returned.

    Raises
    ------
    ValueError
        If there are no thalami.
    """
    thalami = np.isin(volume, THALAMI)
    if not thalami.any():
        raise ValueError("it has no thalamus")
    low, high = _bounds(thalami)
    middle, half = (low + high) / 2, (high - low) / 2
    box = tuple(
        slice(math.ceil(m + start * h), math.floor(m + stop * h) + 1)
        for m, h, (start, stop) in zip(middle, half, INNER_FLUID_BOX, strict=True)
    )
    inner = volume[box]
    inner[inner == FLUID] = INNER_FLUID
    return volume


def align(heads: list[np.ndarray], brain: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Affine from a common, symmetric space to each head, by least squares on where structures have their middle.

    Parameters
    ----------
    heads
        Index of the label at each voxel, each (256, 256, 256), LIA.
    brain
        Whether a label belongs to the brain, bool (K,).
    mirrored
        Index of each label's counterpart in the other hemisphere, (K,).

    Returns
    -------
    Float (heads, 3, 4): from offsets in mm from the middle of the common brain to voxels.
    """
    middles = np.array([_middles(head, brain) for head in heads])
    offsets = (middles - np.nanmean(middles, axis=1, keepdims=True)).mean(axis=0)
    offsets = (offsets + offsets[mirrored] * (-1, 1, 1)) / 2
    common = ~np.isnan(offsets).any(axis=1)
    offsets, middles = offsets[common], middles[:, common]
    known = np.column_stack([offsets, np.ones(len(offsets))])
    # Departures from the identity are sought: of what few structures cannot tell, there is none.
    return np.array([np.eye(3, 4) + np.linalg.lstsq(known, found - offsets, rcond=None)[0].T for found in middles])


def _middles(head: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Mean position (K, 3) of the voxels of each label of the brain, in voxels; NaN, if there are none."""
    voxels = np.nonzero(brain[head])
    found = head[voxels]
    counts = np.bincount(found, minlength=len(brain))
    sums = np.column_stack([np.bincount(found, weights=positions, minlength=len(brain)) for positions in voxels])
    return np.divide(sums, counts[:, None], out=np.full(sums.shape, np.nan), where=counts[:, None] > 0)


def in_fluid(segmentation: np.ndarray) -> np.ndarray:
    """A brain in FreeSurfer's labels as a map: numbered as the maps are, with a rim of fluid around it.

    Parameters
    ----------
    segmentation
        Labels, int16 (256, 256, 256), LIA.
    """
    volume = segmentation.copy()
    for label, own in MAPS_OWN.items():
        volume[segmentation == label] = own
    brain = segmentation > 0
    near = binary_dilation(brain, iterations=_RIM) & ~brain
    volume[near] = FLUID
    return volume


def _freesurfer_label(label: int) -> int:
    if label in EXTRA_CEREBRAL:
        return 0
    return FREESURFER.get(label, ABSENT.get(label, label))


def _fitted(label: int) -> bool:
    """Whether a label's borders are nearly those that a T1 shows."""
    inside = label in (*WHITE_MATTER, *LATERAL_VENTRICLES) or _structure(label) in FAINT
    return label >= 1000 or inside or not _freesurfer_label(label)


def other_side(label: int) -> int:
    """The label's counterpart in the other hemisphere, FreeSurfer's or SynthSeg's; itself, if it has none."""
    if label >= 1000:
        return label + 1000 if label < 2000 else label - 1000
    sides = dict(SPLIT_SIDES)
    return sides.get(label, {right: left for left, right in sides.items()}.get(label, label))


def _structure(label: int) -> int:
    """A number that both sides of a structure share, and all of the cortex."""
    return 3 if label >= 1000 else min(label, other_side(label))


def _bounds(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last voxel of ``mask`` along each axis."""
    spans = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    low, high = np.array(spans, float).T
    return low, high


def _tissues(folder: Path, labels: np.ndarray) -> list[int]:
    """SynthSeg's class of each label: what looks alike in a T1."""
    generation = _table(folder / "synthseg_generation_labels.npy")
    classes = _table(folder / "synthseg_generation_classes_contrast_specific.npy")
    class_of = dict(zip(generation.tolist(), classes.tolist(), strict=True))
    cortex = {1: class_of[3], 2: class_of[42]}
    return [class_of[int(label)] if label < 1000 else cortex[int(label) // 1000] for label in labels]


def _intensity_priors(folder: Path) -> np.ndarray:
    """Mean of means, spread of means, mean of deviations, spread of deviations, of each tissue: (4, tissues)."""
    means = _table(folder / "synthseg_prior_means_t1.npy")
    deviations = _table(folder / "synthseg_prior_stds_t1.npy")
    return np.concatenate([means, deviations])


def _table(path: Path) -> np.ndarray:
    try:
        table: np.ndarray = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise SystemExit(f"{path} cannot be read ({error}); it is one of SynthSeg's tables of labels.") from error
    return table
