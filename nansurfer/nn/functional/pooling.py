"""Max pooling that ignores NaN, and that can make NaN of a maximum which is not unique."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from nansurfer.errors import ConfigError
from nansurfer.nn.functional.windows import (
    Size,
    Sizes,
    Windows,
    accumulation_dtype,
    check_layout,
    per_axis,
    spans,
)
from nansurfer.nn.options import PoolOptions, Ties

Pooled = tuple[Tensor, Tensor]
"""Values and indices."""


def nan_max_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    max_ties: int | None = 1,
    rtol: float = 1e-7,
    atol: float = 1e-8,
    ties: Ties = "nan",
    margin: int = 0,
    blank: Pooled | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Maxima of the windows' values that are not NaN; a maximum with too many ties is NaN, or marked.

    Parameters
    ----------
    x
        Input (N, C, H, W).
    kernel_size, stride, padding, dilation, ceil_mode, return_indices
        As in :func:`torch.nn.functional.max_pool2d`. Padding is never a value.
    max_ties
        How many values may tie for the maximum m: v ties if v == m or |v - m| <= atol + rtol · |m|, the latter
        only for finite m. None: ties never count.
    rtol, atol
        Tolerances of a tie; compared in float32, or in float64 for float64.
    margin, blank
        Windows of nothing but NaN that lie up to ``margin`` positions away (along axes and diagonals) from one with
        a value take the values and indices of ``blank``: those, (C, H', W'), that an empty image has there.
    ties
        What becomes of a window with more than ``max_ties``. ``"nan"`` (the papers' aggressive form): the value is
        NaN and the index is the window's first position inside the image. ``"mark"`` (conservative): the value is
        m, and the indices list all tied positions.

    Returns
    -------
    values
        (N, C, H', W'), as PyTorch's; NaN also where a window holds nothing but NaN.
    indices
        Only with ``return_indices``: int64 flat positions in the (H, W) plane, as PyTorch's, of the first value
        that equals m, or of the window's first position where nothing but NaN is. With ``"mark"``
        (N, C, H', W', kernel height · kernel width): the tied positions, ascending, if there are more than
        ``max_ties``, otherwise the one position; filled up with -1.

    Raises
    ------
    ConfigError
        A shape, the padding or ``ties`` makes no sense.

    Notes
    -----
    The NaN pooling of "NaN Pooling and Convolution Accelerate U-Nets" (2025). Unlike the authors' code no sample
    sees another's ties, infinities never arise from NaN, and padding, dilation and 3D are supported; the margin is
    ours.
    """
    options = PoolOptions(max_ties, rtol, atol, ties, margin)
    values, indices = max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode, options, blank)
    return (values, indices) if return_indices else values


