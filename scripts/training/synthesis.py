"""Synthetic T1 slices from label maps: what the bundled weights are trained on.

Whole volumes are never made. A training sample is a thin slab: a label map is deformed at the slab's voxels
only, painted with intensities drawn per label from T1 priors, and degraded as scanners and preprocessing do.
Everything runs on the device of the label maps; all randomness comes from one ``torch.Generator``.

The idea of painting label maps is SynthSeg's (Billot et al., Medical Image Analysis 2023), as are the label
maps and the priors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation
from torch import Tensor

from nansurfer.errors import NansurferError
from nansurfer.labels import labels_to_classes
from nansurfer.volume import VIEWS, read_labels

VOLUME = 256  # side of the conformed cube, in voxels of 1 mm
CONTEXT = 3  # slices on either side of the one that is labelled
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
THIN_VENTRICLES = (5, 44, 14, 15, INNER_FLUID)
INNER_FLUID_BOX = ((-0.3, 0.3), (-0.9, 0.6), (-0.65, 0.85))  # LIA; the box around both thalami is -1..1 along each axis
EXTRA_CEREBRAL = range(500, 1000)
OWN_TONE, SHARED_TONE = 0.25, 0.85
"""How far a structure's brightness departs from the prior on its own, and together with all others, as scanners make
them differ; the rest of it together with its tissue. 1: in no other way."""
LIFT = {8: 0.4, 10: 0.35, 11: 0.4, 13: 0.2, 16: 0.2, 17: 0.25, 18: 0.25, 26: 0.4, 28: 0.3, 136: 0.7, 137: 0.7}
"""How much brighter a structure may be than its prior, as a share of white matter's contrast to cortex.
The priors have nuclei and the cerebellum's cortex as dark as the cerebrum's, thalamus and pallidum well below white
matter, and choroid plexus nearly as dark as fluid; T1s do not."""
FOLIATED = (8, 47)
_FOLIA = 0.25  # most by which folia show, as a share of white matter's contrast to the cerebral cortex
_FOLIA_SIGMAS = (0.8, 1.6)  # voxels: the band of sizes that they have
_SUPERFICIAL = 1.3  # most by which white matter beside the cortex resembles it, where all around would be cortex
_SUPERFICIAL_REACH = 1.5  # standard deviation of "beside", in voxels
_VEIL = 0.5  # most by which fluid around the brain, with vessels and meninges in it, resembles the cortex on average
_VEIL_SPREAD = 0.35  # standard deviation of that from place to place
_FAINT = 0.6  # share of the cortex's contrast to fluid from which on a ventricle is labelled as what is beside it
_SEGMENTED_SHARE = 0.15  # of the slabs, from segmented brains
_RIM = 3  # voxels of fluid around these, where the maps have all of a head
_FINE_BEND = 0.45  # most of the fine deformation, in distances between its control points
_MISFIT = 1.0  # most by which an image's borders lie beside the labels', as a standard deviation in voxels
_FITTED = 0.3  # share of that for labels that fit the image better
_SPECK = 0.5  # most by which a speck resembles fluid or white matter
_SPECKLESS = 1.8  # standard deviations of grains within which there are none
_AVERAGED_SHARE = 0.15  # of the slabs, as in an average of many heads
_UNEVENNESS = 0.1  # most by which a tissue is darker or brighter from place to place, as a standard deviation's share
_COARSEST = 1.6  # scanned voxels along an axis, in those of the slab
SPLIT_SIDES = ((2, 41), (25, 57), (30, 62), (136, 163), (137, 164), (26, 58), (28, 60), (17, 53), (18, 54))
SPLIT_SIDES += ((3, 42), (29, 61), (31, 63))  # FreeSurfer's, not in the maps
SPLIT_SIDES += tuple((left, left + 39) for left in (4, 5, 7, 8, 10, 11, 12, 13))


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
    mirrored
        Index of each label's counterpart in the other hemisphere, int64 (K,).
    healthy
        Index of each label, or of the white matter that a lesion lies in, int64 (K,).
    brain, head, cortex, white, foliated, ventricle, fluid
        Whether a label belongs to the brain; to the head around it, fluid left out; to the cerebral cortex; to the
        cerebral white matter; to the cerebellar cortex; to one of the thin ventricles; is the fluid around the brain.
        Bool (K,).
    classes
        View to the class of each label, int64 (K,).
    structures, tissues
        Index of each label's structure, int64 (K,): both sides and all of the cortex are one; of its tissue, to which
        several structures may belong.
    lift
        What :data:`LIFT` says of each label, float (K,).
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
    mirrored: Tensor
    healthy: Tensor
    brain: Tensor
    head: Tensor
    cortex: Tensor
    white: Tensor
    foliated: Tensor
    ventricle: Tensor
    fluid: Tensor
    classes: dict[str, Tensor]
    structures: Tensor
    tissues: Tensor
    lift: Tensor
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
    volumes = [split_fluid(_read_labels(path)) for path in sorted((folder / "labelmaps").glob("seg_*.nii.gz"))]
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
    boxes = [_bounds(brain[index[volume]]) for volume in volumes]
    tissues = _tissues(folder / "labels", labels)
    priors = _intensity_priors(folder / "labels")[:, tissues]

    def put(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(np.asarray(array)).to(device, dtype)

    return Atlas(
        maps=torch.stack([put(index[volume], torch.uint8) for volume in volumes]),
        heads=heads,
        centers=put(np.array([(low + high) / 2 for low, high in boxes])),
        extents=put(np.array([(high - low) / 2 for low, high in boxes])),
        mirrored=put(index[[other_side(int(label)) for label in labels]], torch.int64),
        healthy=put(index[[LESIONS.get(int(label), int(label)) for label in labels]], torch.int64),
        brain=put(brain, torch.bool),
        head=put([int(label) in EXTRA_CEREBRAL for label in labels], torch.bool),
        cortex=put(labels >= 1000, torch.bool),
        white=put(np.isin(labels, WHITE_MATTER), torch.bool),
        foliated=put(np.isin(labels, FOLIATED), torch.bool),
        ventricle=put(np.isin(labels, THIN_VENTRICLES), torch.bool),
        fluid=put(labels == FLUID, torch.bool),
        classes={view: put(labels_to_classes(freesurfer, view), torch.int64) for view in VIEWS},
        structures=put(np.unique([_structure(int(label)) for label in labels], return_inverse=True)[1], torch.int64),
        tissues=put(tissues, torch.int64),
        lift=put([LIFT.get(_structure(int(label)), 0) for label in labels]),
        fitted=put([_fitted(int(label)) for label in labels], torch.bool),
        mean=put(priors[0]),
        mean_spread=put(priors[1]),
        std=put(priors[2]),
        std_spread=put(priors[3]),
    )


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
    """
    low, high = _bounds(np.isin(volume, THALAMI))
    middle, half = (low + high) / 2, (high - low) / 2
    box = tuple(
        slice(math.ceil(m + start * h), math.floor(m + stop * h) + 1)
        for m, h, (start, stop) in zip(middle, half, INNER_FLUID_BOX, strict=True)
    )
    inner = volume[box]
    inner[inner == FLUID] = INNER_FLUID
    return volume


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
    inside = (*WHITE_MATTER, *LATERAL_VENTRICLES, *THIN_VENTRICLES)
    return label >= 1000 or label in inside or not _freesurfer_label(label)


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
    generation = np.load(folder / "synthseg_generation_labels.npy")
    classes = np.load(folder / "synthseg_generation_classes_contrast_specific.npy")
    class_of = dict(zip(generation.tolist(), classes.tolist(), strict=True))
    cortex = {1: class_of[3], 2: class_of[42]}
    return [class_of[int(label)] if label < 1000 else cortex[int(label) // 1000] for label in labels]


def _intensity_priors(folder: Path) -> np.ndarray:
    """Mean of means, spread of means, mean of deviations, spread of deviations, of each tissue: (4, tissues)."""
    means = np.load(folder / "synthseg_prior_means_t1.npy")
    deviations = np.load(folder / "synthseg_prior_stds_t1.npy")
    return np.concatenate([means, deviations])


@dataclass(frozen=True)
class Batch:
    """Training samples of one view and one voxel size.

    Parameters
    ----------
    images
        Thick slices, float32 (N, 7, H, W), 0..1.
    targets
        Class of each pixel, int64 (N, H, W).
    voxel_size_mm
        Side of a voxel.
    """

    images: Tensor
    targets: Tensor
    voxel_size_mm: float


class Synthesiser:
    """Draws batches of synthetic thick slices.

    Parameters
    ----------
    atlas
        Label maps and priors.
    generator
        Source of all randomness, on the atlas's device.
    """

    def __init__(self, atlas: Atlas, generator: torch.Generator) -> None:
        self.atlas = atlas
        self.generator = generator

    def batch(self, view: str, slabs: int, slices: int, size: int, voxel_size_mm: float = 1.0) -> Batch:
        """``slabs * slices`` samples of ``size`` x ``size`` pixels, ``slices`` from each of ``slabs`` subjects."""
        drawn = [self._slab(view, slices, size, voxel_size_mm) for _ in range(slabs)]
        images, targets = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        return Batch(images, targets, voxel_size_mm)

    def _slab(self, view: str, slices: int, size: int, voxel_size_mm: float) -> tuple[Tensor, Tensor]:
        stride = 1 + int(self._uniform(0, 4))
        depth = (slices - 1) * stride + 2 * CONTEXT + 1
        subject = self._subject()
        grid = self._window(view, subject, (depth, size, size), voxel_size_mm)
        labels, seen = self._deformed_labels(subject, grid)
        mean = self._means()
        image = self._paint(seen, mean, grid) * self._drift(seen, grid)
        if self._uniform(0, 1) < _AVERAGED_SHARE:
            image, labels = self._averaged(image, labels)
        image = self._blur(image)
        labels = self._without_faint_ventricles(labels, image, mean)
        image = self._degrade(image, labels, grid)
        starts = range(0, slices * stride, stride)
        images = torch.stack([image[start : start + 2 * CONTEXT + 1] for start in starts])
        targets = torch.stack([self.atlas.classes[view][labels[start + CONTEXT].long()] for start in starts])
        return images / 255.0, targets

    def _subject(self) -> int:
        """Index of a label map."""
        heads, every = self.atlas.heads, len(self.atlas.maps)
        if every > heads and self._uniform(0, 1) < _SEGMENTED_SHARE:
            return int(self._uniform(heads, every))
        return int(self._uniform(0, heads))

    def _window(self, view: str, subject: int, shape: tuple[int, int, int], step: float) -> Grid:
        """Where the slab lies: usually over the brain, sometimes elsewhere in the head: face, neck, air."""
        slice_axis, *plane_axes = (2, 0, 1) if view == "coronal" else (1, 2, 0) if view == "axial" else (0, 2, 1)
        extents = self.atlas.extents[subject].tolist()
        reach, wander = (1.6, 1.3) if self._uniform(0, 1) < 0.15 else (1.1, 0.25)
        middle = [0.0, 0.0, 0.0]
        middle[slice_axis] = self._uniform(-reach, reach) * extents[slice_axis]
        for axis in plane_axes:
            middle[axis] = self._uniform(-wander, wander) * extents[axis]
        axes = (slice_axis, *plane_axes)
        ticks = {
            axis: middle[axis] + step * (torch.arange(n, device=self.atlas.device) - (n - 1) / 2)
            for axis, n in zip(axes, shape, strict=True)
        }
        return Grid(axes, ticks)

    def _deformed_labels(self, subject: int, grid: Grid) -> tuple[Tensor, Tensor]:
        """Label indices (S, H, W) of a subject after an affine and two elastic deformations, maybe mirrored.

        The coarse one changes the shape of a head, the fine one the sizes of its structures, in which healthy adults
        differ more than the maps do. The second labels are those that the image shows: FreeSurfer's borders are
        smooth, and miss by a voxel what anatomy and noise make of them.
        """
        atlas = self.atlas
        matrix = self._affine_matrix()
        bend = self._uniform(0.5, 4.0)
        control, fine_control = int(self._uniform(5, 11)), int(self._uniform(14, 26))
        fine_bend = self._uniform(0, _FINE_BEND) * VOLUME / (fine_control - 1)
        places = []
        for axis in range(3):
            position = grid.combine(matrix[axis]) + atlas.centers[subject, axis]
            position += bend * self._smooth_field(grid, control) + fine_bend * self._smooth_field(grid, fine_control)
            places.append(position)
        labels = self._labels_at(subject, places)
        misfit = self._uniform(0, _MISFIT) * torch.where(atlas.fitted[labels], _FITTED, 1)
        return labels, self._labels_at(subject, [place + misfit * self._grains(labels.shape) for place in places])

    def _labels_at(self, subject: int, places: list[Tensor]) -> Tensor:
        """Label indices (S, H, W) of a subject at positions in voxels, one tensor an axis; mirrored, if its head is."""
        inside, index = torch.ones((), dtype=torch.bool, device=self.atlas.device), 0
        for position in places:
            nearest = position.round().long()
            inside = inside & (nearest >= 0) & (nearest < VOLUME)
            index = index * VOLUME + nearest.clamp_(0, VOLUME - 1)
        labels = torch.where(inside, self.atlas.maps[subject].view(-1)[index].long(), 0)
        return self.atlas.mirrored[labels] if self._mirror else labels

    def _affine_matrix(self) -> list[list[float]]:
        """Rows of a 3x3 matrix from output to label-map offsets (mm); remembers whether it mirrors."""
        angles = [math.radians(self._normal(0, 8)) for _ in range(3)]
        rotation = torch.eye(3)
        for axis, angle in enumerate(angles):
            i, j = [k for k in range(3) if k != axis]
            turn = torch.eye(3)
            turn[i, i] = turn[j, j] = math.cos(angle)
            turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
            rotation = rotation @ turn
        size = self._uniform(0.88, 1.14)
        scales = torch.diag(torch.tensor([size * self._uniform(0.94, 1.06) for _ in range(3)]))
        shear = torch.eye(3) + 0.04 * torch.randn(3, 3, generator=self.generator, device=self.atlas.device).cpu()
        matrix = rotation @ scales @ shear
        self._mirror = self._uniform(0, 1) < 0.5
        if self._mirror:
            matrix[0] *= -1
        rows: list[list[float]] = matrix.tolist()
        return rows

    def _paint(self, labels: Tensor, mean: Tensor, grid: Grid) -> Tensor:
        """Intensities (S, H, W): a mean and a deviation per label, white and in grains of a few voxels."""
        atlas = self.atlas
        std = (atlas.std + atlas.std_spread * self._randn_of(atlas.tissues)).abs() * self._uniform(0.15, 0.6)
        share = self._uniform(0, 0.7)
        texture = share * self._randn(labels.shape) + math.sqrt(1 - share**2) * self._grains(labels.shape)
        image = self._specked(self._toward_cortex(mean, labels, grid), labels, mean) + std[labels] * texture
        contrast = mean[atlas.white].mean() - mean[atlas.cortex].mean()
        return image + self._uniform(0, _FOLIA) * contrast * atlas.foliated[labels] * self._folia(labels.shape)

    def _specked(self, image: Tensor, labels: Tensor, mean: Tensor) -> Tensor:
        """An image with specks, dark as fluid or bright as white matter, in nuclei and cerebellum.

        Vessels, the fluid around them, fibres and folia, all smaller than what FreeSurfer labels.
        """
        atlas, grains = self.atlas, self._grains(labels.shape)
        share = self._uniform(0, _SPECK) * (2 * (grains.abs() - _SPECKLESS)).clamp(0, 1) * ~atlas.fitted[labels]
        return image + share * (torch.where(grains < 0, mean[atlas.fluid].mean(), mean[atlas.white].mean()) - image)

    def _grains(self, shape: torch.Size) -> Tensor:
        """Noise of unit variance in grains of 2 to 5 voxels."""
        size = self._uniform(2, 5)
        coarse = self._randn((1, 1, *(max(2, round(n / size)) for n in shape)))
        return 1.8 * F.interpolate(coarse, size=shape, mode="trilinear")[0, 0]  # interpolated is weaker, by 1.5 ** 1.5

    def _folia(self, shape: torch.Size) -> Tensor:
        """Noise of unit variance in bright and dark bands, as folia and the fissures between them.

        All of it is labelled as cortex.
        """
        noise = self._randn(shape)
        fine, coarse = (_gaussian(noise, [sigma] * 3) for sigma in _FOLIA_SIGMAS)
        bands = fine - coarse
        return bands / bands.std()

    def _means(self) -> Tensor:
        """Mean intensities (K,) of one T1.

        Structures of one tissue differ little, and parcels of the cortex not at all: a real T1 shows no border between
        them. All differ from the priors together, for a T1 in which the pallidum is brighter than white matter is none.
        """
        atlas = self.atlas
        departure = OWN_TONE * self._randn_of(atlas.structures) + SHARED_TONE * self._normal(0, 1)
        departure += math.sqrt(1 - OWN_TONE**2 - SHARED_TONE**2) * self._randn_of(atlas.tissues)
        mean = atlas.mean + 1.2 * atlas.mean_spread * departure
        lift = self._rand((int(atlas.structures.max()) + 1,))[atlas.structures] * atlas.lift
        mean = mean + lift * (mean[atlas.white].mean() - mean[atlas.cortex].mean())
        # Fat and muscle differ between scanners far more than the priors say: fat often saturates.
        mean = torch.where(atlas.head, mean * (0.5 * self._randn(mean.shape)).exp(), mean)
        return mean.clamp(min=0)

    def _toward_cortex(self, mean: Tensor, labels: Tensor, grid: Grid) -> Tensor:
        """Each label's mean (S, H, W), but for what lies on either side of the cortex.

        White matter darkens toward it, for little of it there is myelin; the fluid around the brain holds vessels
        and meninges and is bright in places.
        """
        atlas, image = self.atlas, mean[labels]
        cortex = mean[atlas.cortex].mean()
        beside = _gaussian(atlas.cortex[labels].float(), [_SUPERFICIAL_REACH] * 3)
        superficial = (self._uniform(0, _SUPERFICIAL) * beside).clamp(max=1)
        veil = (self._uniform(0, _VEIL) + _VEIL_SPREAD * self._smooth_field(grid, 40)).clamp(0, 1)
        share = torch.where(atlas.white[labels], superficial, torch.where(atlas.fluid[labels], veil, 0))
        return image + share * (cortex - image)

    def _averaged(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A slab as in an average of many heads: smooth, each voxel what most heads have there, and no lesions."""
        sigmas = [self._uniform(1.0, 2.8)] * 3
        labels = self.atlas.healthy[labels]
        most, elected = torch.zeros_like(image), labels
        for label in labels.unique():
            votes = _gaussian((labels == label).float(), sigmas)
            elected = torch.where(votes > most, label, elected)
            most = torch.maximum(votes, most)
        return _gaussian(image, sigmas), elected

    def _without_faint_ventricles(self, labels: Tensor, image: Tensor, mean: Tensor) -> Tensor:
        """The labels without what of the thin ventricles blur made nearly as bright as the cortex.

        FreeSurfer labels what is dark, and real heads hold more that is half dark than it labels. Such voxels get the
        label of what is beside them.
        """
        ventricle = self.atlas.ventricle
        inside = ventricle[labels]
        if not inside.any():
            return labels
        fluid, cortex = mean[ventricle].mean(), mean[self.atlas.cortex].mean()
        faint, found = inside & (image > fluid + _FAINT * (cortex - fluid)), labels
        for axis, size in enumerate(labels.shape):
            for shift in (-1, 1):
                places = (torch.arange(size, device=labels.device) + shift).clamp(0, size - 1)
                beside = labels.index_select(axis, places)
                found = torch.where(faint & (found == labels) & ~ventricle[beside], beside, found)
        return found

    def _drift(self, labels: Tensor, grid: Grid) -> Tensor:
        """Factors (S, H, W) by which each tissue changes from place to place in its own way, as iron and myelin do."""
        angle = 2 * math.pi * self._rand(self.atlas.mean.shape)[self.atlas.tissues]
        control = int(self._uniform(8, 20))
        weights = [amount[labels] for amount in (angle.cos(), angle.sin())]
        drift = sum(weight * self._smooth_field(grid, control) for weight in weights)
        return (self._uniform(0, _UNEVENNESS) * drift).exp()

    def _randn_of(self, groups: Tensor) -> Tensor:
        """A normal number for each label (K,), the same for labels of one group."""
        return self._randn((int(groups.max()) + 1,))[groups]

    def _degrade(self, image: Tensor, labels: Tensor, grid: Grid) -> Tensor:
        """The painted slab as a scanner and preprocessing would have left it: 0..255, whole numbers."""
        image = image * (self._uniform(0.05, 0.35) * self._smooth_field(grid, 4)).exp()
        image = image * (self._uniform(80, 190) / self._white_matter_mean)
        image = self._scanned(image)
        image = 255 * (image / 255).clamp_(0, 1) ** math.exp(self._normal(0, 0.25))
        return (image * self._kept(labels, grid)).round_().clamp_(0, 255)

    def _scanned(self, image: Tensor) -> Tensor:
        """The slab with a scanner's noise; half the time interpolated, noise and all, from a coarser grid.

        Conforming does so with images of larger voxels, and with those that are rotated; many scanners do it too.
        White noise in every voxel is the exception.
        """
        shape = image.shape
        interpolated = self._uniform(0, 1) < 0.5
        if interpolated:
            coarse = [max(2, round(n / self._uniform(1, _COARSEST))) for n in shape]
            image = F.interpolate(image[None, None], size=coarse, mode="trilinear")[0, 0]
        noise = self._uniform(0, 5)
        image = torch.hypot(image + noise * self._randn(image.shape), noise * self._randn(image.shape))
        return F.interpolate(image[None, None], size=shape, mode="trilinear")[0, 0] if interpolated else image

    def _blur(self, image: Tensor) -> Tensor:
        """Partial volume: a Gaussian per axis; thick slices, or a smooth image, as templates and averages are."""
        sigmas = [self._uniform(0.3, 0.8) for _ in range(3)]
        choice = self._uniform(0, 1)
        if choice < 0.2:
            sigmas[int(self._uniform(0, 3))] = self._uniform(0.8, 1.5)
        elif choice < 0.35:
            sigmas = [self._uniform(0.8, 1.6)] * 3
        return _gaussian(image, sigmas)

    def _kept(self, labels: Tensor, grid: Grid) -> Tensor:
        """What is not set to zero: everything, the head, or the brain with a rim; and the field of view."""
        choice = self._uniform(0, 1)
        kept = torch.ones_like(labels, dtype=torch.bool)
        if choice < 0.35:
            rim = int(self._uniform(0, 5))
            kept = self.atlas.brain[labels].float()[None]
            for axis in range(3):  # one after another: the same in a hundredth of the time
                reach = [rim if axis == other else 0 for other in range(3)]
                kept = F.max_pool3d(kept, [2 * n + 1 for n in reach], 1, reach)
            kept = kept[0] > 0
        elif choice < 0.75:
            kept = labels > 0
        if self._uniform(0, 1) < 0.3:  # the neck lies at the inferior end, which is high along LIA's second axis
            inferior = grid.combine([0, 1, 0])
            kept = kept & (inferior < self._uniform(50, 110))
        return kept

    @property
    def _white_matter_mean(self) -> float:
        return float(self.atlas.mean[self.atlas.classes["coronal"] == 1][0])

    def _smooth_field(self, grid: Grid, control: int) -> Tensor:
        """A smooth random field (S, H, W) of about unit variance, from ``control`` points along each axis."""
        spacing = VOLUME / (control - 1)
        field = 1.6 * self._randn((control + 2,) * 3)
        bases = [_spline_basis((grid.ticks[axis] + VOLUME / 2) / spacing, control + 2) for axis in grid.axes]
        along = ["xyz"[axis] + "abc"[axis] for axis in grid.axes]  # slices first, for there are few
        order = "".join("xyz"[axis] for axis in grid.axes)
        return torch.einsum(",".join(["abc", *along]) + "->" + order, field, *bases)

    def _rand(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.atlas.device)

    def _randn(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.atlas.device)

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._rand(()))

    def _normal(self, mean: float, std: float) -> float:
        return mean + std * float(self._randn(()))


@dataclass(frozen=True)
class Grid:
    """Voxel positions of a slab, as one vector per native axis.

    Parameters
    ----------
    axes
        Native axis (0, 1, 2) of the slab's slices, rows and columns.
    ticks
        Native axis to positions along it, in mm from the middle of the brain.
    """

    axes: tuple[int, ...]
    ticks: dict[int, Tensor]

    def combine(self, weights: list[float]) -> Tensor:
        """Sum over native axes of weight times position, (S, H, W)."""
        shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
        terms = [weights[a] * self.ticks[a].view(shape) for a, shape in zip(self.axes, shapes, strict=True)]
        return terms[0] + terms[1] + terms[2]


def _gaussian(volume: Tensor, sigmas: list[float]) -> Tensor:
    """A volume (S, H, W) blurred along each axis by a standard deviation in voxels."""
    volume = volume[None, None]
    for axis, sigma in enumerate(sigmas):
        reach = math.ceil(2 * sigma)
        taps = torch.arange(-reach, reach + 1, device=volume.device)
        kernel = torch.exp(-(taps**2) / (2 * sigma**2))
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(taps)
        padding = [0, 0, 0, 0, 0, 0]
        padding[4 - 2 * axis : 6 - 2 * axis] = [reach, reach]
        padded = F.pad(volume, padding, mode="replicate")
        volume = F.conv3d(padded, (kernel / kernel.sum()).view(shape))
    return volume[0, 0]


def _spline_basis(positions: Tensor, count: int) -> Tensor:
    """Cubic B-spline weights (len(positions), count) of control points at -1, 0, 1, ..."""
    distance = (positions[:, None] + 1 - torch.arange(count, device=positions.device)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far)
