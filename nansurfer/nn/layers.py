"""The NaN operations as layers that take the place of PyTorch's, with the same state dict."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn
from torch.nn.modules import conv, pooling

from nansurfer.errors import ConfigError
from nansurfer.nn.counter import WindowCounter
from nansurfer.nn.functional.convolution import convolve
from nansurfer.nn.functional.pooling import Pooled, max_pool
from nansurfer.nn.functional.unpooling import NaNPlacement, UnpoolOptions, max_unpool
from nansurfer.nn.options import ConvOptions, Fill, PoolOptions, Ties

_Layer = TypeVar("_Layer", bound="NaNLayer")


class NaNLayer(nn.Module):
    """A layer that takes the place of one of PyTorch's, from which its class derives as well."""

    torch_type: ClassVar[type[nn.Module]]
    dims: ClassVar[int]
    options: ConvOptions | PoolOptions | UnpoolOptions

    @classmethod
    def from_torch(cls: type[_Layer], layer: nn.Module, **options: Any) -> _Layer:
        """The NaN layer in the place of ``layer``, with the same parameters (shared), settings and hooks.

        Parameters
        ----------
        layer
            Of the PyTorch class that this one derives from.
        options
            The constructor's keyword-only arguments.

        Raises
        ------
        ConfigError
            ``layer`` is of another class, or an option makes no sense.
        """
        if not isinstance(layer, cls.torch_type):
            raise ConfigError(
                f"A {type(layer).__name__} cannot become a {cls.__name__}; give a {cls.torch_type.__name__}."
            )
        new = cls.__new__(cls)
        for name, value in vars(layer).items():
            # Dictionaries of its own, with the same contents: what is registered here is not registered there.
            vars(new)[name] = copy.copy(value) if isinstance(value, (dict, set)) else value
        new._prepare(**options)
        return new

    def _prepare(self, **options: Any) -> None:
        """Set what this layer has beyond PyTorch's."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """PyTorch's summary, and the NaN options."""
        own = ", ".join(f"{name}={value!r}" for name, value in asdict(self.options).items())
        return f"{super().extra_repr()}, {own}"


