"""The three views of a conformed volume and their thick slices."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

View = Literal["axial", "coronal", "sagittal"]
VIEWS: tuple[View, ...] = ("axial", "coronal", "sagittal")

# A conformed volume is LIA: axis 0 runs to the left, 1 to inferior, 2 to anterior. For each view, the native
# axes that become (H, W, S); FastSurfer feeds its networks the same way.
_NATIVE_AXES: dict[View, tuple[int, int, int]] = {
    "axial": (2, 0, 1),
    "coronal": (0, 1, 2),
    "sagittal": (2, 1, 0),
}


def view_axes(view: View) -> tuple[int, int, int]:
    """The native axes (of X, Y, Z) that are a view's rows, columns and slices."""
    return _NATIVE_AXES[view]


def to_view(volume: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    """A conformed volume seen in ``view``: a view (no copy) of shape (H, W, S), slices last."""
    return np.transpose(volume, _NATIVE_AXES[view])


def from_view(volume: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    """The inverse of `to_view`: shape (H, W, S) back to native axes, without a copy."""
    return np.transpose(volume, np.argsort(_NATIVE_AXES[view]))


def thick_slices(
    volume_in_view: npt.NDArray[np.uint8], start: int, stop: int, thickness: int = 7
) -> npt.NDArray[np.uint8]:
    """Slices ``start`` to ``stop`` (excluded), each with its neighbours as channels.

    Parameters
    ----------
    volume_in_view : uint8 array of shape (H, W, S)
        As `to_view` returns it.
    start, stop : int
        ``0 <= start <= stop <= S``.
    thickness : int
        Odd number of slices; the middle one is the slice itself. Beyond the volume's end, the last repeats.

    Returns
    -------
    uint8 array of shape (stop - start, thickness, H, W)
        A contiguous copy, not divided by 255.
    """
    reach = thickness // 2
    neighbours = np.arange(start - reach, stop + reach).clip(0, volume_in_view.shape[2] - 1)
    slab = np.ascontiguousarray(np.moveaxis(volume_in_view[:, :, neighbours], 2, 0))  # (S', H, W)
    window = np.arange(stop - start)[:, None] + np.arange(thickness)  # (stop - start, thickness)
    slices: npt.NDArray[np.uint8] = slab[window]
    return slices
