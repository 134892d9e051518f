"""Max unpooling that carries NaN back to the larger map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from nansurfer.errors import ConfigError
from nansurfer.nn.functional.windows import Size, Sizes, Windows, check_layout, pad_argument, per_axis

NaNPlacement = Literal["position", "window"]


@dataclass(frozen=True)
class UnpoolOptions:
    """What NaN unpooling has beyond PyTorch's; see :func:`nan_max_unpool2d`."""

    nan: NaNPlacement = "position"

    def __post_init__(self) -> None:
        if self.nan not in get_args(NaNPlacement):
            raise ConfigError(f"nan is {self.nan!r}; give one of {', '.join(get_args(NaNPlacement))}.")


def nan_max_unpool2d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
    *,
    nan: NaNPlacement = "position",
) -> Tensor:
    """Pooled values put back where they came from, NaN where they were NaN or tied, 0 elsewhere.

    Parameters
    ----------
    x
        Pooled features (N, C, H', W').
    indices
        From :func:`nan_max_pool2d` or from PyTorch's pooling: (N, C, H', W'), or with a last axis that lists the
        tied positions.
    kernel_size, stride, padding, output_size
        As in :func:`torch.nn.functional.max_unpool2d`.
    nan
        Where a NaN value writes NaN: at its own ``"position"`` (what PyTorch does, and the papers' aggressive form)
        or over its whole ``"window"``.

    Returns
    -------
    (N, C, H, W)
        Where more than one position is listed, all of them are NaN (the papers' conservative form). Where windows
        overlap, NaN wins over a value.

    Raises
    ------
    ConfigError
        The shapes do not fit, or ``nan`` is unknown.

    Notes
    -----
    Source: "Conservative & Aggressive NaNs Accelerate U-Nets for Neuroimaging" (2026), but for ``"window"``, which
    serves networks whose input's background is NaN. Unlike in the authors' code constant channels keep their NaN.
    """
    return max_unpool(2, x, indices, kernel_size, stride, padding, output_size, UnpoolOptions(nan))


def nan_max_unpool3d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
    *,
    nan: NaNPlacement = "position",
) -> Tensor:
    """Like :func:`nan_max_unpool2d`, for volumes (N, C, D', H', W')."""
    return max_unpool(3, x, indices, kernel_size, stride, padding, output_size, UnpoolOptions(nan))


def max_unpool(
    dims: int,
    x: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    output_size: Sequence[int] | None,
    options: UnpoolOptions,
) -> Tensor:
    """:func:`nan_max_unpool2d` or its 3D twin, by ``dims``."""
    check_layout(x, dims)
    if indices.shape[: x.dim()] != x.shape or indices.dim() > x.dim() + 1:
        raise ConfigError(
            f"Values of shape {tuple(x.shape)} cannot be unpooled with indices of shape {tuple(indices.shape)}; "
            "use those that the pooling returned."
        )
    listing = indices if indices.dim() > x.dim() else indices.unsqueeze(-1)
    missing = x.isnan()
    nowhere = missing | ((listing >= 0).sum(-1) > 1)
    kernel, pad = per_axis(kernel_size, dims), per_axis(padding, dims)
    strides = per_axis(stride or kernel, dims)
    unpool: Callable[..., Tensor] = F.max_unpool2d if dims == 2 else F.max_unpool3d
    output = unpool(x.masked_fill(nowhere, 0), listing[..., 0], kernel, strides, pad, output_size)
    blot = _listed_positions(listing, nowhere, output.shape[2:])
    if options.nan == "window":
        blot |= _covered(missing, kernel, strides, pad, output.shape[2:])
    return output.masked_fill(blot, torch.nan)


def _listed_positions(listing: Tensor, chosen: Tensor, spatial: Sizes) -> Tensor:
    """Whether a chosen window lists a position, bool (N, C, *spatial)."""
    nowhere = torch.Size(spatial).numel()  # one position too many takes all that is not to be marked
    places = torch.where(chosen.unsqueeze(-1) & (listing >= 0), listing, nowhere).flatten(2)
    marks = torch.zeros((*places.shape[:2], nowhere + 1), dtype=torch.bool, device=places.device)
    return marks.scatter_(2, places, True)[..., :nowhere].view(*marks.shape[:2], *spatial)


def _covered(chosen: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, spatial: Sizes) -> Tensor:
    """Whether a chosen window covers a position, bool (N, C, *spatial)."""
    none = (0,) * len(spatial)
    reach = [(n - 1) * s + k for n, s, k in zip(chosen.shape[2:], stride, kernel, strict=True)]
    cover = torch.zeros((*chosen.shape[:2], *reach), dtype=torch.bool, device=chosen.device)
    for tap in Windows(kernel, stride, (1,) * len(spatial), none, none).taps(cover, 0):
        tap |= chosen  # a view: this writes into the cover
    behind = tuple(size + pad - end for size, pad, end in zip(spatial, padding, reach, strict=True))
    return F.pad(cover, pad_argument(tuple(-pad for pad in padding), behind))
