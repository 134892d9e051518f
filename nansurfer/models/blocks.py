"""Building blocks of FastSurferCNN and FastSurferVINN, with FastSurfer's parameter names.

Source: Henschel et al., FastSurfer, NeuroImage 2020, and FastSurferVINN, NeuroImage 2022. All tensors are
(N, C, H, W).
"""

from __future__ import annotations

from enum import Enum

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Entry(Enum):
    """How a dense block treats its input before the first convolution."""

    NORMALISE = "batch norm; the input does not compete (the network's first blocks)"
    ACTIVATE = "PReLU; the input does not compete (the output block)"
    COMPETE = "PReLU; the first maxout is with the input (every other block)"


class DenseBlock(nn.Module):
    """Four convolutions, each batch-normed, with maxout in place of concatenation between them.

    Parameters
    ----------
    in_channels, channels
        Channels that enter, and channels of every convolution's output.
    kernel_size
        Side of the kernels; the padding keeps H and W.
    entry
        See :class:`Entry`.
    norm
        Prefix of the batch norms' names, ``"bn"`` or ``"gn"`` (FastSurfer uses both; all are batch norms).
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, entry: Entry, norm: str = "bn") -> None:
        super().__init__()
        self.entry = entry
        self._norm = norm
        if entry is Entry.NORMALISE:
            self.bn0 = nn.BatchNorm2d(in_channels)
        for index in range(4):
            inputs = channels if index else in_channels
            conv, norm_name = self.stage_names(index)
            self.add_module(conv, nn.Conv2d(inputs, channels, kernel_size, padding=kernel_size // 2))
            self.add_module(norm_name, nn.BatchNorm2d(channels))
        self.prelu = nn.PReLU()

    def stage_names(self, index: int) -> tuple[str, str]:
        """Names of convolution ``index`` (0 to 3) and of the batch norm behind it."""
        return f"conv{index}", f"{self._norm}{index + 1}"

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, channels, H, W), batch-normed so that they can compete in the next maxout."""
        competitor = x if self.entry is Entry.COMPETE else None
        entered = self.bn0(x) if self.entry is Entry.NORMALISE else self.prelu(x)
        for index in range(3):
            features = self._normed(index, entered)
            competitor = features if competitor is None else _maxout(features, competitor)
            entered = self.prelu(competitor)
        return self._normed(3, entered)

    def _normed(self, index: int, x: Tensor) -> Tensor:
        conv, norm = map(self.get_submodule, self.stage_names(index))
        normed: Tensor = norm(conv(x))
        return normed


class EncoderBlock(DenseBlock):
    """A dense block followed by 2x2 max pooling that keeps the indices."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, entry: Entry = Entry.COMPETE) -> None:
        super().__init__(in_channels, channels, kernel_size, entry)
        self.maxpool = nn.MaxPool2d(kernel_size=2, stride=2, return_indices=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Pooled features (N, C, H/2, W/2), features for the skip connection (N, C, H, W), pooling indices."""
        skip = super().forward(x)
        pooled, indices = self.maxpool(skip)
        return pooled, skip, indices


class DecoderBlock(DenseBlock):
    """Max unpooling, maxout with the encoder's features, then a dense block."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(channels, channels, kernel_size, Entry.COMPETE)
        self.unpool = nn.MaxUnpool2d(kernel_size=2, stride=2)

    def forward(self, x: Tensor, skip: Tensor, indices: Tensor) -> Tensor:  # type: ignore[override]
        """Features (N, C, 2H, 2W) from pooled ones and the encoder's ``skip`` (N, C, 2H, 2W)."""
        return super().forward(_maxout(self.unpool(x, indices), skip))


class Classifier(nn.Module):
    """A 1x1 convolution from features to class logits."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes, H, W)."""
        logits: Tensor = self.conv(x)
        return logits


def _maxout(new: Tensor, old: Tensor) -> Tensor:
    """The larger of both, elementwise; NaN where either is. Takes the place of ``new`` unless gradients need it."""
    return torch.maximum(new, old, out=None if torch.is_grad_enabled() else new)


def zoom(x: Tensor, target: tuple[int, int], scale: tuple[float, float]) -> tuple[Tensor, tuple[float, float]]:
    """``x`` resampled by ``1 / scale``, cropped or zero-padded at bottom and right to ``target``.

    Parameters
    ----------
    x
        Features (N, C, H, W).
    target
        Height and width of the result.
    scale
        Source pixels for one target pixel, per axis.

    Returns
    -------
    zoomed
        Features (N, C, *target), bilinear, top left corners aligned.
    scale
        The scale truly applied, which rounding to whole pixels changes a little: its inverse undoes this zoom.

    Notes
    -----
    FastSurfer computes sizes and scales in float32 and truncates; so do we, since float64 can give one pixel
    more or less.
    """
    extents = [_zoom_extent(x.shape[2 + axis], target[axis], np.float32(scale[axis])) for axis in (0, 1)]
    (rows, new_rows, _), (columns, new_columns, _) = extents
    x = x[:, :, :rows, :columns]
    if x.shape[2:] != (new_rows, new_columns):
        x = F.interpolate(x, size=(new_rows, new_columns), mode="bilinear", align_corners=False)
    if (new_rows, new_columns) != target:
        x = F.pad(x, (0, target[1] - new_columns, 0, target[0] - new_rows))
    return x, (extents[0][2], extents[1][2])


def _zoom_extent(size: int, target: int, scale: np.float32) -> tuple[int, int, float]:
    """Source pixels used, pixels they become, and the scale between the two, a float32's value."""
    wanted = int(np.float32(target) * scale)
    # A number divided by a tensor is a product with its reciprocal in PyTorch; the last bit counts.
    used, new_size = (size, int(np.float32(size) * (np.float32(1) / scale))) if wanted > size else (wanted, target)
    return used, new_size, float(np.float32(used / new_size))
