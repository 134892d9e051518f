"""Three views of logits added into one class per voxel, in bounded memory.

FastSurfer holds the sum as one float16 array of all voxels and 79 classes, 2.65 GB at 1 mm. Here the sum lives
only inside a box, in slabs of at most a scene's ``max_share`` of the volume, and the last view is never stored: its
slices are added and their classes taken at once. The arithmetic is FastSurfer's, rounding included: float16
after each view, views in the order of the configuration, the first of equal classes wins.

A view whose logits are NaN at a voxel abstains there. The weights of the others then stand for all of it: to divide
by their sum would change no class's rank. Where all views abstain, every class has 0 and the first, background, wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from nansurfer.engine import Classes, Engine, LogitSum, SliceCounts, Sums, zero_sums
from nansurfer.engine.protocol import Mask, Slices
from nansurfer.labels import N_CLASSES, N_SAGITTAL_CLASSES, SAGITTAL_TO_FULL
from nansurfer.models import ModelConfig
from nansurfer.pipeline.progress import Progress
from nansurfer.volume import Box, View, mask_box, thick_mask, thick_slices, to_view, view_axes

MAX_SHARE = 0.55
"""Largest share of the volume whose logits are held at once: 1.46 GB at 1 mm."""


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
    order
        The network's class for each of all classes, where its own are fewer.
    """

    engine: Engine
    weight: float
    slices: int
    order: Sequence[int] | None = None

    @classmethod
    def of(cls, engine: Engine, config: ModelConfig, view: View) -> ViewModel:
        """The view ``view`` of a model."""
        own = config.views[view]
        order = SAGITTAL_TO_FULL.tolist() if own.classes == N_SAGITTAL_CLASSES else None
        return cls(engine, own.weight, config.slices, order)


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
    max_share
        Largest share of the volume whose logits are held at once; slices of two views are computed again for every
        further part.
    """

    volume: npt.NDArray[np.uint8]
    box: Box
    scale: float = 1.0
    head: npt.NDArray[np.bool_] | None = None
    margin: int = 0
    max_share: float = MAX_SHARE


OnCounts = Callable[[View, int, int, SliceCounts], None]
"""Told of a view, the first slice of a part, the slices of the whole view, and what was skipped in that part."""

Restrict = Callable[[Sums, Box], npt.NDArray[np.bool_] | None]
"""Given the first view's sums (X', Y', Z', classes) in a box, tells where in it labels are wanted; None: everywhere."""


def aggregate_views(
    scene: Scene,
    models: Mapping[View, ViewModel],
    progress: Progress,
    *,
    nan_wins: bool = False,
    on_counts: OnCounts | None = None,
    restrict: Restrict | None = None,
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
    nan_wins
        The NaN papers' rule: what is NaN in any view is background. Otherwise that view abstains.
    on_counts
        Told what was skipped.
    restrict
        Says after the first view where labels are wanted. Elsewhere the class is 0; the other views' networks see what
        is there, but their last decoder skips it.

    Returns
    -------
    uint8 (X, Y, Z), 0..78
    """
    classes = np.zeros(scene.volume.shape, np.uint8)
    device = next(iter(models.values())).engine.device  # where the logits are, unless a GPU's memory runs out
    for slab in _slabs(scene.box, scene.max_share * scene.volume.size):
        _SlabSum(scene, slab, classes, device, nan_wins, on_counts).add_views(models, progress, restrict)
    return classes


