"""Where in a head the brain is, so that face, neck and scalp need no labels.

A first look takes every sixth slice of one view through its network. Labels are wanted near to what it labels, and
nowhere else. The networks still see the whole head, since labels at the brain's surface depend on what is around it:
background in place of skull and scalp, as near as 12 mm to the brain, brings Dice from 0.996 to 0.962. They only leave
out the last decoder, half of their work. A look at a few slices can be wrong: labels that go on to where no brain is
expected tell of it, and then the whole head is computed after all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from nansurfer.engine import LogitSum
from nansurfer.labels import N_CLASSES
from nansurfer.labels.regions import largest_component
from nansurfer.pipeline.aggregate import Scene, ViewModel
from nansurfer.pipeline.progress import Progress
from nansurfer.volume import View, mask_box, thick_mask, thick_slices, to_view, view_axes
from nansurfer.volume.box import large_components

NO_BRAIN_BELOW_ML = 100.0
"""Less than a third of a newborn's brain: whatever was labelled, it is no brain."""

MARGIN_MM = 10.0
"""How far from what the first look labels labels are wanted; `Scene.margin` comes on top of it."""

EXPECTED_WITHIN_MM = 8.0
"""How far from what the first look labels there may be brain that it has not seen."""

CUT_FROM_ML = 0.25
"""Labels in one solid piece farther away than that, from which on the brain may have been cut."""

STRIPPED_BELOW_ML = 2500.0
"""A head that is smaller is a brain that was cut out of one, or a child's: there is little to leave out."""

_STEP_MM = 6.0  # from slice to slice of the first look
_CELL_MM = 2.0  # side of the cells for which distances are told: an eighth of the voxels
_WORTHWHILE_BELOW = 0.85  # of the head: where more of it is wanted, hardly more is saved than the first look costs

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class BrainRegion:
    """What of a scene is to be computed, once it is known where the brain is.

    Parameters
    ----------
    whole
        The scene of the whole head.
    restricted
        The same scene where labels are wanted near the brain only; None where nothing is to be gained by that.
    far
        The cells of the whole scene's box in which no brain is expected, bool (X', Y', Z').
    share
        Of the head (without one, of the box) for which labels are wanted, 0 to 1.
    slices
        That the first look took.
    search_s
        What the search took, in seconds.
    run_again
        Whether the region was given up, because it may have cut the brain.
    """

    whole: Scene
    restricted: Scene | None
    far: _Mask
    share: float
    slices: int
    search_s: float = 0.0
    run_again: bool = False

    @property
    def scene(self) -> Scene:
        """What is to be computed."""
        return self.restricted or self.whole

    def may_cut(self, classes: npt.NDArray[np.uint8]) -> bool:
        """Whether the classes (X, Y, Z) of the restricted scene are labels where no brain is expected.

        Labels count if they fill whole cells that touch each other: not thin meninges, nor specks of scalp.
        """
        if self.restricted is None:
            return False
        side = _cell_side(self.whole)
        filled = _cells(np.logical_and, classes[self.whole.box] > 0, side, axes=(0, 1, 2))
        piece = np.count_nonzero(largest_component(filled & self.far))
        return _volume_ml(piece * side**3, self.whole) >= CUT_FROM_ML

    def given_up(self) -> BrainRegion:
        """The same, but the whole scene is to be computed."""
        return replace(self, restricted=None, run_again=True)

    @property
    def findings(self) -> dict[str, Any]:
        """What the reports tell of it: the same after every run."""
        margin_mm = MARGIN_MM + self.whole.margin / self.whole.scale
        return {
            "brain_margin_mm": round(margin_mm, 2),
            "brain_share_of_head": round(self.share, 4),
            "brain_restricted": self.restricted is not None,
            "brain_run_again": self.run_again,
        }