def nan_max_pool3d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    max_ties: int | None = 1,
    rtol: float = 1e-7,
    atol: float = 1e-8,
    ties: Ties = "nan",
    margin: int = 0,
    blank: Pooled | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Like :func:`nan_max_pool2d`, for volumes (N, C, D, H, W); indices are flat positions in the volume."""
    options = PoolOptions(max_ties, rtol, atol, ties, margin)
    values, indices = max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode, options, blank)
    return (values, indices) if return_indices else values


def max_pool(
    dims: int,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
    options: PoolOptions,
    blank: Pooled | None = None,
) -> Pooled:
    """Values and indices of :func:`nan_max_pool2d` or its 3D twin, by ``dims``."""
    check_layout(x, dims)
    windows = _pool_windows(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    with torch.no_grad():
        candidates = windows.taps(x.to(accumulation_dtype(x)), torch.nan)
        positions = windows.taps(_flat_positions(x), -1)
        largest = reduce(torch.fmax, candidates)  # fmax prefers any value to NaN
        tied = [] if options.max_ties is None else _tied(candidates, largest, options)
        crowded = sum(tied, torch.zeros_like(largest, dtype=torch.int32)) > (options.max_ties or 0)
        undecided = largest.isnan() | crowded if options.ties == "nan" else largest.isnan()
        index = _first(positions, [at >= 0 for at in positions])
        index = torch.where(undecided, index, _first(positions, [value == largest for value in candidates]))
    # Gathered from x, so that gradients flow to that position alone, as in PyTorch's pooling.
    values = x.flatten(2).gather(2, index.flatten(2)).view_as(index).masked_fill(undecided, torch.nan)
    if options.ties == "mark":
        return values, _listed(positions, tied, crowded, index)
    if options.margin and undecided.any():
        return _widened(values, index, options.margin, blank)
    return values, index


def _widened(values: Tensor, index: Tensor, margin: int, blank: Pooled | None) -> Pooled:
    """Values and indices with those of an empty image around what is not NaN."""
    if blank is None:
        raise ConfigError("A margin needs what an empty image has there; run record_blank on the model first.")
    missing = values.isnan()
    kept = (~missing).any(1, keepdim=True).to(values.dtype)
    widen = F.max_pool2d if values.dim() == 4 else F.max_pool3d
    taken = missing & (widen(kept, 2 * margin + 1, 1, margin) > 0)
    return torch.where(taken, blank[0].to(values), values), torch.where(taken, blank[1], index)


def _pool_windows(
    spatial: Sizes, kernel_size: Size, stride: Size | None, padding: Size, dilation: Size, ceil_mode: bool
) -> Windows:
    dims = len(spatial)
    kernel, before, dilated = (per_axis(value, dims) for value in (kernel_size, padding, dilation))
    # An empty sequence, like None, stands for the kernel size in PyTorch too.
    strides = per_axis(stride or kernel, dims)
    after = []
    for size, span, step, pad in zip(spatial, spans(kernel, dilated), strides, before, strict=True):
        if not 0 <= pad <= span // 2:
            raise ConfigError(f"The padding of a pooling is {pad}; its window spans {span}, so give at most half.")
        steps, rest = divmod(size + 2 * pad - span, step)
        if steps < 0:
            raise ConfigError(
                f"The pooling's window spans {span} positions but the padded input only {size + 2 * pad}."
            )
        # As in PyTorch a window that ceil_mode adds must not start behind the image.
        if ceil_mode and rest and (steps + 1) * step < size + pad:
            steps += 1
        after.append(max(0, steps * step + span - size - pad))
    return Windows(kernel, strides, dilated, before, tuple(after))


def _flat_positions(x: Tensor) -> Tensor:
    """0, 1, 2... over the spatial axes, (1, 1, *spatial)."""
    return torch.arange(x.shape[2:].numel(), device=x.device).view(1, 1, *x.shape[2:])


def _tied(candidates: list[Tensor], largest: Tensor, options: PoolOptions) -> list[Tensor]:
    tolerance = (options.atol + options.rtol * largest.abs()).masked_fill(largest.isinf(), 0)
    return [(value == largest) | ((value - largest).abs() <= tolerance) for value in candidates]


def _first(positions: list[Tensor], chosen: list[Tensor]) -> Tensor:
    """The first position of every window that is chosen; 0 where none is, as when a dilated window misses the image."""
    index = torch.zeros_like(positions[0])
    for position, choice in zip(reversed(positions), reversed(chosen), strict=True):
        index = torch.where(choice, position, index)
    return index


def _listed(positions: list[Tensor], tied: list[Tensor], crowded: Tensor, index: Tensor) -> Tensor:
    """Per window the tied positions where it is crowded, else ``index`` alone; then -1, (N, C, *output, taps)."""
    listing = index.new_full((*index.shape, len(positions)), -1)
    rank = torch.zeros_like(index)
    for place, position in enumerate(positions):
        listed = position == index
        if tied:
            listed = torch.where(crowded, tied[place], listed)
        listing.scatter_(-1, rank.unsqueeze(-1), torch.where(listed, position, -1).unsqueeze(-1))
        rank += listed
    return listing