def _slabs(box: Box, max_voxels: float) -> Iterator[Box]:
    """The box, cut across its last axis so that each part holds at most so many voxels.

    Slices of the views that run along the other axes are computed again for every part.
    """
    rows, columns, depth = box
    size = (rows.stop - rows.start) * (columns.stop - columns.start) * (depth.stop - depth.start)
    parts = min(max(1, -int(-size // max_voxels)), depth.stop - depth.start)
    edges = np.linspace(depth.start, depth.stop, parts + 1).round().astype(int)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield rows, columns, slice(start, stop)


@dataclass(frozen=True)
class _Batch:
    """Slices ``start`` to ``stop`` of a view, what is to be computed of them, and where it goes; see the engines."""

    start: int
    stop: int
    slices: Slices | None
    head: Mask | None
    wanted: Mask | None
    sums: LogitSum
    classes: Classes


class _SlabSum:
    """The running sum over views in one part of the volume."""

    def __init__(
        self,
        scene: Scene,
        slab: Box,
        classes: npt.NDArray[np.uint8],
        device: str,
        nan_wins: bool,
        on_counts: OnCounts | None,
    ) -> None:
        self._scene, self._slab = scene, slab
        self._nan_wins, self._on_counts = nan_wins, on_counts
        x, y, z = (part.stop - part.start for part in slab)
        # Stored as (Z, X, Y, class): whole coronal and sagittal rows are then contiguous.
        self._total = zero_sums((z, x, y, N_CLASSES), device).swapaxes(0, 1).swapaxes(1, 2)
        self._classes = classes[slab]
        self._wanted: npt.NDArray[np.bool_] | None = None

    def add_views(self, models: Mapping[View, ViewModel], progress: Progress, restrict: Restrict | None) -> None:
        """Add all views and write the classes of the slab."""
        first, *others = models
        self._add_view(first, models[first], progress, is_first=bool(others), is_last=not others)
        if restrict and others and (wanted := restrict(self._total, self._slab)) is not None:
            if not wanted.any():
                return
            self._narrow(wanted)
        for view in others:
            self._add_view(view, models[view], progress, is_last=view == others[-1])
        if self._wanted is not None:
            self._classes[~self._wanted[self._slab]] = 0

    def _narrow(self, wanted: npt.NDArray[np.bool_]) -> None:
        """Go on with the box in which labels are wanted; what lies in other parts is decoded for what is next to it."""
        self._wanted = np.zeros(self._scene.volume.shape, bool)
        self._wanted[self._slab] = wanted
        narrow, (rows, columns, whole), depth = mask_box(self._wanted), self._scene.box, self._slab[2]
        self._wanted[rows, columns, whole.start : depth.start] = True
        self._wanted[rows, columns, depth.stop : whole.stop] = True
        inside = mask_box(wanted)
        self._total, self._classes, self._slab = self._total[inside], self._classes[inside], narrow

    def _add_view(
        self, view: View, model: ViewModel, progress: Progress, *, is_first: bool = False, is_last: bool = False
    ) -> None:
        """Add a view to the sum, or find the largest of the sums with it added; a batch is prepared one ahead."""
        along = self._slab[view_axes(view)[2]]
        progress.view(view, along.stop - along.start)
        batch_from = partial(self._batch, view, model, is_first=is_first)
        try:
            with ThreadPoolExecutor(1) as beside:
                coming, stop = beside.submit(batch_from, along.start), along.start
                height, width, _ = to_view(self._scene.volume, view).shape
                model.engine.prepare((height, width), self._scene.scale)
                while stop < along.stop:  # in steps that shrink when the engine runs out of memory
                    batch = coming.result()
                    stop = batch.stop
                    if stop < along.stop:
                        coming = beside.submit(batch_from, stop)
                    self._add(view, model, batch, is_last=is_last)
                    progress.advance(stop - batch.start)
        finally:
            model.engine.release()

    def _batch(self, view: View, model: ViewModel, start: int, *, is_first: bool) -> _Batch:
        """The slices from ``start`` on."""
        rows, columns, along = (self._slab[axis] for axis in view_axes(view))
        stop = min(start + model.engine.batch_size, along.stop)
        part = slice(start - along.start, stop - along.start)
        head = self._head(view, model, start, stop)
        sums = LogitSum(_sums_seen(self._total, view)[part], model.weight, (rows, columns), model.order, self._nan_wins)
        if is_first:
            sums.touch(None if head is None else head[:, rows, columns])
        needless = head is not None and not head.any() and not self._nan_wins
        return _Batch(
            start,
            stop,
            None if needless else thick_slices(to_view(self._scene.volume, view), start, stop, model.slices),
            head,
            self._wanted_in(view, start, stop),
            sums,
            np.moveaxis(to_view(self._classes, view), 2, 0)[part],
        )

    def _add(self, view: View, model: ViewModel, batch: _Batch, *, is_last: bool) -> None:
        """Add slices of a view to the sum; of the last view, find the largest instead."""
        if batch.slices is None:
            if is_last:
                batch.classes[:] = batch.sums.largest()
            return
        seen = batch.slices, self._scene.scale, batch.head, batch.sums
        if is_last:
            model.engine.largest(*seen, batch.classes, batch.wanted)
        else:
            model.engine.accumulate(*seen, batch.wanted)
        if self._on_counts:
            n_slices = self._scene.volume.shape[view_axes(view)[2]]
            self._on_counts(view, batch.start, n_slices, model.engine.take_counts())

    def _head(self, view: View, model: ViewModel, start: int, stop: int) -> npt.NDArray[np.bool_] | None:
        """Where the slices' input is not NaN, bool (N, H, W)."""
        if self._scene.head is None:
            return None
        return thick_mask(to_view(self._scene.head, view), start, stop, model.slices, self._scene.margin)

    def _wanted_in(self, view: View, start: int, stop: int) -> npt.NDArray[np.bool_] | None:
        """Where the slices' labels are wanted, bool (N, H, W)."""
        if self._wanted is None:
            return None
        return np.moveaxis(to_view(self._wanted, view)[:, :, start:stop], 2, 0)


def _sums_seen(sums: Sums, view: View) -> Sums:
    """Sums (X, Y, Z, classes) with slices first: (S, H, W, classes), without a copy."""
    rows, columns, along = view_axes(view)
    axes = along, rows, columns, 3
    return sums.transpose(axes) if isinstance(sums, np.ndarray) else sums.permute(axes)
