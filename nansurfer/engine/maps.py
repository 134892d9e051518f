"""Feature maps in memory, as the compiled kernels expect them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nansurfer.engine import native

_LINE = 16  # floats of a cache line, and of the widest vector
_SPILL = _LINE - 1  # columns that the last vector of a run may write beyond the image
_SLACK = 4 * _LINE  # floats that vectors may read behind the last row

Float32 = npt.NDArray[np.float32]


class FeatureMap:
    """Float32 [row][channel][column] with zeros around the image, all channels of a row in a piece.

    In front of each row of a channel lie zeros: the end of the row of the channel before, which no kernel writes. The
    columns right of the image are zero only until a run's last vector spills there; the halos of a convolution count
    them among what is not valid, so that they are zero whenever they are read.

    Parameters
    ----------
    channels, height, width
        Size of the image.
    radius
        Zeros that are needed around it: half of the largest kernel that reads the map, rounded down.
    """

    def __init__(self, channels: int, height: int, width: int, radius: int) -> None:
        self.channels, self.height, self.width, self._radius = channels, height, width, radius
        rows, pitch = height + 2 * radius, pitch_of(width, radius)
        self._shape = rows, channels, pitch
        self._memory = aligned_zeros(_LINE + rows * channels * pitch + _SLACK)

    def zeros_like(self) -> FeatureMap:
        """Another one of the same size."""
        return FeatureMap(self.channels, self.height, self.width, self._radius)

    @property
    def rows(self) -> Float32:
        """All that counts: rows of the image and above and below it, (rows, channels, pitch)."""
        rows: Float32 = self._memory[_LINE : _LINE + math.prod(self._shape)].reshape(self._shape)
        return rows

    @property
    def image(self) -> Float32:
        """The image (channels, height, width), no copy."""
        image: Float32 = self.rows[self._radius : self._radius + self.height, :, : self.width].swapaxes(0, 1)
        return image

    def native(self, first_channel: int = 0) -> native.Map:
        """For the kernels, from a channel on."""
        pitch = self._shape[2]
        return native.Map(self.image[first_channel:].ctypes.data, self.channels * pitch, pitch)


def aligned_zeros(size: int) -> Float32:
    """``size`` zeros, the first at the start of a cache line."""
    raw = np.zeros(size + _LINE, np.float32)
    start = -int(raw.ctypes.data) // raw.itemsize % _LINE
    return raw[start : start + size]


def pitch_of(width: int, radius: int) -> int:
    """Floats from one channel to the next: an odd number of cache lines, so that all parts of the cache are used."""
    lines = -(-(width + _SPILL + radius) // _LINE)
    return (lines + (lines % 2 == 0)) * _LINE
