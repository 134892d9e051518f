"""Masks followed through a network: what each of its layers sees and skips, before any value is computed.

Where NaN is the background's, no value decides what is skipped: what is NaN depends on the head's mask alone, and is so
in all of a layer's channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nansurfer.engine.counts import SliceCounts, counts_of_layers
from nansurfer.engine.crop import Crop, Size, crops_around
from nansurfer.engine.masks import invalid_needed, window_values
from nansurfer.engine.resampling import Resampling
from nansurfer.models import FastSurferVINN, Network
from nansurfer.models.blocks import DenseBlock, Entry
from nansurfer.nn import LayerCounts, NaNPolicy
from nansurfer.nn.functional.windows import Windows

DEPTHS = (1, 2, 3, 4)
"""Of the encoders and decoders, by which they are named."""

_POOLING = Windows((2, 2), (2, 2), (1, 1), (0, 0), (0, 0))

Sources: TypeAlias = Sequence[tuple[Tensor, int]]
"""Masks, bool (N, 1, H, W), False where features are NaN, each with the number of channels that it is of."""


class ConvMasks(NamedTuple):
    """A convolution's windows.

    Attributes
    ----------
    seen
        Where its input is not NaN, bool (N, 1, H, W), or (N, C, H, W) where its channels differ.
    skipped, mixed
        Windows not computed, and windows computed although some of their values are NaN, bool (N, 1, H, W).
    n_known
        Values of each window that are not NaN, int32 (N, 1, H, W); None unless the fill needs it.
    """

    seen: Tensor
    skipped: Tensor
    mixed: Tensor
    n_known: Tensor | None


class PoolMasks(NamedTuple):
    """A pooling's windows.

    Attributes
    ----------
    seen
        Where its input is not NaN, bool (N, 1, H, W).
    kept
        Windows in which anything is; all others get the blank response, bool (N, 1, H / 2, W / 2).
    """

    seen: Tensor
    kept: Tensor


class MaskFlow:
    """The masks of all layers for some slices.

    Parameters
    ----------
    network
        The network.
    policy
        Mode ``"background"``.
    zooms
        How features are resampled on the way into the U-Net and on the way out; None if they are not.
    head
        Where the input is not NaN, bool (N, 1, H, W).
    wanted
        Where the last decoder's input is not NaN, bool (N, 1, H', W') of the U-Net's size; None: wherever it is seen.

    Attributes
    ----------
    convolutions, poolings
        Masks by the layers' names, in the order in which these are run.
    labelled
        Where the logits are not NaN, bool (N, 1, H, W).
    """

    def __init__(
        self,
        network: Network,
        policy: NaNPolicy,
        zooms: tuple[Resampling, Resampling] | None,
        head: Tensor,
        wanted: Tensor | None,
    ) -> None:
        self._network, self._policy, self._zooms, self._wanted = network, policy, zooms, wanted
        self.convolutions: dict[str, ConvMasks] = {}
        self.poolings: dict[str, PoolMasks] = {}
        self.labelled = self._follow(head)

    def counts(self, grid: tuple[int, int]) -> SliceCounts:
        """What is skipped, on a grid of tiles."""
        kinds = list(self.convolutions.values())
        skipped, mixed = (
            torch.stack([mask.flatten(1).sum(1) for mask in masks]).cpu().numpy()
            for masks in ([own.skipped for own in kinds], [own.mixed for own in kinds])
        )
        tiles = torch.stack([F.adaptive_avg_pool2d(own.skipped.float(), grid)[:, 0] for own in kinds]).cpu().numpy()
        return counts_of_layers(
            [
                LayerCounts(
                    name=name,
                    macs_per_window=self._conv(name).weight.numel(),
                    windows=np.full(len(self.labelled), own.skipped[0].numel()),
                    skipped=skipped[index],
                    mixed=mixed[index],
                    tiles=tiles[index],
                )
                for index, (name, own) in enumerate(self.convolutions.items())
            ]
        )

    def crops(self) -> dict[Size, Crop]:
        """By the size of a level's maps, the rectangle in which windows of any slice are computed, and what they see.

        Where features are resampled that is everything.
        """
        levels: dict[Size, list[Tensor]] = {}
        for masks in self.convolutions.values():
            levels.setdefault(size_of(masks.skipped), []).append(~masks.skipped[:, 0])
        if self._zooms is not None:
            return {size: Crop.whole(size) for size in levels}
        reach = self._conv("bottleneck.conv0").kernel_size[0] // 2
        return crops_around({size: torch.cat(computed) for size, computed in levels.items()}, reach)

    def _follow(self, head: Tensor) -> Tensor:
        network = self._network
        if not isinstance(network, FastSurferVINN):
            return self._classify(self._unet(head))
        outer = self._block("inp_block", self._alone(head, "inp_block"))
        if self._zooms is None:
            inner = self._unet(outer)
        else:
            there, back = self._zooms
            inner = _zoomed(self._unet(_zoomed(outer, there)), back)
        joined = [
            (seen, self._conv(name).out_channels)
            for seen, name in ((inner, "decode1.conv3"), (outer, "inp_block.conv3"))
        ]
        return self._classify(self._block("outp_block", joined))

    def _unet(self, seen: Tensor) -> Tensor:
        skips = []
        for depth in DEPTHS:
            seen = self._block(f"encode{depth}", self._alone(seen, f"encode{depth}"))
            skips.append(seen)
            seen = self._pool(f"encode{depth}.maxpool", seen)
        seen = self._block("bottleneck", self._alone(seen, "bottleneck"))
        for depth in reversed(DEPTHS):
            seen = seen.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) & skips.pop()
            if depth == 1 and self._wanted is not None:
                seen = seen & self._wanted
            seen = self._block(f"decode{depth}", self._alone(seen, f"decode{depth}"))
        return seen

    def _alone(self, seen: Tensor, block: str) -> Sources:
        """A block's only input."""
        return [(seen, self._conv(f"{block}.conv0").in_channels)]

    def _block(self, name: str, sources: Sources) -> Tensor:
        block = self._network.get_submodule(name)
        assert isinstance(block, DenseBlock)
        competitor = sources[0][0] if block.entry is Entry.COMPETE else None
        for index in range(3):
            computed = self._convolve(f"{name}.conv{index}", sources)
            competitor = computed if competitor is None else computed & competitor
            sources = [(competitor, self._conv(f"{name}.conv{index}").out_channels)]
        return self._convolve(f"{name}.conv3", sources)

    def _convolve(self, name: str, sources: Sources) -> Tensor:
        conv = self._conv(name)
        kernel, policy = conv.kernel_size[0], self._policy
        missing = reduce(torch.add, (channels * _box_sum(~seen, kernel).int() for seen, channels in sources))
        windows = size_of(missing), conv.in_channels, kernel, policy, missing.device
        skipped = missing >= _needed(*windows)
        n_known = _values(*windows) - missing if policy.fill == "mean" else None
        seen = sources[0][0] if len(sources) == 1 else _of_all_channels(sources)
        self.convolutions[name] = ConvMasks(seen, skipped, (missing > 0) & ~skipped, n_known)
        return ~skipped

    def _conv(self, name: str) -> nn.Conv2d:
        conv = self._network.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        return conv

    def _pool(self, name: str, seen: Tensor) -> Tensor:
        margin = self._policy.pool_margin
        kept = reduce(torch.bitwise_or, _POOLING.taps(seen, False))
        self.poolings[name] = PoolMasks(seen, kept)
        return _box_sum(kept, 2 * margin + 1) > 0 if margin else kept

    def _classify(self, seen: Tensor) -> Tensor:
        return self._convolve("classifier.conv", [(seen, self._conv("classifier.conv").in_channels)])


