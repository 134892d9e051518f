"""Layers without a NaN version: their input is filled, so that one NaN does not become all NaN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, instancenorm, pooling

from nansurfer.nn.functional.windows import accumulation_dtype
from nansurfer.nn.layers import NAN_LAYERS, NaNLayer

# They mix positions, or take statistics over them.
_MIXING: tuple[type[nn.Module], ...] = (
    conv._ConvNd,
    nn.Linear,
    nn.Bilinear,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    instancenorm._InstanceNorm,
    pooling._MaxPoolNd,
    pooling._MaxUnpoolNd,
    pooling._AvgPoolNd,
    pooling._AdaptiveAvgPoolNd,
    pooling._AdaptiveMaxPoolNd,
    pooling._LPPoolNd,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
    nn.Upsample,
)
_SWAPPED = {cls.torch_type for cls in NAN_LAYERS}
# Pointwise, with parameters whose gradients sum over all positions.
_POINTWISE = (batchnorm._BatchNorm, nn.PReLU)


def left_dense(model: nn.Module) -> list[str]:
    """Names of the layers that mix positions and have no NaN version, in ``model.named_modules()``' order.

    In a nanified model NaN in their input is replaced by the mean of the sample's values that are not NaN, of each
    channel by itself where there are channels. Batch norms are among them while they use the batch's statistics.
    """
    return [name for name, module in model.named_modules() if _is_dense(module)]


def guard_dense_layers(model: nn.Module) -> None:
    """Register hooks on ``model``'s layers that cannot deal with NaN themselves."""
    for module in model.modules():
        if isinstance(module, batchnorm._BatchNorm) or _is_dense(module):
            module.register_forward_pre_hook(_fill_input, with_kwargs=True)
        if isinstance(module, _POINTWISE):
            module.register_forward_pre_hook(_hide_nan)
            module.register_forward_hook(_show_nan)


def _is_dense(module: nn.Module) -> bool:
    if isinstance(module, batchnorm._BatchNorm):
        return module.training or module.running_mean is None
    return isinstance(module, _MIXING) and not isinstance(module, NaNLayer) and type(module) not in _SWAPPED


def _fill_input(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
    if not _is_dense(module):
        return None
    return tuple(map(_filled, args)), {name: _filled(value) for name, value in kwargs.items()}


def _filled(x: Any) -> Any:
    """A tensor with NaN replaced by means over each sample's channel (N, C, ...) or each sample (N, F)."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return x
    missing = x.isnan()
    if not missing.any():
        return x
    dims = tuple(range(min(2, x.dim() - 1), x.dim()))
    known = x.masked_fill(missing, 0)
    sums = known.sum(dims, keepdim=True, dtype=accumulation_dtype(x))
    means = sums / (~missing).sum(dims, keepdim=True).clamp(min=1)
    return torch.where(missing, means.to(x.dtype), x)


def _hide_nan(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
    """Keep NaN out of the sums that make the parameters' gradients, where 0 · NaN would be NaN."""
    if not torch.is_grad_enabled() or not args:
        return None
    (x,) = args
    missing = x.isnan()
    vars(module)["_hidden_nan"] = missing
    return (x.masked_fill(missing, 0),)


def _show_nan(module: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor | None:
    missing = vars(module).pop("_hidden_nan", None)
    return None if missing is None else output.masked_fill(missing, torch.nan)
