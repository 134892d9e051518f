"""What the compiled kernels skipped, put together slice by slice."""

from __future__ import annotations

import numpy as np

from nansurfer.engine.counts import IntArray, SliceCounts
from nansurfer.engine.steps import Counter, Shared


class Tally:
    """The counts of ``n`` slices, each of which is skipped outright unless it is added.

    Parameters
    ----------
    shared
        Whose convolutions are counted, and the size of the slices.
    n
        How many.
    """

    def __init__(self, shared: Shared, n: int) -> None:
        self._network = shared.network
        sizes = self._network.sizes(shared.size, shared.inner_size)
        self._windows = np.array([height * width for height, width in sizes])
        self._per_tile = np.stack([_tile_sizes(size, shared.tiles) for size in sizes])
        self._tiles = np.repeat(self._per_tile[None].astype(np.int32), n, axis=0)
        self._skipped = np.repeat(self._windows[None], n, axis=0)
        self._mixed = np.zeros_like(self._skipped)
        self._computed = np.zeros(n, bool)
        self._seconds = np.zeros(n)

    def add(self, index: int, counter: Counter) -> None:
        """Add the counts of one slice. Threads may add different slices at a time."""
        self._tiles[index], self._skipped[index], self._mixed[index] = counter.tiles, counter.skipped, counter.mixed
        self._computed[index], self._seconds[index] = True, counter.seconds

    def counts(self, threads: int) -> SliceCounts:
        """All of them, counted by so many threads at a time."""
        macs = np.array(self._network.macs_per_window)
        shares = macs * self._windows / (macs @ self._windows)  # of a slice's work, by layer
        return SliceCounts(
            layers=self._network.layers,
            macs_per_window=macs,
            windows=self._windows,
            skipped=self._skipped.T,
            mixed=self._mixed.T,
            computed=self._computed,
            tiles=np.tensordot(shares, self._tiles / self._per_tile, axes=(0, 1)).astype(np.float32),
            counting_s=float(self._seconds.sum()) / threads,
        )


def _tile_sizes(size: tuple[int, int], tiles: tuple[int, int]) -> IntArray:
    """Pixels in each tile of an image; neighbours overlap where the tiles do not divide it evenly."""
    rows, columns = (_lengths(side, n) for side, n in zip(size, tiles, strict=True))
    return rows[:, None] * columns


def _lengths(side: int, n: int) -> IntArray:
    edges = np.arange(n + 1) * side
    lengths: IntArray = -(-edges[1:] // n) - edges[:-1] // n
    return lengths
