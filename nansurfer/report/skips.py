"""What a run did not compute, layer by layer and slice by slice, and the figures that follow from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nansurfer.volume import View

IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LayerSkips:
    """Totals of one convolution in one view.

    Parameters
    ----------
    view
        ``"axial"``, ``"coronal"`` or ``"sagittal"``.
    layer
        Module path, such as ``"encode1.conv0"``.
    windows, skipped, mixed
        Output positions, those not computed, and those computed although NaN lay in their window.
    macs, macs_skipped
        Multiply-adds of all windows and of the skipped ones.
    """

    view: View
    layer: str
    windows: int
    skipped: int
    mixed: int
    macs: int
    macs_skipped: int

    @property
    def block(self) -> str:
        """The part of the path before the first dot: ``"encode1"``."""
        return self.layer.partition(".")[0]

    @property
    def skip_ratio(self) -> float:
        """Share of the windows that was skipped."""
        return self.skipped / self.windows

    @property
    def mixed_ratio(self) -> float:
        """Share of the windows that was mixed."""
        return self.mixed / self.windows


def mean_skip_ratio(layers: Sequence[LayerSkips]) -> float:
    """Mean of the layers' skip ratios, each counting alike: the NaN papers' measure."""
    return math.fsum(layer.skip_ratio for layer in layers) / len(layers)


def mac_skip_ratio(layers: Sequence[LayerSkips]) -> float:
    """Share of all multiply-adds that was skipped: what bounds the speed-up."""
    return sum(layer.macs_skipped for layer in layers) / sum(layer.macs for layer in layers)


def by_block(layers: Iterable[LayerSkips]) -> dict[str, list[LayerSkips]]:
    """The layers of each block, blocks in the order of their first layer."""
    blocks: dict[str, list[LayerSkips]] = {}
    for layer in layers:
        blocks.setdefault(layer.block, []).append(layer)
    return blocks


@dataclass(frozen=True)
class ViewSkips:
    """What one view did not compute, in L convolutions and the S slices of the whole volume.

    Parameters
    ----------
    view
        ``"axial"``, ``"coronal"`` or ``"sagittal"``.
    layers : tuple of L str
        Module paths in the order of computation.
    macs_per_window : integer array of shape (L,)
        Multiply-adds of one output position, all output channels.
    windows : integer array of shape (L,)
        Output positions of one whole slice.
    skipped, mixed : integer arrays of shape (L, S)
        Windows not computed, and windows computed although NaN lay in them.
    computed : bool array of shape (S,)
        False where a slice was skipped outright. All its windows then count as skipped and none as mixed,
        whatever ``skipped``, ``mixed`` and ``tiles`` hold there.
    tiles : float32 array of shape (S, h, w)
        Share of the multiply-adds that was skipped in each tile of each slice, 0 to 1, rows and columns as in
        `nansurfer.volume.to_view`.
    """

    view: View
    layers: tuple[str, ...]
    macs_per_window: IntArray
    windows: IntArray
    skipped: IntArray
    mixed: IntArray
    computed: BoolArray
    tiles: FloatArray

    def __post_init__(self) -> None:
        n_layers, n_slices = len(self.layers), self.n_slices
        assert self.windows.shape == self.macs_per_window.shape == (n_layers,)
        assert self.skipped.shape == self.mixed.shape == (n_layers, n_slices)
        assert self.tiles.ndim == 3
        assert self.tiles.shape[0] == n_slices

    @property
    def n_slices(self) -> int:
        """Slices of the volume, S."""
        return self.computed.size

    @cached_property
    def skipped_windows(self) -> IntArray:
        """Skipped windows of each layer and slice, int64 (L, S), slices skipped outright included."""
        return np.where(self.computed, self.skipped, self.windows[:, None]).astype(np.int64)

    @cached_property
    def mixed_windows(self) -> IntArray:
        """Mixed windows of each layer and slice, int64 (L, S)."""
        return np.where(self.computed, self.mixed, 0).astype(np.int64)

    @cached_property
    def skipped_share(self) -> FloatArray:
        """Share of the multiply-adds skipped in each tile, float32 (S, h, w): 1 in slices skipped outright."""
        return np.where(self.computed[:, None, None], self.tiles, 1).astype(np.float32)

    @property
    def macs_per_slice(self) -> int:
        """Multiply-adds of one whole slice."""
        return int(self.windows.astype(np.int64) @ self.macs_per_window.astype(np.int64))

    @property
    def macs_skipped_per_slice(self) -> IntArray:
        """Multiply-adds skipped in each slice, int64 (S,)."""
        skipped: IntArray = self.macs_per_window.astype(np.int64) @ self.skipped_windows
        return skipped

    def layer_skips(self, *, computed_only: bool = False) -> tuple[LayerSkips, ...]:
        """Totals of each layer over all slices, or over those only that went through the network."""
        chosen = self.computed if computed_only else np.ones_like(self.computed)
        n_slices = int(chosen.sum())
        skipped, mixed = self.skipped_windows[:, chosen].sum(axis=1), self.mixed_windows[:, chosen].sum(axis=1)
        columns = (self.windows, skipped, mixed, self.macs_per_window)
        return tuple(
            LayerSkips(self.view, name, w * n_slices, s, m, w * n_slices * macs, s * macs)
            for name, w, s, m, macs in zip(self.layers, *(column.tolist() for column in columns), strict=True)
        )


@dataclass(frozen=True)
class SkipReport:
    """Everything the skip report of one run says.

    Parameters
    ----------
    sid
        The subject's name.
    versions
        Of the packages that matter.
    options
        What decides about skipping: the fields of `nansurfer.pipeline.skipping.SkipOptions`, None where one has no
        say; ``weights``; and what came of the search for the brain, where there was one.
    views
        At least one.
    bookkeeping
        What counting cost: ``counting_s``, ``memory_mb``. It is not in the report's files, which are the same after
        every run.
    left_dense
        Layers that were computed dense because NaN has no meaning for them.
    engine
        ``"fast"``, ``"masked"`` or ``"reference"``; what they skip is the same.
    """

    sid: str
    versions: Mapping[str, str]
    options: Mapping[str, Any]
    views: tuple[ViewSkips, ...]
    bookkeeping: Mapping[str, float]
    left_dense: tuple[str, ...]
    engine: str

    @cached_property
    def layers(self) -> tuple[LayerSkips, ...]:
        """Totals of every layer of every view."""
        return tuple(layer for view in self.views for layer in view.layer_skips())

    @property
    def mean_skip_ratio(self) -> float:
        """Unweighted mean over all layers of all views."""
        return mean_skip_ratio(self.layers)

    @property
    def mac_skip_ratio(self) -> float:
        """Share of the multiply-adds that was skipped."""
        return mac_skip_ratio(self.layers)

    @property
    def speedup_bound(self) -> float:
        """How many times faster the convolutions can be at most; infinite if all was skipped."""
        return 1 / (1 - self.mac_skip_ratio) if self.mac_skip_ratio < 1 else math.inf
