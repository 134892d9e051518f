"""Convolution that skips windows with many NaN and fills the others."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
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
    pad_argument,
    per_axis,
    spans,
)
from nansurfer.nn.options import ConvOptions, Fill, nan_needed

_GATHERED = 1 << 24  # places in mixed windows at a time


class WindowKinds(NamedTuple):
    """What became of each window, bool (N, groups, *output)."""

    skipped: Tensor
    mixed: Tensor  # some NaN, yet computed


def nan_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    threshold: float = 1.0,
    count_include_pad: bool = False,
    fill: Fill = "mean",
    blank: Tensor | None = None,
    return_skipped: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolution whose windows are NaN where the share of NaN reaches the threshold, filled where it does not.

    Parameters
    ----------
    x
        Input (N, C, H, W), finite or NaN.
    weight, bias, stride, padding, dilation, groups
        As in :func:`torch.nn.functional.conv2d`.
    padding_mode
        As in :class:`torch.nn.Conv2d`. All but zeros repeat the image, NaN too, and count as values of it.
    threshold
        Share of NaN in 0..1, more than 0, from which a window is skipped. A window is one position of one group.
    count_include_pad
        Whether padded zeros are values that count and enter the mean (the papers' way); then a border window never
        reaches threshold 1. Without them a window counts what lies inside the image.
    fill
        What stands for the NaN of a window that is computed: the ``"mean"`` of the window's values, ``"zero"``, or
        ``"blank"``, the layer's input for an empty image.
    blank
        That input, broadcastable to (C, H, W).
    return_skipped
        Whether to return which windows were skipped as well.

    Returns
    -------
    output
        (N, out channels, H', W'): PyTorch's where the windows hold no NaN, NaN in all of a group's channels where
        they are skipped.
    skipped
        Only with ``return_skipped``: bool (N, groups, H', W').

    Raises
    ------
    ConfigError
        The threshold is outside (0, 1], the fill unknown, or the blank missing or of another size.

    Notes
    -----
    conv(filled) = conv(x with 0 for NaN) + mean · conv(NaN mask), the latter in the few windows that have both; the
    others stay PyTorch's to the bit. Skipping is decided on integer counts. The NaN convolution of "NaN Pooling and
    Convolution Accelerate U-Nets" (2025), whose code averages over the whole batch; here no sample sees another.
    ``"zero"``, ``"blank"`` and not counting the padding are ours.
    """
    options = ConvOptions(threshold, count_include_pad, fill)
    output, kinds = convolve(2, x, weight, bias, stride, padding, dilation, groups, padding_mode, options, blank)
    return (output, _skipped(output, groups, kinds)) if return_skipped else output


