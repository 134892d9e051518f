"""The robust scaling of intensities to 0..255, as mri_convert and FastSurfer do it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

UINT8_MAX = 255

# From mri_convert's and FastSurfer's conform.
_BINS = 1000
_CROPPED_SHARE = 1.0 - 0.999  # of the non-zero voxels, the brightest; FastSurfer's very float
_BINS_BACK = 2
_ZERO_BELOW = 1e-15

_BACKGROUND_SHARE = 0.1  # of the voxels: background has most of them, and one grey level of tissue 0.02 at most


class IntensityWindow(NamedTuple):
    """The linear map ``scale * (value - low)`` to 0..255."""

    low: float
    scale: float


def from_zero(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``data``, raised so that the darkest voxel is 0 where there are negative values and 0 is one value of many.

    Steps that follow take 0 for background. So it is in most images with negative values too (standardised ones, and
    those with an interpolation's ringing), but not in one whose air lies below 0: there, 0 is a grey of tissue.
    """
    low = data.min()
    if low >= 0 or np.count_nonzero(data == 0) >= _BACKGROUND_SHARE * data.size:
        return data
    raised: npt.NDArray[np.float64] = np.subtract(data, low, dtype=np.float64)
    return raised


def robust_window(data: npt.NDArray[Any]) -> IntensityWindow:
    """The window that takes the minimum to 0 and almost the maximum to 255.

    The high end is the edge of a histogram bin (of 1000): two before the first edge above which no more than
    0.1 % of the non-zero voxels lie. When that is the edge of the very first bin (an outlier sets the range),
    the index wraps round to the maximum, as in FastSurfer.
    """
    edge_counts, edges = np.histogram(data, bins=_BINS, range=(data.min(), data.max()))
    below_edge = np.concatenate(([0], np.cumsum(edge_counts)))
    cropped = int(_CROPPED_SHARE * _count_nonzero(data))
    first = int(np.argmax(below_edge >= data.size - cropped))
    low, high = float(edges[0]), float(edges[first - _BINS_BACK])
    return IntensityWindow(low, 1.0 if high == low else UINT8_MAX / (high - low))


def to_uint8(data: npt.NDArray[Any], window: IntensityWindow | None) -> npt.NDArray[np.uint8]:
    """``data`` windowed, clipped to 0..255 and rounded half to even; voxels that were 0 stay 0.

    Without a window the values are only clipped and rounded.
    """
    result = np.empty(data.shape, np.uint8)
    for plane, rounded in zip(data, result, strict=True):  # by planes, for no float64 copy of the whole
        values = plane.astype(np.float64)
        if window is not None:
            values = np.where(values == 0, 0, window.scale * (values - window.low))
        rounded[...] = np.rint(values.clip(0, UINT8_MAX))
    return result


def _count_nonzero(data: npt.NDArray[Any]) -> int:
    if data.dtype.kind in "iu":
        return int(np.count_nonzero(data))
    return int(np.count_nonzero((data >= _ZERO_BELOW) | (data <= -_ZERO_BELOW)))
