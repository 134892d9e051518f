"""The views' logits added up, slice by slice, as FastSurfer does: in float16, rounded after each view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nansurfer.engine import native
from nansurfer.engine.maps import aligned_zeros

Part = tuple[slice, slice]
"""Rows and columns of a slice."""


@dataclass(frozen=True)
class LogitSum:
    """Sums of the views' logits in some slices, and how a view is added to them.

    Parameters
    ----------
    total
        Float16 (N, h, w, classes), the classes contiguous; on any device for PyTorch's engines.
    weight
        Factor on the view's logits.
    part
        The h rows and w columns of the slices that the sums are of.
    order
        The view's class for each class of the sums; None: its own.
    nan_wins
        Whether a NaN in the logits makes the sum NaN; otherwise the view abstains there and adds nothing.
    """

    total: Tensor
    weight: float
    part: Part
    order: Sequence[int] | None = None
    nan_wins: bool = False

    def __post_init__(self) -> None:
        assert self.total.dtype == torch.float16
        assert self.total.stride(-1) == 1, "classes are contiguous"

    def add(self, logits: Tensor) -> None:
        """Add a view's logits, float32 (N, classes, H, W)."""
        for total, seen in zip(self.total, logits, strict=True):  # one slice at a time: several would take gigabytes
            total.copy_(self._with(total, seen))

    def largest(self, logits: Tensor | None = None) -> Tensor:
        """Class of the largest of the sums with a view's logits added, uint8 (N, h, w).

        The first of equal ones wins, as NumPy and PyTorch promise, and of NaN the first as well, which is background.
        """
        found = [
            _largest(total.float() if logits is None else self._with(total, logits[index]).half().float())
            for index, total in enumerate(self.total)
        ]
        return torch.stack(found)

    def _with(self, total: Tensor, logits: Tensor) -> Tensor:
        """The float16 sums (h, w, classes) plus weighted logits (classes, H, W), in float32."""
        rows, columns = self.part
        seen = logits[:, rows, columns].permute(1, 2, 0).to(total.device)
        if self.order is not None:
            voxels = seen.flatten(end_dim=-2)  # two axes are selected from several times as fast as three
            order = torch.tensor(self.order, device=voxels.device)
            seen = voxels.index_select(1, order).view(*seen.shape[:-1], len(self.order))
        if not self.nan_wins:
            seen = seen.masked_fill(seen.isnan(), 0)
        return torch.add(total.float(), seen, alpha=self.weight)

    def touch(self, seen: npt.NDArray[np.bool_] | None) -> None:
        """Write zeros to sums never written to, in the rectangle around what is ``seen``, bool (N, h, w); None: all.

        A view that is added reads first, and so the system would have to come up with each page twice.
        """
        if self.total.device.type != "cpu":
            return
        sums = self.total.numpy()
        if seen is None:
            sums[:] = 0
            return
        for total, mask in zip(sums, seen, strict=True):
            if mask.any():
                rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
                total[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 0

    def native(self, index: int) -> native.Sum:
        """For the kernels, of one slice."""
        assert not self.nan_wins, "the kernels let a view abstain"
        total, (rows, columns) = self.total[index], self.part
        row, column, _ = total.stride()
        outside = (rows.start * row + columns.start * column) * total.element_size()
        return native.Sum(
            data=total.data_ptr() - outside,
            row=row,
            column=column,
            top=rows.start,
            bottom=rows.stop,
            left=columns.start,
            right=columns.stop,
        )


def _largest(sums: Tensor) -> Tensor:
    """Class of the largest of sums (h, w, classes), uint8 (h, w)."""
    if sums.device.type == "cpu":  # NumPy takes a third of PyTorch's time
        return torch.from_numpy(sums.numpy().argmax(axis=-1).astype(np.uint8))
    return sums.argmax(dim=-1).to(torch.uint8)


def zero_sums(shape: tuple[int, ...], device: torch.device | None = None) -> Tensor:
    """Float16 zeros (..., classes); on the CPU, only what is ever written to takes memory, and time to get it.

    Of the box around a head that is two thirds. Where another device's memory does not suffice they are on the CPU.
    """
    if device is not None and device.type != "cpu":
        with suppress(torch.OutOfMemoryError):
            return torch.zeros(shape, dtype=torch.float16, device=device)
    return torch.from_numpy(aligned_zeros(math.prod(shape), np.float16, sparse=True)).view(shape)
