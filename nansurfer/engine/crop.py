"""Rectangles of slices, one on each level of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Size = tuple[int, int]
"""Height and width."""

_COARSEST_GRAIN, _FINEST_GRAIN = 16, 2  # pixels; rectangles of few different sizes, that can be pooled


@dataclass(frozen=True)
class Crop:
    """A rectangle: its rows and columns."""

    rows: slice
    columns: slice

    @classmethod
    def whole(cls, size: Size) -> Crop:
        """All of a map of this size."""
        return cls(slice(0, size[0]), slice(0, size[1]))

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def of(self, x: Any) -> Any:
        """The rectangle of an array or a tensor (..., H, W), without a copy."""
        return x[..., self.rows, self.columns]

    def pooled(self) -> Crop:
        """The same on the next level, whose pixels are four of these."""
        return Crop(*(slice(part.start // 2, part.stop // 2) for part in (self.rows, self.columns)))

    def seen_from(self, other: Crop) -> Crop:
        """The same, its rows and columns counted in another rectangle that holds it."""
        pairs = (self.rows, other.rows), (self.columns, other.columns)
        return Crop(*(slice(own.start - its.start, own.stop - its.start) for own, its in pairs))


def crops_around(computed: Mapping[Size, Tensor], reach: int) -> dict[Size, Crop]:
    """The rectangle on each level that holds what is computed there, and what that sees.

    Parameters
    ----------
    computed
        By the size of a level's maps, from the highest level to the deepest: bool (N, H, W), in how many ways so ever
        windows are computed.
    reach
        Pixels that a window sees around its own.

    Returns
    -------
    dict
        By the same sizes. Each rectangle can be pooled, and the next holds the result.
    """
    sides = [mask.any(0).any(axis) for mask in computed.values() for axis in (1, 0)]
    known = torch.cat(sides).cpu()  # one transfer for all
    extents = [np.flatnonzero(side) for side in torch.split(known, [len(side) for side in sides])]
    crops: dict[Size, Crop] = {}
    above = None
    grain = _COARSEST_GRAIN
    for size, rows, columns in zip(computed, extents[::2], extents[1::2], strict=True):
        parts = [
            _hull(places, side, reach, grain, None if above is None else above[axis])
            for axis, (places, side) in enumerate(zip((rows, columns), size, strict=True))
        ]
        crops[size] = Crop(*parts)
        pooled = crops[size].pooled()
        above, grain = (pooled.rows, pooled.columns), max(_FINEST_GRAIN, grain // 2)
    return crops


def _hull(places: Any, side: int, reach: int, grain: int, other: slice | None) -> slice:
    """From the first of these places to the last and ``reach`` more, in whole grains; ``other`` as well."""
    starts = [int(places[0]) - reach] if len(places) else []
    stops = [int(places[-1]) + 1 + reach] if len(places) else []
    if other is not None:
        starts, stops = [*starts, other.start], [*stops, other.stop]
    start = max(0, min(starts, default=0) // grain * grain)
    return slice(start, min(side, -(-max(stops, default=1) // grain) * grain))
