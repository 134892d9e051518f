"""What an engine did not compute, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn

    from nansurfer.nn import LayerCounts

TILE = 16
"""Side in pixels of the tiles for which skips are told apart: one pixel of the networks' deepest level."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SliceCounts:
    """The skips of n slices in L convolutions.

    Parameters
    ----------
    layers
        Module paths, in the order of computation.
    macs_per_window
        Multiply-adds of one output position, int64 (L,).
    windows
        Output positions of one slice, int64 (L,).
    skipped, mixed
        Windows not computed; windows computed although some of their values are NaN. Int64 (L, n).
    computed
        False where the whole slice was skipped outright; its windows all count as skipped. Bool (n,).
    tiles
        Share of the slice's multiply-adds skipped in each tile of 16x16 pixels, float32 (n, H / 16, W / 16).
    counting_s
        Seconds by which counting alone made the run longer.
    """

    layers: tuple[str, ...]
    macs_per_window: IntArray
    windows: IntArray
    skipped: IntArray
    mixed: IntArray
    computed: npt.NDArray[np.bool_]
    tiles: npt.NDArray[np.float32]
    counting_s: float = 0.0

    def repeated(self, n: int) -> SliceCounts:
        """The counts of ``n`` slices that are like the only one here."""
        return replace(
            self,
            skipped=self.skipped.repeat(n, axis=1),
            mixed=self.mixed.repeat(n, axis=1),
            computed=self.computed.repeat(n),
            tiles=self.tiles.repeat(n, axis=0),
            counting_s=0.0,
        )


def tile_grid(slices: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Rows and columns of tiles of thick slices (N, C, H, W)."""
    return slices.shape[2] // TILE, slices.shape[3] // TILE


def counts_of(network: nn.Module) -> SliceCounts:
    """What the NaN layers of a network counted, on a grid of tiles, since their counts were last reset."""
    from nansurfer.nn import counting_s, skip_counts

    return replace(counts_of_layers(skip_counts(network)), counting_s=counting_s(network))


def counts_of_layers(layers: Sequence[LayerCounts]) -> SliceCounts:
    """The counts of layers, each of the same slices and on a grid of tiles, put together."""
    macs = np.array([layer.macs_per_window * layer.windows[0] for layer in layers], float)
    tiles = [layer.tiles for layer in layers if layer.tiles is not None]
    return SliceCounts(
        layers=tuple(layer.name for layer in layers),
        macs_per_window=np.array([layer.macs_per_window for layer in layers]),
        windows=np.array([layer.windows[0] for layer in layers]),
        skipped=np.stack([layer.skipped for layer in layers]),
        mixed=np.stack([layer.mixed for layer in layers]),
        computed=np.ones(len(layers[0].windows), bool),
        tiles=np.tensordot(macs / macs.sum(), np.stack(tiles), axes=1).astype(np.float32),
    )


def concatenated(counts: Sequence[SliceCounts]) -> SliceCounts:
    """The counts of several runs of the same layers, one after another."""
    return replace(
        counts[0],
        skipped=np.concatenate([c.skipped for c in counts], axis=1),
        mixed=np.concatenate([c.mixed for c in counts], axis=1),
        computed=np.concatenate([c.computed for c in counts]),
        tiles=np.concatenate([c.tiles for c in counts]),
        counting_s=sum(c.counting_s for c in counts),
    )
