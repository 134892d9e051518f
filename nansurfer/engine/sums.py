"""The views' logits added up, slice by slice, as FastSurfer does: in float16, rounded after each view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from nansurfer.engine import native
from nansurfer.engine.maps import aligned_zeros

if TYPE_CHECKING:
    from torch import Tensor

Part = tuple[slice, slice]
"""Rows and columns of a slice."""

Sums: TypeAlias = "npt.NDArray[np.float16] | Tensor"
"""In the computer's memory an array, on another device one of PyTorch's tensors."""

Classes = npt.NDArray[np.uint8]
"""Of the pixels of some slices, (N, h, w)."""


@dataclass(frozen=True)
class LogitSum:
    """Sums of the views' logits in some slices, and how a view is added to them.

    Parameters
    ----------
    total
        Float16 (N, h, w, classes), the classes contiguous.
    weight
        Factor on the view's logits.
    part
        The h rows and w columns of the slices that the sums are of.
    order
        The view's class for each class of the sums; None: its own.
    nan_wins
        Whether a NaN in the logits makes the sum NaN; otherwise the view abstains there and adds nothing.
    """

    total: Sums
    weight: float
    part: Part
    order: Sequence[int] | None = None
    nan_wins: bool = False

    def __post_init__(self) -> None:
        assert str(self.total.dtype) in ("float16", "torch.float16")

    def add(self, logits: Tensor) -> None:
        """Add a view's logits, float32 (N, classes, H, W)."""
        for total, seen in zip(_as_tensor(self.total), logits, strict=True):  # several slices would take gigabytes
            total.copy_(self._with(total, seen))

    def largest(self, logits: Tensor | None = None) -> Classes:
        """Class of the largest of the sums with a view's logits added, uint8 (N, h, w).

        The first of equal ones wins, as NumPy and PyTorch promise, and of NaN the first as well, which is background.
        """
        if logits is None:
            return np.stack([_largest(total) for total in self.total])
        pairs = zip(_as_tensor(self.total), logits, strict=True)
        return np.stack([_largest(self._with(total, seen).half()) for total, seen in pairs])

    def _with(self, total: Tensor, logits: Tensor) -> Tensor:
        """The float16 sums (h, w, classes) plus weighted logits (classes, H, W), in float32."""
        import torch

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
        if not isinstance(self.total, np.ndarray):
            return
        if seen is None:
            self.total[:] = 0
            return
        for total, mask in zip(self.total, seen, strict=True):
            if mask.any():
                rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
                total[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 0

    def native(self, index: int) -> native.Sum:
        """For the kernels, of one slice."""
        assert not self.nan_wins, "the kernels let a view abstain"
        assert isinstance(self.total, np.ndarray), "they compute in the computer's memory"
        total, (rows, columns) = self.total[index], self.part
        row, column, number = total.strides
        assert number == total.itemsize, "classes are contiguous"
        return native.Sum(
            data=total.ctypes.data - rows.start * row - columns.start * column,
            row=row // number,
            column=column // number,
            top=rows.start,
            bottom=rows.stop,
            left=columns.start,
            right=columns.stop,
        )


def _as_tensor(sums: Sums) -> Tensor:
    """The same numbers, for PyTorch."""
    import torch

    return torch.from_numpy(sums) if isinstance(sums, np.ndarray) else sums


def _largest(sums: Sums) -> Classes:
    """Class of the largest of float16 sums (h, w, classes), uint8 (h, w)."""
    if not isinstance(sums, np.ndarray) and sums.device.type == "cpu":
        sums = sums.numpy()  # which takes a third of PyTorch's time
    found = (
        sums.astype(np.float32).argmax(-1) if isinstance(sums, np.ndarray) else sums.float().argmax(-1).cpu().numpy()
    )
    largest: Classes = found.astype(np.uint8)
    return largest


def zero_sums(shape: tuple[int, ...], device: str = "cpu") -> Sums:
    """Float16 zeros (..., classes); on the CPU, only what is ever written to takes memory, and time to get it.

    Of the box around a head that is two thirds. Where another device's memory does not suffice they are on the CPU.
    """
    if device != "cpu":
        import torch

        with suppress(torch.OutOfMemoryError):
            return torch.zeros(shape, dtype=torch.float16, device=device)
    return aligned_zeros(math.prod(shape), np.float16, sparse=True).reshape(shape)
