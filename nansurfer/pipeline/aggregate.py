"""Three views of logits added into one class per voxel, in bounded memory.

FastSurfer holds the sum as one float16 array of all voxels and 79 classes, 2.65 GB at 1 mm. Here the sum lives
only inside a box, in slabs of at most ``MAX_SHARE`` of the volume, and the last view is never stored: its
slices are added and their classes taken at once. The arithmetic is FastSurfer's, rounding included: float16
after each view, views in the order of the configuration, the first of equal classes wins.

A view whose logits are NaN at a voxel abstains there. The weights of the others then stand for all of it: to divide
by their sum would change no class's rank. Where all views abstain, every class has 0 and the first, background, wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nansurfer.engine import DenseEngine, SliceCounts
from nansurfer.labels import N_CLASSES, N_SAGITTAL_CLASSES, SAGITTAL_TO_FULL
from nansurfer.models import ModelConfig
from nansurfer.pipeline.progress import Progress
from nansurfer.volume import Box, View, thick_mask, thick_slices, to_view, view_axes

MAX_SHARE = 0.55
"""Largest share of the volume whose logits are held at once: 1.46 GB at 1 mm."""

_SAGITTAL_TO_FULL = torch.tensor(SAGITTAL_TO_FULL)


@dataclass(frozen=True)
class ViewModel:
    """One view's engine and what the sum needs to know of it.

    Parameters
    ----------
    engine
        Gives logits for thick slices.
    weight
        Factor on the logits.
    slices
        Neighbouring slices that the network sees.
    """

    engine: DenseEngine
    weight: float
    slices: int

    @classmethod
    def of(cls, engine: DenseEngine, config: ModelConfig, view: View) -> ViewModel:
        """The view ``view`` of a model."""
        return cls(engine, config.views[view].weight, config.slices)


@dataclass(frozen=True)
class Scene:
    """A conformed T1 and what of it is to be computed.

    Parameters
    ----------
    volume
        Conformed T1, uint8 (X, Y, Z).
    box
        Where to look; slices that do not meet it are not computed.
    scale
        1 mm divided by the voxel size.
    head
        False where the input of the networks is NaN, bool (X, Y, Z); None: nowhere. Slices without any head are
        not computed.
    margin
        Voxels around the head that count as head.
    """

    volume: npt.NDArray[np.uint8]
    box: Box
    scale: float = 1.0
    head: npt.NDArray[np.bool_] | None = None
    margin: int = 0


OnCounts = Callable[[View, int, int, SliceCounts], None]
"""Told of a view, the first slice of a part, the slices of the whole view, and what was skipped in that part."""


def aggregate_views(
    scene: Scene,
    models: Mapping[View, ViewModel],
    progress: Progress,
    *,
    any_nan_is_background: bool = False,
    on_counts: OnCounts | None = None,
) -> npt.NDArray[np.uint8]:
    """Class of each voxel: the largest weighted sum of the views' logits; 0 outside the box.

    Parameters
    ----------
    scene
        What to compute.
    models
        View name to model, in the order in which they are added.
    progress
        Told of every slice.
    any_nan_is_background
        The NaN papers' rule: no view may abstain.
    on_counts
        Told what was skipped.

    Returns
    -------
    uint8 (X, Y, Z), 0..78
    """
    classes = np.zeros(scene.volume.shape, np.uint8)
    for slab in _slabs(scene.box, scene.volume.size):
        classes[slab] = _SlabSum(scene, slab, any_nan_is_background, on_counts).classes(models, progress)
    return classes


def _slabs(box: Box, n_voxels: int) -> Iterator[Box]:
    """The box, cut across its last axis so that each part holds at most ``MAX_SHARE`` of all voxels.

    Slices of the views that run along the other axes are computed again for every part.
    """
    rows, columns, depth = box
    size = (rows.stop - rows.start) * (columns.stop - columns.start) * (depth.stop - depth.start)
    parts = max(1, -int(-size // (MAX_SHARE * n_voxels)))
    edges = np.linspace(depth.start, depth.stop, parts + 1).round().astype(int)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield rows, columns, slice(start, stop)


class _SlabSum:
    """The running sum over views in one part of the volume."""

    def __init__(self, scene: Scene, slab: Box, any_nan_is_background: bool, on_counts: OnCounts | None) -> None:
        self._scene, self._slab = scene, slab
        self._keeps_nan = any_nan_is_background  # NaN is passed on by the sum, and of NaN only the first class wins
        self._on_counts = on_counts
        self._shape = tuple(part.stop - part.start for part in slab)

    def classes(self, models: Mapping[View, ViewModel], progress: Progress) -> npt.NDArray[np.uint8]:
        """Classes (X, Y, Z) of the slab after all views."""
        *earlier, last = models
        # Stored as (Z, X, Y, class): whole coronal and sagittal rows are then contiguous.
        x, y, z = self._shape
        total = torch.zeros((z, x, y, N_CLASSES if earlier else 0), dtype=torch.float16).permute(1, 2, 0, 3)
        for view in earlier:
            for part, logits in self._logits(view, models[view], progress):
                if logits is not None:
                    seen = _seen(total, view)[part]
                    seen.copy_(_add(seen, logits, models[view].weight))
        classes = torch.zeros(self._shape, dtype=torch.uint8)
        for part, logits in self._logits(last, models[last], progress):
            before = _seen(total, last)[part] if earlier else None
            if before is not None or logits is not None:
                _seen(classes, last)[part] = _largest(_add(before, logits, models[last].weight))
        return classes.numpy()

    def _logits(self, view: View, model: ViewModel, progress: Progress) -> Iterator[tuple[slice, Tensor | None]]:
        """Slices of the slab along a view's axis, and their logits float32 (N, H, W, 79); None without any head."""
        rows, columns, along = (self._slab[axis] for axis in view_axes(view))
        volume = to_view(self._scene.volume, view)
        progress.view(view, along.stop - along.start)
        start = along.start
        while start < along.stop:  # in steps that shrink when the engine runs out of memory
            stop = min(start + model.engine.batch_size, along.stop)
            head = self._head(view, model, start, stop)
            logits = None
            if head is None or head.any() or self._keeps_nan:
                logits = model.engine.logits(thick_slices(volume, start, stop, model.slices), self._scene.scale, head)
                if self._on_counts:
                    self._on_counts(view, start, volume.shape[2], model.engine.take_counts())
                logits = _to_full(logits[:, :, rows, columns].permute(0, 2, 3, 1).cpu())
                if not self._keeps_nan:
                    logits = logits.masked_fill(logits.isnan(), 0)
            yield slice(start - along.start, stop - along.start), logits
            progress.advance(stop - start)
            start = stop

    def _head(self, view: View, model: ViewModel, start: int, stop: int) -> npt.NDArray[np.bool_] | None:
        """Where the slices' input is not NaN, bool (N, H, W)."""
        if self._scene.head is None:
            return None
        return thick_mask(to_view(self._scene.head, view), start, stop, model.slices, self._scene.margin)


def _seen(volume: Tensor, view: View) -> Tensor:
    """A tensor (X, Y, Z, ...) with slices first: (S, H, W, ...), without a copy."""
    rows, columns, along = view_axes(view)
    return volume.permute(along, rows, columns, *range(3, volume.dim()))


def _add(before: Tensor | None, logits: Tensor | None, weight: float) -> Tensor:
    """The float16 sum so far plus weighted logits, in float32; either may be missing."""
    if logits is None:
        assert before is not None
        return before.float()
    return logits * weight if before is None else torch.add(before.float(), logits, alpha=weight)


def _to_full(logits: Tensor) -> Tensor:
    """Logits (..., 79), with the sagittal ones given to both sides that share them."""
    if logits.shape[-1] != N_SAGITTAL_CLASSES:
        return logits
    voxels = logits.flatten(end_dim=-2)  # two axes are selected from several times as fast as four
    return voxels.index_select(1, _SAGITTAL_TO_FULL).view(*logits.shape[:-1], N_CLASSES)


def _largest(logits: Tensor) -> Tensor:
    """Class (...) of the largest of logits (..., 79) in float16; the first of equal ones or of NaN, as in NumPy."""
    return torch.from_numpy(logits.half().float().numpy().argmax(axis=-1))