class NaNMaxPool(NaNLayer, pooling._MaxPoolNd):
    """What :class:`NaNMaxPool2d` and :class:`NaNMaxPool3d` have in common.

    Attributes
    ----------
    blank_values, blank_indices
        Output (C, *spatial) of this layer for an empty image, see :func:`nansurfer.nn.record_blank`; no part of the
        state dict.
    """

    options: PoolOptions
    blank_values: Tensor | None
    blank_indices: Tensor | None

    def __init__(
        self,
        *args: Any,
        max_ties: int | None = 1,
        rtol: float = 1e-7,
        atol: float = 1e-8,
        ties: Ties = "nan",
        margin: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._prepare(max_ties=max_ties, rtol=rtol, atol=atol, ties=ties, margin=margin)

    def _prepare(self, **options: Any) -> None:
        self.options = PoolOptions(**options)
        self.register_buffer("blank_values", None, persistent=False)
        self.register_buffer("blank_indices", None, persistent=False)

    @property
    def blank(self) -> Pooled | None:
        """Both, or None."""
        values, indices = self.blank_values, self.blank_indices
        return None if values is None or indices is None else (values, indices)

    @blank.setter
    def blank(self, blank: Pooled | None) -> None:
        self.blank_values, self.blank_indices = blank or (None, None)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Values, with ``return_indices`` also indices; see :func:`nansurfer.nn.functional.nan_max_pool2d`."""
        values, indices = self.pool(x)
        return (values, indices) if self.return_indices else values

    def pool(self, x: Tensor) -> Pooled:
        """Values and indices."""
        return max_pool(
            self.dims,
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.options,
            self.blank,
        )


class NaNMaxPool2d(NaNMaxPool, nn.MaxPool2d):
    """:class:`torch.nn.MaxPool2d` that ignores NaN and finds tied maxima.

    Parameters
    ----------
    max_ties, rtol, atol, ties, margin
        See :func:`nansurfer.nn.functional.nan_max_pool2d`; all others are PyTorch's.
    """

    torch_type, dims = nn.MaxPool2d, 2


class NaNMaxPool3d(NaNMaxPool, nn.MaxPool3d):
    """:class:`NaNMaxPool2d` for volumes (N, C, D, H, W)."""

    torch_type, dims = nn.MaxPool3d, 3


class NaNMaxUnpool(NaNLayer, pooling._MaxUnpoolNd):
    """What :class:`NaNMaxUnpool2d` and :class:`NaNMaxUnpool3d` have in common.

    Attributes
    ----------
    wanted
        Bool, of any shape that fits the output: where it is False the output is NaN, so that a decoder skips what
        nobody needs, although the encoder has seen it. None: everything is wanted.
    """

    options: UnpoolOptions
    wanted: Tensor | None
    # Integers or tuples; PyTorch declares them in 2D and 3D only.
    kernel_size: Any
    stride: Any
    padding: Any

    def __init__(self, *args: Any, nan: NaNPlacement = "position", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare(nan=nan)

    def _prepare(self, **options: Any) -> None:
        self.options = UnpoolOptions(**options)
        self.wanted = None

    def forward(self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """The larger map; see :func:`nansurfer.nn.functional.nan_max_unpool2d`."""
        options = self.options
        x = max_unpool(self.dims, x, indices, self.kernel_size, self.stride, self.padding, output_size, options)
        return x if self.wanted is None else x.masked_fill(~self.wanted, math.nan)


class NaNMaxUnpool2d(NaNMaxUnpool, nn.MaxUnpool2d):
    """:class:`torch.nn.MaxUnpool2d` that carries NaN and marked ties back.

    Parameters
    ----------
    nan
        See :func:`nansurfer.nn.functional.nan_max_unpool2d`; all others are PyTorch's.
    """

    torch_type, dims = nn.MaxUnpool2d, 2


class NaNMaxUnpool3d(NaNMaxUnpool, nn.MaxUnpool3d):
    """:class:`NaNMaxUnpool2d` for volumes (N, C, D, H, W)."""

    torch_type, dims = nn.MaxUnpool3d, 3


class NaNConv(NaNLayer, conv._ConvNd):
    """What :class:`NaNConv2d` and :class:`NaNConv3d` have in common.

    Attributes
    ----------
    counting
        Whether windows are counted as they are run; see :func:`nansurfer.nn.skip_counts`. Counts grow with every
        sample, so switch it off where nobody reads them, in training for example.
    blank
        Input (C, *spatial) of this layer for an empty image, see :func:`nansurfer.nn.record_blank`; no part of the
        state dict.
    """

    options: ConvOptions
    blank: Tensor | None

    def __init__(
        self,
        *args: Any,
        threshold: float = 1.0,
        count_include_pad: bool = False,
        fill: Fill = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._prepare(threshold=threshold, count_include_pad=count_include_pad, fill=fill)

    def _prepare(self, **options: Any) -> None:
        self.options = ConvOptions(**options)
        self.counting = True
        self.counter = WindowCounter()
        self.register_buffer("blank", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """NaN where windows are skipped; see :func:`nansurfer.nn.functional.nan_conv2d`."""
        output, kinds = convolve(
            self.dims,
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.padding_mode,
            self.options,
            self.blank,
        )
        if self.counting:
            self.counter.add(output, self.groups, kinds)
        return output


class NaNConv2d(NaNConv, nn.Conv2d):
    """:class:`torch.nn.Conv2d` that skips windows with many NaN and fills the others.

    Parameters
    ----------
    threshold, count_include_pad, fill
        See :func:`nansurfer.nn.functional.nan_conv2d`; all others are PyTorch's.
    """

    torch_type, dims = nn.Conv2d, 2


class NaNConv3d(NaNConv, nn.Conv3d):
    """:class:`NaNConv2d` for volumes (N, C, D, H, W)."""

    torch_type, dims = nn.Conv3d, 3


NAN_LAYERS: tuple[type[NaNLayer], ...] = (
    NaNConv2d,
    NaNConv3d,
    NaNMaxPool2d,
    NaNMaxPool3d,
    NaNMaxUnpool2d,
    NaNMaxUnpool3d,
)