def find_brain(
    scene: Scene, models: Mapping[View, ViewModel], progress: Progress, *, counting: bool = False
) -> BrainRegion:
    """The brain's region in a scene, by a first look at a few slices.

    Parameters
    ----------
    scene
        Of the whole head.
    models
        View name to model. The first takes the look: the coronal one, unless it is left out.
    progress
        Told of every slice looked at.
    counting
        Whether the engines count what they skip; the first look is dropped from their counts.

    Notes
    -----
    Measured (compact weights) on two heads, and on one of them rotated by 15 and 30 degrees: what FreeSurfer and the
    three views both label is at most 6.3 mm from what the first look labels, half of the margin. Beyond 8 mm the three
    views label at most 0.14 ml in one solid piece, 0.11 ml in a rotated head, and FreeSurfer none of that.
    """
    started = perf_counter()
    head_voxels = scene.volume[scene.box].size if scene.head is None else int(np.count_nonzero(scene.head))
    if _volume_ml(head_voxels, scene) < STRIPPED_BELOW_ML:
        return _unrestricted(scene, slices=0)
    view, model = next(iter(models.items()))
    along = scene.box[view_axes(view)[2]]
    step = _whole_voxels(_STEP_MM, scene)
    chosen = np.arange(along.start + min(step, along.stop - along.start) // 2, along.stop, step)
    labelled = large_components(_first_look(scene, view, model, chosen, progress))
    if counting:
        model.engine.take_counts()
    side = _cell_side(scene)
    if _volume_ml(labelled.sum() * side**2 * step, scene) < NO_BRAIN_BELOW_ML:
        region = _unrestricted(scene, len(chosen))
    else:
        brain = np.zeros([-(-(part.stop - part.start) // side) for part in scene.box], bool)
        to_view(brain, view)[:, :, (chosen - along.start) // side] = np.moveaxis(labelled, 0, 2)
        region = _region_around(brain, scene, len(chosen))
    return replace(region, search_s=round(perf_counter() - started, 3))


def _first_look(scene: Scene, view: View, model: ViewModel, chosen: npt.NDArray[np.intp], progress: Progress) -> _Mask:
    """The cells (slices, H', W') of chosen slices of a view that hold labels."""
    rows, columns = (scene.box[axis] for axis in view_axes(view)[:2])
    size = rows.stop - rows.start, columns.stop - columns.start
    no_sum = torch.zeros((1, *size, N_CLASSES), dtype=torch.float16)
    labelled: list[_Mask] = []
    progress.view("brain", len(chosen))
    while batch := chosen[len(labelled) :][: model.engine.batch_size].tolist():
        slices, head = _chosen_slices(scene, view, model.slices, batch)
        sums = LogitSum(no_sum.expand(len(batch), *no_sum.shape[1:]), model.weight, (rows, columns), model.order)
        classes = torch.zeros((len(batch), *size), dtype=torch.uint8)
        model.engine.largest(slices, scene.scale, head, sums, classes)
        labelled.extend(_cells(np.logical_or, classes.numpy() > 0, _cell_side(scene), axes=(1, 2)))
        progress.advance(len(batch))
    return np.stack(labelled)


def _chosen_slices(
    scene: Scene, view: View, thickness: int, chosen: Sequence[int]
) -> tuple[npt.NDArray[np.uint8], _Mask | None]:
    """Thick slices (N, thickness, H, W) that are not neighbours, and where their input is not NaN, (N, H, W)."""
    volume = to_view(scene.volume, view)
    slices = np.concatenate([thick_slices(volume, i, i + 1, thickness) for i in chosen])
    if scene.head is None:
        return slices, None
    head = to_view(scene.head, view)
    return slices, np.concatenate([thick_mask(head, i, i + 1, thickness, scene.margin) for i in chosen])


def _region_around(brain: _Mask, scene: Scene, slices: int) -> BrainRegion:
    """The region near to the cells (X', Y', Z') of a scene's box in which the first look has found brain."""
    side = _cell_side(scene)
    distance_mm = ndimage.distance_transform_edt(~brain, sampling=side / scene.scale)
    wanted = np.zeros(scene.volume.shape, bool)
    wanted[scene.box] = _voxels(distance_mm <= MARGIN_MM + scene.margin / scene.scale, side, wanted[scene.box].shape)
    if scene.head is None:
        share = wanted[scene.box].mean()
    else:
        share = np.count_nonzero(wanted & scene.head) / np.count_nonzero(scene.head)
    restricted = replace(scene, box=mask_box(wanted), wanted=wanted) if share < _WORTHWHILE_BELOW else None
    return BrainRegion(scene, restricted, distance_mm > EXPECTED_WITHIN_MM, float(share), slices)


def _unrestricted(scene: Scene, slices: int) -> BrainRegion:
    return BrainRegion(scene, None, np.zeros(0, bool), share=1.0, slices=slices)


def _cells(holds: np.ufunc, mask: _Mask, side: int, axes: Sequence[int]) -> _Mask:
    """The cells, of so many voxels along some axes, in which ``holds`` (any, all) is true of the voxels."""
    for axis in axes:
        mask = holds.reduceat(mask, np.arange(0, mask.shape[axis], side), axis=axis)
    return mask


def _voxels(cells: _Mask, side: int, shape: Sequence[int]) -> _Mask:
    """A mask of cells as one of voxels, cut to a shape."""
    for axis, length in enumerate(shape):
        cells = cells.repeat(side, axis).take(range(length), axis)
    return cells


def _whole_voxels(size_mm: float, scene: Scene) -> int:
    return max(1, round(size_mm * scene.scale))


def _cell_side(scene: Scene) -> int:
    return _whole_voxels(_CELL_MM, scene)


def _volume_ml(n_voxels: int, scene: Scene) -> float:
    return n_voxels / scene.scale**3 / 1000
