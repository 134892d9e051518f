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

import torch
import torch.nn.functional as F
from atlas import AVERAGES, HEADS, VOLUME, Atlas
from torch import Tensor

CONTEXT = 3  # slices on either side of the one that is labelled
OWN_TONE, SHARED_TONE = 0.25, 0.85
"""How far a structure's brightness departs from the prior on its own, and together with all others, as scanners make
them differ; the rest of it together with its tissue. 1: in no other way."""
_FOLIA = 0.25  # most by which folia show, as a share of white matter's contrast to the cerebral cortex
_FOLIA_SIGMAS = (0.8, 1.6)  # voxels: the band of sizes that they have
_SUPERFICIAL = 1.3  # most by which white matter beside the cortex resembles it, where all around would be cortex
_BESIDE = 1.5  # standard deviation of "beside", in voxels
_VEIL = 0.5  # most by which fluid around the brain, with vessels and meninges in it, resembles the cortex on average
_VEIL_SPREAD = 0.35  # standard deviation of that from place to place
_SEGMENTED_SHARE = 0.15  # of the slabs, from segmented brains
_FINE_BEND = 0.45  # most of the fine deformation, in distances between its control points
_MISFIT = 1.0  # most by which an image's borders lie beside the labels', as a standard deviation in voxels
_FITTED = 0.3  # share of that for labels that fit the image better
_SPECK = 0.5  # most by which a speck resembles fluid or white matter
_SPECKLESS = 1.8  # standard deviations of grains within which there are none
_AVERAGED_SHARE = 0.15  # of the slabs, from averages of many heads
_AVERAGED = (15, 40)  # heads in one
_STRAY, _STRAY_LINEAR = 2.0, 0.03  # most by which a head of it is misplaced (standard deviation, mm) and misshaped
_UNEVENNESS = 0.1  # most by which a tissue is darker or brighter from place to place, as a standard deviation's share
_COARSEST = 1.6  # scanned voxels along an axis, in those of the slab


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
        mean = self._means()
        if self._uniform(0, 1) < _AVERAGED_SHARE:
            image, labels = self._averaged(mean, grid)
            image, labels = self._blur(image), self._ceded(labels, AVERAGES)
        else:
            labels, seen = self._deformed_labels(subject, grid)
            image = self._blur(self._paint(seen, mean, grid) * self._drift(seen, grid))
            if subject < self.atlas.heads:
                labels = self._ceded(labels, HEADS)
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
        """Label indices (S, H, W) of a deformed subject, and those that the image shows.

        FreeSurfer's borders are smooth, and miss by a voxel what anatomy and noise make of them.
        """
        atlas = self.atlas
        offsets, mirrored = self._deformed(grid)
        places = [offset + center for offset, center in zip(offsets, atlas.centers[subject], strict=True)]
        labels = self._labels_at(subject, places, mirrored)
        misfit = self._uniform(0, _MISFIT) * torch.where(atlas.fitted[labels], _FITTED, 1)
        beside = [place + misfit * self._grains(labels.shape) for place in places]
        return labels, self._labels_at(subject, beside, mirrored)

    def _deformed(self, grid: Grid) -> tuple[list[Tensor], bool]:
        """Offsets (S, H, W) in mm from the middle of the brain, one tensor an axis, and whether they mirror it.

        An affine and two elastic deformations: the coarse one changes the shape of a head, the fine one the sizes of
        its structures, in which healthy adults differ more than the maps do.
        """
        matrix, mirrored = self._affine_matrix()
        bend = self._uniform(0.5, 4.0)
        control, fine_control = int(self._uniform(5, 11)), int(self._uniform(14, 26))
        fine_bend = self._uniform(0, _FINE_BEND) * VOLUME / (fine_control - 1)
        offsets = []
        for row in matrix:
            offset = grid.combine(row) + bend * self._smooth_field(grid, control)
            offsets.append(offset + fine_bend * self._smooth_field(grid, fine_control))
        return offsets, mirrored

    def _labels_at(self, subject: int, places: list[Tensor], mirrored: bool) -> Tensor:
        """Label indices (S, H, W) of a subject at positions in voxels, one tensor an axis; sides swapped, if asked."""
        inside, index = torch.ones((), dtype=torch.bool, device=self.atlas.device), 0
        for position in places:
            nearest = position.round().long()
            inside = inside & (nearest >= 0) & (nearest < VOLUME)
            index = index * VOLUME + nearest.clamp_(0, VOLUME - 1)
        labels = torch.where(inside, self.atlas.maps[subject].view(-1)[index].long(), 0)
        return self.atlas.mirrored[labels] if mirrored else labels

    def _affine_matrix(self) -> tuple[list[list[float]], bool]:
        """Rows of a 3x3 matrix from output to label-map offsets (mm), and whether it mirrors."""
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
        mirrored = self._uniform(0, 1) < 0.5
        if mirrored:
            matrix[0] *= -1
        return matrix.tolist(), mirrored

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
        beside = _gaussian(atlas.cortex[labels].float(), [_BESIDE] * 3)
        superficial = (self._uniform(0, _SUPERFICIAL) * beside).clamp(max=1)
        veil = (self._uniform(0, _VEIL) + _VEIL_SPREAD * self._smooth_field(grid, 40)).clamp(0, 1)
        share = torch.where(atlas.white[labels], superficial, torch.where(atlas.fluid[labels], veil, 0))
        return image + share * (cortex - image)

    def _averaged(self, mean: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Intensities and label indices (S, H, W) of an average of heads, as templates are.

        They are aligned linearly, as well as that goes; half the time all are stripped to the brain and some fluid.
        Each voxel is what most of them have there and around it, among what any of them has there. That leaves little
        of thin structures and nothing of lesions.
        """
        atlas = self.atlas
        veil = self._uniform(0, _VEIL) * (mean[atlas.cortex].mean() - mean[atlas.fluid].mean())
        tone = torch.where(atlas.fluid, mean + veil, mean)
        if self._uniform(0, 1) < 0.5:
            tone = torch.where(atlas.brain, tone, self._uniform(0, 1) * atlas.fluid * tone)
        offsets, mirrored = self._deformed(grid)
        heads = int(self._uniform(*_AVERAGED))
        astray = self._uniform(0, 1) * torch.tensor([*[_STRAY_LINEAR] * 3, _STRAY], device=atlas.device)
        image = torch.zeros_like(offsets[0])
        votes = torch.zeros((len(mean), image.numel()), dtype=torch.uint8, device=atlas.device)
        voters = torch.arange(image.numel(), device=atlas.device)
        for _ in range(heads):
            head, flipped = int(self._uniform(0, atlas.heads)), self._uniform(0, 1) < 0.5
            alignment = atlas.alignments[head] + astray * self._randn((3, 4))
            x, y, z = (-offsets[0] if flipped else offsets[0], *offsets[1:])
            places = [a * x + b * y + c * z + d for a, b, c, d in alignment]
            labels = self._labels_at(head, places, flipped != mirrored)
            image += tone[labels] / heads
            votes[atlas.healthy[labels].flatten(), voters] += 1
        parties = torch.zeros((int(atlas.elected.max()) + 1, image.numel()), dtype=torch.uint8, device=atlas.device)
        parties.index_add_(0, atlas.elected, votes)
        running = parties.any(1).nonzero()[:, 0]
        local = parties[running].float()
        around = F.avg_pool3d(local.view(-1, *image.shape), 3, 1, 1).flatten(1)
        winner = running[((local + around) * (local > 0)).argmax(0)]
        elected = (votes * (atlas.elected[:, None] == winner)).argmax(0).view(image.shape)
        return _gaussian(image, [self._uniform(0.4, 1.2)] * 3), elected

    def _ceded(self, labels: Tensor, kind: str) -> Tensor:
        """The labels with the outermost voxels of a structure given to one beside it where FreeSurfer does so."""
        found = labels
        for cession in self.atlas.cessions[kind]:
            taken = cession.taker[labels]
            if not taken.any():
                continue
            beside = _gaussian(taken.float(), [_BESIDE] * 3)
            found = torch.where(beside > cession.limit[labels], cession.successor[labels], found)
        return found

    def _without_faint_ventricles(self, labels: Tensor, image: Tensor, mean: Tensor) -> Tensor:
        """The labels without what of the thin ventricles blur made nearly as bright as the cortex.

        Such voxels get the label of what is beside them.
        """
        ventricle = self.atlas.faint > 0
        inside = ventricle[labels]
        if not inside.any():
            return labels
        fluid, cortex = mean[ventricle].mean(), mean[self.atlas.cortex].mean()
        faint, found = inside & (image > fluid + self.atlas.faint[labels] * (cortex - fluid)), labels
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
