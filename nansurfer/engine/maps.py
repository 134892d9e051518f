"""Feature maps in memory, as the compiled kernels expect them."""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from nansurfer.engine import native

_LINE_BYTES = 64  # of a cache line, and of the widest vector
_SLACK_LINES = 4  # that vectors may read behind the last row: two of pairs of columns, which are two lines each
_RING_ROWS = 16  # a power of two, and no fewer than a chain of convolutions keeps in use between two of them

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]
"""Float32 or float16, as the kernels compute."""


class FeatureMap:
    """Numbers [row][channel][column] with zeros around the image, all channels of a row in a piece.

    In front of each row of a channel lie zeros: the end of the row of the channel before, which no kernel writes. The
    columns right of the image are zero only until a run's last vector spills there; the halos of a convolution count
    them among what is not valid, so that they are zero whenever they are read.

    Parameters
    ----------
    channels, height, width
        Size of the image.
    radius
        Zeros that are needed around it: half of the largest kernel that reads the map, rounded down.
    dtype
        Float32 or float16.
    ring
        Whether there is room for a few rows only, which take turns: for what goes from one convolution of a chain to
        the next and stays in the cache. The kernels see to the zeros above and below the image.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        radius: int,
        dtype: npt.DTypeLike = np.float32,
        *,
        ring: bool = False,
    ) -> None:
        self.channels, self.height, self.width, self._radius = channels, height, width, radius
        self.dtype, self.ring = np.dtype(dtype), ring
        line = line_of(self.dtype)
        rows, pitch = _RING_ROWS if ring else height + 2 * radius, pitch_of(width, radius, line)
        self._shape = rows, channels, pitch
        self._first = line
        self._memory = aligned_zeros(line * (1 + _SLACK_LINES) + math.prod(self._shape), self.dtype)

    def blank(self) -> BlankMap:
        """Room for what this map is for an empty slice."""
        return BlankMap(self.channels, self.height, self.width + self._radius, self.dtype)

    @property
    def rows(self) -> Floats:
        """All that counts: rows of the image and above and below it, (rows, channels, pitch)."""
        rows: Floats = self._memory[self._first : self._first + math.prod(self._shape)].reshape(self._shape)
        return rows

    @property
    def image(self) -> Floats:
        """The image (channels, height, width), no copy; there is none in a ring."""
        assert not self.ring
        image: Floats = self.rows[self._radius : self._radius + self.height, :, : self.width].swapaxes(0, 1)
        return image

    def native(self, first_channel: int = 0) -> native.Map:
        """For the kernels, from a channel on."""
        pitch = self._shape[2]
        rows, last = (self.rows, _RING_ROWS - 1) if self.ring else (self.rows[self._radius :], -1)
        return native.Map(rows[:, first_channel:].ctypes.data, self.channels * pitch, pitch, last)


class BlankMap:
    """What a feature map is for an empty slice, [row][column][channel]; zeros, until it is recorded.

    Rows and columns that are like the one before are there once: in the first half of a network that is all but a rim.

    Parameters
    ----------
    channels, height, width
        Of the map; ``width`` counts the zeros to its right that convolutions read.
    dtype
        Float32 or float16.
    """

    def __init__(self, channels: int, height: int, width: int, dtype: npt.DTypeLike) -> None:
        self._zeros = (np.zeros((1, 1, channels), dtype), *(np.zeros(size, np.int32) for size in (height, width)))
        self._pixels, self._rows, self._columns = self._zeros  # what was told of them before recording stays true

    def record(self, features: FeatureMap) -> None:
        """Take over a map that holds an empty slice."""
        height, width = len(self._rows), len(self._columns)
        radius = width - features.width
        image = features.rows[radius : radius + height, :, :width]
        new_rows = _new_along(image, 0)
        if not new_rows.all():
            image = image[new_rows]
        pixels = image.swapaxes(1, 2)
        new_columns = _new_along(pixels, 1)
        if not new_columns.all():
            pixels = pixels[:, new_columns]
        self._pixels = aligned_zeros(pixels.size, pixels.dtype).reshape(pixels.shape)
        self._pixels[:] = pixels
        self._rows, self._columns = (np.cumsum(new, dtype=np.int32) - 1 for new in (new_rows, new_columns))
        _, kept_columns, channels = self._pixels.shape
        self._rows *= kept_columns * channels
        self._columns *= channels

    def native(self) -> native.Blank:
        """For the kernels."""
        return native.Blank(self._pixels.ctypes.data, self._rows.ctypes.data, self._columns.ctypes.data)


def _new_along(image: Floats, axis: int) -> npt.NDArray[np.bool_]:
    """Which rows or columns are unlike the one before; all of them, without a look, if those in the middle are."""
    new, along = np.ones(image.shape[axis], bool), np.moveaxis(image, axis, 0)
    middle = len(new) // 2
    if np.array_equal(along[middle - 1], along[middle]):
        new[1:] = (along[1:] != along[:-1]).any(axis=(1, 2))
    return new


def aligned_zeros(size: int, dtype: npt.DTypeLike = np.float32, *, sparse: bool = False) -> Floats:
    """``size`` zeros, the first at the start of a page, that go back to the system as soon as they are dropped.

    Maps are too large to lie among other freed memory, which the process keeps: views would add up. They lie in huge
    pages, where the system has them, which are sooner there and sooner found; but not zeros that are ``sparse``, few of
    them ever written to.

    Raises
    ------
    MemoryError
        There is not as much.
    """
    n_bytes = size * np.dtype(dtype).itemsize
    try:
        memory = mmap.mmap(-1, n_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"{n_bytes} bytes cannot be mapped") from error
    if not sparse and hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    zeros: Floats = np.frombuffer(memory, dtype, size)
    return zeros


def line_of(dtype: npt.DTypeLike) -> int:
    """Numbers of a type in a cache line, which are those of the widest vector."""
    return _LINE_BYTES // np.dtype(dtype).itemsize


def pitch_of(width: int, radius: int, line: int) -> int:
    """Numbers from one channel to the next: an odd number of lines, so that all parts of the cache are used.

    To the right of the image there is room for what the last vector of a run spills, also where it is one of pairs of
    columns.
    """
    lines = -(-(width + 2 * line - 1 + radius) // line)
    return (lines + (lines % 2 == 0)) * line