def size_of(mask: Tensor) -> Size:
    """Height and width of masks (..., H, W)."""
    height, width = mask.shape[-2:]
    return height, width


@lru_cache(maxsize=64)  # of a network at one size there are a dozen
def _needed(size: Size, channels: int, kernel: int, policy: NaNPolicy, device: torch.device) -> Tensor:
    """Missing values from which windows are skipped, int32 (H, W)."""
    return torch.from_numpy(invalid_needed(*size, channels, kernel, policy).astype(np.int32)).to(device)


@lru_cache(maxsize=64)
def _values(size: Size, channels: int, kernel: int, policy: NaNPolicy, device: torch.device) -> Tensor:
    """All values of the windows, int32 (H, W)."""
    values = window_values(*size, channels, kernel, count_include_pad=policy.count_include_pad)
    return torch.from_numpy(values.astype(np.int32)).to(device)


def _box_sum(mask: Tensor, kernel: int) -> Tensor:
    """How many are True in the window around each place, int16."""
    counts, reach = mask.to(torch.int16), kernel // 2
    for sides, before in ((kernel, 1), (reach, 0)), ((1, kernel), (0, reach)):
        counts = Windows(sides, (1, 1), (1, 1), before, before).sums(counts)
    return counts


def _of_all_channels(sources: Sources) -> Tensor:
    return torch.cat([seen.expand(-1, channels, -1, -1) for seen, channels in sources], dim=1)


def _zoomed(seen: Tensor, resampling: Resampling) -> Tensor:
    """Where a resampling reads nothing that is NaN; its padding is not NaN."""
    missing = resampling.readers(~seen[:, 0].cpu().numpy())
    return torch.from_numpy(~missing).to(seen.device)[:, None]