def nan_conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    threshold: float = 1.0,
    count_include_pad: bool = False,
    fill: Fill = "mean",
    blank: Tensor | None = None,
    return_skipped: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Like :func:`nan_conv2d`, for volumes (N, C, D, H, W)."""
    options = ConvOptions(threshold, count_include_pad, fill)
    output, kinds = convolve(3, x, weight, bias, stride, padding, dilation, groups, padding_mode, options, blank)
    return (output, _skipped(output, groups, kinds)) if return_skipped else output


def convolve(
    dims: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size | str,
    dilation: Size,
    groups: int,
    padding_mode: str,
    options: ConvOptions,
    blank: Tensor | None,
) -> tuple[Tensor, WindowKinds | None]:
    """:func:`nan_conv2d` or its 3D twin, by ``dims``, with the kinds of its windows; None if ``x`` has no NaN."""
    check_layout(x, dims)
    kernel, dilated = tuple(weight.shape[2:]), per_axis(dilation, dims)
    before, after = _explicit_padding(padding, kernel, dilated)
    pad = _identity
    if padding_mode != "zeros":
        pad = partial(F.pad, pad=pad_argument(before, after), mode=padding_mode)
        padding, before, after = 0, (0,) * dims, (0,) * dims
    convolution = F.conv2d if dims == 2 else F.conv3d
    conv = partial(convolution, stride=stride, padding=padding, dilation=dilation, groups=groups)
    padded = pad(x)
    missing = _grouped(padded.isnan(), groups)
    missing_at = missing.sum(2, dtype=torch.int32)
    if not missing_at.any():
        return conv(padded, weight, bias), None
    windows = Windows(kernel, per_axis(stride, dims), dilated, before, after)
    counts = _count(missing_at, windows, weight.shape[1], options.count_include_pad)
    skipped = _reaches(counts, options.threshold)
    kinds = WindowKinds(skipped, (counts.missing > 0) & ~skipped)
    if options.fill == "blank":
        output = conv(pad(torch.where(x.isnan(), _fitting_blank(blank, x), x)), weight, bias)
    else:
        known = padded.nan_to_num(posinf=torch.inf, neginf=-torch.inf)
        output = conv(known, weight, bias)
        if options.fill == "mean":
            if (missing_at % weight.shape[1] == 0).all():  # as behind every NaN convolution
                missing = missing[:, :, :1]
            add_means(output, known, missing, kinds.mixed, counts.values - counts.missing, windows, weight)
    return torch.where(skipped.unsqueeze(2), torch.nan, _grouped(output, groups)).flatten(1, 2), kinds


def add_means(
    output: Tensor, known: Tensor, missing: Tensor, mixed: Tensor, n_known: Tensor, windows: Windows, weight: Tensor
) -> None:
    """Add to the mixed windows of a convolution what the mean of their other values makes of their NaN.

    Parameters
    ----------
    output
        Convolution (N, out channels, *output) of ``known``, with or without a bias; changed.
    known
        Input (N, C, *spatial) with 0 where values are missing.
    missing
        Where they are, bool (N, groups, C / groups, *spatial), or (N, groups, 1, *spatial) where channels are alike.
    mixed
        Windows to change, bool (N, groups, *output).
    n_known
        Values of each window that are not missing, integer, of the same shape.
    windows, weight
        The convolution's.
    """
    groups, channels = mixed.shape[1], weight.shape[1]
    sums = windows.sums(_grouped(known, groups).sum(2, dtype=accumulation_dtype(known)))
    means = sums / n_known.clamp(min=1)
    kernels = weight.movedim(1, -1).reshape(groups, -1, windows.taps_each, channels)
    if missing.shape[2] < channels:
        kernels = kernels.sum(3, keepdim=True)
    for group in range(groups):
        into = _grouped(output, groups)[:, group].movedim(1, -1)
        for places in torch.split(mixed[:, group].nonzero(), _GATHERED // (channels * windows.taps_each)):
            at = places.unbind(1)
            masks = windows.at(places, missing[:, group]).flatten(1)
            share = F.linear(masks.to(weight.dtype), kernels[group].flatten(1))
            into[at] = into[at] + means[:, group][at].to(share.dtype).unsqueeze(1) * share


class _Counts(NamedTuple):
    missing: Tensor  # NaN in each window, int32 (N, groups, *output)
    values: Tensor  # all values of each window, NaN or not, int64, broadcastable to that
    most: int  # values of a window that lies inside the image


def _identity(x: Tensor) -> Tensor:
    return x


def _grouped(x: Tensor, groups: int) -> Tensor:
    """(N, C, *spatial) as (N, groups, C / groups, *spatial)."""
    return x.view(len(x), groups, x.shape[1] // groups, *x.shape[2:])


def _explicit_padding(padding: Size | str, kernel: Sizes, dilation: Sizes) -> tuple[Sizes, Sizes]:
    """Positions padded in front and behind, per axis."""
    if padding == "same":
        both = [span - 1 for span in spans(kernel, dilation)]
        return tuple(size // 2 for size in both), tuple(size - size // 2 for size in both)
    if isinstance(padding, str):  # "valid"; PyTorch refuses all others
        padding = 0
    amounts = per_axis(padding, len(kernel))
    return amounts, amounts


def _count(missing: Tensor, windows: Windows, channels: int, count_include_pad: bool) -> _Counts:
    """Counts from how many of so many channels are missing at each position, int32 (N, groups, *spatial)."""
    most = channels * math.prod(windows.kernel)
    if count_include_pad:
        values = torch.tensor(most, device=missing.device)
    else:
        image = torch.full((1, 1, *missing.shape[2:]), channels, device=missing.device)
        values = windows.sums(image)
    return _Counts(windows.sums(missing), values, most)


def _reaches(counts: _Counts, threshold: float) -> Tensor:
    """Whether a window's share of NaN is at least ``threshold``, never where there is no NaN."""
    needed = torch.from_numpy(nan_needed(np.arange(counts.most + 1), threshold))
    return counts.missing >= needed.to(counts.missing.device)[counts.values]


def _fitting_blank(blank: Tensor | None, x: Tensor) -> Tensor:
    if blank is None:
        raise ConfigError('The fill "blank" needs the input for an empty image; run record_blank on the model first.')
    try:
        return blank.to(x).expand(x.shape[1:])
    except RuntimeError as error:
        raise ConfigError(
            f"The blank response was recorded for an input of shape {tuple(blank.shape)}, this one's is "
            f"{tuple(x.shape[1:])}; run record_blank at this size."
        ) from error


def _skipped(output: Tensor, groups: int, kinds: WindowKinds | None) -> Tensor:
    if kinds is not None:
        return kinds.skipped
    return torch.zeros((len(output), groups, *output.shape[2:]), dtype=torch.bool, device=output.device)
