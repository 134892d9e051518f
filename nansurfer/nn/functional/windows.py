"""Where the windows of a pooling or a convolution lie, in 2D and 3D alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from nansurfer.errors import ConfigError

Size = int | Sequence[int]
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Geometry of the windows over the spatial axes of (N, C, *spatial); one number an axis.

    Parameters
    ----------
    kernel, stride, dilation
        As in PyTorch's layers.
    before, after
        Padding in front of the first and behind the last position.
    """

    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    before: Sizes
    after: Sizes

    def taps(self, x: Tensor, fill: float) -> list[Tensor]:
        """Per place in the kernel the value that every window has there, (N, C, *output); padding holds ``fill``.

        These are views, of ``x`` itself if nothing is padded.
        """
        if any(self.before) or any(self.after):
            x = F.pad(x, pad_argument(self.before, self.after), value=fill)
        ends = [
            (size - span) // stride * stride + 1
            for size, span, stride in zip(x.shape[2:], spans(self.kernel, self.dilation), self.stride, strict=True)
        ]
        axes = list(zip(self.dilation, ends, self.stride, strict=True))
        indices = (
            tuple(slice(at * d, at * d + end, s) for at, (d, end, s) in zip(places, axes, strict=True))
            for places in product(*map(range, self.kernel))
        )
        everything = (slice(None), slice(None))
        return [x[everything + index] for index in indices]

    def sums(self, x: Tensor) -> Tensor:
        """Sum of every window's values, (N, C, *output); padding adds nothing."""
        # Plain additions: exact for integers, where a GPU's convolution may round to TF32.
        return reduce(torch.add, self.taps(x, 0))

    def at(self, places: Tensor, x: Tensor) -> Tensor:
        """Values (n, taps, C) of some windows, given by sample and position, int64 (n, 1 + dims); padding holds 0."""
        if any(self.before) or any(self.after):
            x = F.pad(x, pad_argument(self.before, self.after))
        steps = [
            math.prod(x.shape[3 + axis :]) for axis in range(len(self.kernel))
        ]  # from place to place along an axis
        samples, *position = places.unbind(1)
        first = samples * math.prod(x.shape[2:])
        for index, stride, step in zip(position, self.stride, steps, strict=True):
            first = first + index * (stride * step)
        taps = [
            sum(tap * dilation * step for tap, dilation, step in zip(place, self.dilation, steps, strict=True))
            for place in product(*map(range, self.kernel))
        ]
        seen = first.unsqueeze(1) + torch.tensor(taps, device=places.device)
        values = x.movedim(1, -1).reshape(-1, x.shape[1]).index_select(0, seen.flatten())
        return values.view(*seen.shape, x.shape[1])

    @property
    def taps_each(self) -> int:
        """Places in a window."""
        return math.prod(self.kernel)


def spans(kernel: Sizes, dilation: Sizes) -> list[int]:
    """Positions from a window's first to its last, per axis."""
    return [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]


def per_axis(value: Size, dims: int) -> Sizes:
    """``value`` as one integer an axis."""
    if isinstance(value, int):
        return (value,) * dims
    if len(value) != dims:
        raise ConfigError(f"A kernel size, stride, padding or dilation has {len(value)} numbers; give 1 or {dims}.")
    return tuple(value)


def pad_argument(before: Sizes, after: Sizes) -> list[int]:
    """What ``torch.nn.functional.pad`` wants: the last axis first, front and back in turn."""
    return [amount for pair in zip(reversed(before), reversed(after), strict=True) for amount in pair]


def check_layout(x: Tensor, dims: int) -> None:
    """Raise unless ``x`` is (N, C, *spatial) with ``dims`` spatial axes."""
    if x.dim() != dims + 2:
        axes = "(N, C, H, W)" if dims == 2 else "(N, C, D, H, W)"
        raise ConfigError(f"The input's shape is {tuple(x.shape)}; a {dims}D NaN layer takes {axes}.")


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """float32, or float64 for float64: wide enough for sums and comparisons of ``x``'s values."""
    return torch.promote_types(x.dtype, torch.float32)
