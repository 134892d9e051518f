"""What every engine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from nansurfer.engine.counts import SliceCounts
from nansurfer.engine.sums import Classes, LogitSum

if TYPE_CHECKING:
    from torch import Tensor

Slices = npt.NDArray[np.uint8]
"""Thick slices (N, slices, H, W), 0..255."""

Mask = npt.NDArray[np.bool_]
"""Of pixels, (N, H, W)."""


class Engine(Protocol):
    """Runs one view's network on thick slices.

    ``scale`` is 1 mm divided by the voxel size. The input is NaN where ``head`` is False; the last decoder's where
    ``wanted`` is False, so that what no label is wanted for is seen but not decoded. Either may be None: nowhere.

    Attributes
    ----------
    name
        As ``ComputeOptions.engine`` calls it.
    device
        Where it computes: ``"cpu"``, ``"cuda"`` or ``"mps"``.
    batch_size
        Slices that it wants at once.
    left_dense
        Layers that have no NaN version.
    """

    name: str
    device: str
    batch_size: int
    left_dense: tuple[str, ...]

    def prepare(self, size: tuple[int, int], scale: float) -> None:
        """Do what can be done for slices of a height and width before they are there."""
        ...

    def logits(self, slices: Slices, scale: float, head: Mask | None = None, wanted: Mask | None = None) -> Tensor:
        """Logits float32 (N, classes, H, W), NaN where they were skipped."""
        ...

    def accumulate(
        self, slices: Slices, scale: float, head: Mask | None, sums: LogitSum, wanted: Mask | None = None
    ) -> None:
        """Add the logits to sums."""
        ...

    def largest(
        self,
        slices: Slices,
        scale: float,
        head: Mask | None,
        sums: LogitSum,
        classes: Classes,
        wanted: Mask | None = None,
    ) -> None:
        """Write the class of the largest of the sums with the logits added, the first of equal ones, uint8 (N, h, w).

        The sums, which are of the other views, stay as they are.
        """
        ...

    def take_counts(self) -> SliceCounts:
        """What was skipped of the slices computed since the last call."""
        ...

    def release(self) -> None:
        """Give back memory that is kept between calls and can be made anew."""
        ...
