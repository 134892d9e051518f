"""What the compiled kernels skipped, put together slice by slice."""

from __future__ import annotations

import numpy as np

from nansurfer.engine.counts import TILE, SliceCounts
from nansurfer.engine.packed import PackedNetwork
from nansurfer.engine.steps import Counter


class Tally:
    """The counts of ``n`` slices, each of which is skipped outright unless it is added.

    Parameters
    ----------
    network
        Whose convolutions are counted.
    size
        Height and width of the slices.
    n
        How many.
    """

    def __init__(self, network: PackedNetwork, size: tuple[int, int], n: int) -> None:
        self._network = network
        self._windows = np.array([(size[0] >> depth) * (size[1] >> depth) for depth in network.depths])
        grid = size[0] // TILE, size[1] // TILE
        per_tile = self._windows // (grid[0] * grid[1])
        self._skipped = np.empty((n, len(per_tile), *grid), np.int32)
        self._skipped[:] = per_tile[:, None, None]
        self._mixed = np.zeros((n, len(per_tile)), np.int64)
        self._computed = np.zeros(n, bool)
        self._seconds = np.zeros(n)

    def add(self, index: int, counter: Counter) -> None:
        """Add the counts of one slice. Threads may add different slices at a time."""
        self._skipped[index], self._mixed[index] = counter.skipped, counter.mixed
        self._computed[index], self._seconds[index] = True, counter.seconds

    def counts(self, threads: int) -> SliceCounts:
        """All of them, counted by so many threads at a time."""
        macs = np.array(self._network.macs_per_window)
        shares = macs / (macs @ self._windows) * self._skipped[0, 0].size  # of a tile's work, by window
        return SliceCounts(
            layers=self._network.layers,
            macs_per_window=macs,
            windows=self._windows,
            skipped=self._skipped.sum(axis=(2, 3), dtype=np.int64).T,
            mixed=self._mixed.T,
            computed=self._computed,
            tiles=np.tensordot(self._skipped, shares, axes=(1, 0)).astype(np.float32),
            counting_s=float(self._seconds.sum()) / threads,
        )
