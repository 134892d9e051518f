"""Resampling between the image's pixels and those of 1 mm that the inner network sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Places:
    """Between which two pixels of the input each pixel along an axis lies.

    Parameters
    ----------
    first, second
        The two, which may be the same, int32 (pixels,); -1 where a pixel is padding.
    share
        How near it is to the second, float32 (pixels,), 0 to 1.
    """

    first: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    share: npt.NDArray[np.float32]

    @property
    def keeps_places(self) -> bool:
        """Whether each pixel is the input's in the same place."""
        return np.array_equal(self.first, np.arange(len(self.first))) and np.array_equal(self.first, self.second)


def find_places(size: int, target: int, scale: float) -> tuple[Places, float]:
    """Where the pixels come from that :func:`nansurfer.models.blocks.zoom` makes along an axis.

    Parameters
    ----------
    size, target
        Pixels of the input and of the result.
    scale
        Source pixels for one target pixel.

    Returns
    -------
    places
        One a pixel of the result.
    applied
        The scale truly applied.

    Notes
    -----
    ``zoom`` is asked, by what it makes of one pixel at a time, instead of imitated: a last bit of its float32 decides
    which pixels it reads, and a NaN spreads to whatever reads it, were it with weight 0.
    """
    import torch

    from nansurfer.models.blocks import zoom

    pixels = torch.eye(size)[None, :, None]  # (1, pixel, 1, pixel)
    weights, (_, applied) = zoom(pixels, (1, target), (1.0, scale))
    readers, _ = zoom(pixels.masked_fill(pixels == 1, torch.nan), (1, target), (1.0, scale))
    weight, is_read = weights[0, :, 0].numpy(), readers[0, :, 0].isnan().numpy()  # (size, target)
    first, second = is_read.argmax(axis=0), size - 1 - is_read[::-1].argmax(axis=0)
    share = np.where(first < second, weight[second, np.arange(target)], 0)
    first, second = (np.where(is_read.any(axis=0), pixel, -1) for pixel in (first, second))
    return Places(first.astype(np.int32), second.astype(np.int32), share.astype(np.float32)), applied


@dataclass(frozen=True)
class Resampling:
    """Where the pixels of a resampled image come from, along its rows and its columns."""

    rows: Places
    columns: Places

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return len(self.rows.first), len(self.columns.first)

    def readers(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """The pixels of the result that read any of a mask's (N, H, W)."""
        for axis, places in ((1, self.rows), (2, self.columns)):
            mask = mask.take(places.first, axis) | mask.take(places.second, axis)
            np.moveaxis(mask, axis, 0)[places.first < 0] = False  # padding
        return mask


def resamplings_of(network: object, size: tuple[int, int], scale: float) -> tuple[Resampling, Resampling] | None:
    """How a network, or one whose state this is, resamples the features of slices of a size; None where it does not."""
    base_size: tuple[int, int] | None = getattr(network, "base_size", None)
    return None if base_size is None else find_resamplings(size, base_size, scale)


def find_resamplings(
    size: tuple[int, int], inner: tuple[int, int], scale: float
) -> tuple[Resampling, Resampling] | None:
    """How a FastSurferVINN resamples features on the way in and on the way out; None where that changes nothing.

    Parameters
    ----------
    size, inner
        Height and width of the slices, and of what the inner network works on.
    scale
        1 mm divided by the voxel size.
    """
    if size == inner and scale == 1:
        return None
    there, back = [], []
    for image_side, inner_side in zip(size, inner, strict=True):
        places, applied = find_places(image_side, inner_side, scale)
        there.append(places)
        back.append(find_places(inner_side, image_side, 1 / applied)[0])
    if size == inner and all(places.keeps_places for places in there):
        return None
    return Resampling(*there), Resampling(*back)
