"""What NaN convolution and NaN pooling have beyond PyTorch's, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nansurfer.errors import ConfigError

Fill = Literal["mean", "zero", "blank"]
Ties = Literal["nan", "mark"]

_ROUNDING = 1e-12  # relative; a threshold of 0.7 is a little more than 7 of 10 in binary


@dataclass(frozen=True)
class ConvOptions:
    """Of NaN convolution; see :func:`nansurfer.nn.nan_conv2d`."""

    threshold: float = 1.0
    count_include_pad: bool = False
    fill: Fill = "mean"

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"The NaN threshold is {self.threshold:g}; give a share above 0 and at most 1.")
        if self.fill not in get_args(Fill):
            raise ConfigError(f"The fill is {self.fill!r}; give one of {', '.join(get_args(Fill))}.")


@dataclass(frozen=True)
class PoolOptions:
    """Of NaN pooling; see :func:`nansurfer.nn.nan_max_pool2d`."""

    max_ties: int | None = 1
    rtol: float = 1e-7
    atol: float = 1e-8
    ties: Ties = "nan"
    margin: int = 0

    def __post_init__(self) -> None:
        if self.max_ties is not None and self.max_ties < 1:
            raise ConfigError(f"max_ties is {self.max_ties}; a maximum ties with itself, so give 1 or more, or None.")
        if not (self.rtol >= 0 and self.atol >= 0):
            raise ConfigError(f"The tolerances are rtol {self.rtol:g} and atol {self.atol:g}; give 0 or more.")
        if self.ties not in get_args(Ties):
            raise ConfigError(f"ties is {self.ties!r}; give one of {', '.join(get_args(Ties))}.")
        if self.margin < 0:
            raise ConfigError(f"The margin of a pooling is {self.margin}; give 0 or more positions.")


def nan_needed(values: npt.NDArray[np.integer[Any]], threshold: float) -> npt.NDArray[np.int32]:
    """NaN from which windows of so many ``values`` are skipped, at least 1; of the same shape."""
    needed: npt.NDArray[np.int32] = np.ceil(values * threshold * (1 - _ROUNDING)).clip(min=1).astype(np.int32)
    return needed
