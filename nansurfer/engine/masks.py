"""Masks and runs of pixels in memory, and what a convolution skips a window for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nansurfer.engine import native
from nansurfer.nn import NaNPolicy, nan_needed

LARGEST_KERNEL = 7
"""Side of the largest convolution kernel that the compiled functions find masks for."""

ByteMask = npt.NDArray[np.uint8]
"""(height, width), 1 where a feature map is valid, 0 where it is NaN to the reference."""


class RunTable:
    """Room for the runs of any mask of a size; ``reach`` columns more to the right."""

    def __init__(self, height: int, width: int, reach: int = 0) -> None:
        most = (width + reach) // 2 + 1
        self.first = np.zeros(height + 1, np.int32)
        self.runs = np.zeros((height * most, 2), np.int16)
        self.native = native.Runs(self.first.ctypes.data, self.runs.ctypes.data)


def invalid_needed(height: int, width: int, channels: int, kernel: int, policy: NaNPolicy) -> npt.NDArray[np.uint16]:
    """Invalid values from which a convolution's window is skipped, at least 1, uint16 (height, width).

    Parameters
    ----------
    height, width, channels
        Size of the input.
    kernel
        Side of the window.
    policy
        Its threshold, and whether zero padding counts as values.
    """
    values = window_values(height, width, channels, kernel, count_include_pad=policy.count_include_pad)
    return nan_needed(values, policy.threshold).astype(np.uint16)


def window_values(
    height: int, width: int, channels: int, kernel: int, *, count_include_pad: bool
) -> npt.NDArray[np.int64]:
    """How many values the windows of a convolution have, with or without zero padding, int64 (height, width)."""
    if count_include_pad:
        return np.full((height, width), channels * kernel**2)
    return channels * np.outer(_inside(height, kernel), _inside(width, kernel))


def _inside(size: int, kernel: int) -> npt.NDArray[np.int64]:
    """How many of a window's positions lie inside the image, for each place along an axis."""
    places, reach = np.arange(size), kernel // 2
    inside: npt.NDArray[np.int64] = np.minimum(places + reach, size - 1) - np.maximum(places - reach, 0) + 1
    return inside
