"""How much of a network's work was skipped, by layer and by multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nansurfer.errors import ConfigError
from nansurfer.nn.counter import WindowCounter
from nansurfer.nn.layers import NaNConv

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerCounts:
    """Windows of one convolution; a window is one output position of one group.

    Attributes
    ----------
    name
        Path of the layer in the model, ``"encode1.conv0"``.
    macs_per_window
        Multiply-adds of one window, for all of its group's output channels.
    windows, skipped, mixed
        int64 (samples,), in the order in which samples were run: all windows, those skipped, and those computed
        though some of their values were NaN.
    tiles
        float32 (samples, *grid), share of windows skipped in each tile of the output; None if no grid was set.
    """

    name: str
    macs_per_window: int
    windows: IntArray
    skipped: IntArray
    mixed: IntArray
    tiles: npt.NDArray[np.float32] | None = None

    @property
    def skip_ratio(self) -> float:
        """Share of the windows that was skipped, 0..1, over all samples."""
        return int(self.skipped.sum()) / int(self.windows.sum())

    @property
    def mixed_ratio(self) -> float:
        """Share of the windows that was computed though some of their values were NaN."""
        return int(self.mixed.sum()) / int(self.windows.sum())

    @property
    def macs(self) -> int:
        """Multiply-adds of all windows, of all samples."""
        return self.macs_per_window * int(self.windows.sum())

    @property
    def macs_skipped(self) -> int:
        """Multiply-adds of the skipped windows, of all samples."""
        return self.macs_per_window * int(self.skipped.sum())


def skip_counts(model: nn.Module) -> list[LayerCounts]:
    """Counts of the convolutions that have run since the last reset, in the order of their first run."""
    run = [(name, layer) for name, layer in _convolutions(model) if layer.counter.windows]
    return [_layer_counts(*item) for item in sorted(run, key=lambda item: item[1].counter.first_run_s)]


def reset_counts(model: nn.Module) -> None:
    """Forget what was counted, and the time it took."""
    for _, layer in _convolutions(model):
        layer.counter = WindowCounter(layer.counter.grid)


def set_counting(model: nn.Module, enabled: bool, grid: Sequence[int] | None = None) -> None:
    """Switch counting on or off and forget what was counted.

    Parameters
    ----------
    model
        A nanified model.
    enabled
        Whether its convolutions count.
    grid
        Rows and columns (and depth) into which each output is divided for :attr:`LayerCounts.tiles`; None for none.

    Raises
    ------
    ConfigError
        The grid has not as many axes as a convolution's image, or an axis without tiles.
    """
    tiles = None if grid is None else tuple(grid)
    for name, layer in _convolutions(model):
        if tiles is not None and (len(tiles) != layer.dims or min(tiles) < 1):
            raise ConfigError(f"The grid is {tiles}; layer {name} needs {layer.dims} numbers of at least 1.")
        layer.counting = enabled
        layer.counter = WindowCounter(tiles)


def counting_s(model: nn.Module) -> float:
    """Seconds spent on counting alone since the last reset; on a GPU those of launching it, not of running it."""
    return sum(layer.counter.elapsed_s for _, layer in _convolutions(model))


def mean_skip_ratio(counts: Sequence[LayerCounts]) -> float:
    """Mean over layers of the share of skipped windows, the papers' figure; a small layer weighs like a large one."""
    return sum(layer.skip_ratio for layer in counts) / _at_least_one(counts)


def mac_skip_ratio(counts: Sequence[LayerCounts]) -> float:
    """Share of all multiply-adds that was skipped."""
    _at_least_one(counts)
    return sum(layer.macs_skipped for layer in counts) / sum(layer.macs for layer in counts)


def speedup_bound(counts: Sequence[LayerCounts]) -> float:
    """How many times faster the convolutions can be at best, 1 / (1 - skipped share of multiply-adds)."""
    left = 1 - mac_skip_ratio(counts)
    return 1 / left if left else math.inf


def _convolutions(model: nn.Module) -> Iterator[tuple[str, NaNConv]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, NaNConv))


def _layer_counts(name: str, layer: NaNConv) -> LayerCounts:
    counter = layer.counter
    return LayerCounts(
        name=name,
        macs_per_window=layer.weight[0].numel() * layer.out_channels // layer.groups,
        windows=np.array(counter.windows, np.int64),
        skipped=_joined(counter.skipped),
        mixed=_joined(counter.mixed),
        tiles=_joined(counter.tiles) if counter.tiles else None,
    )


def _joined(parts: list[Tensor]) -> npt.NDArray[Any]:
    joined: npt.NDArray[Any] = torch.cat([part.cpu() for part in parts]).numpy()
    return joined


def _at_least_one(counts: Sequence[LayerCounts]) -> int:
    if not counts:
        raise ConfigError("No convolution was counted; run the nanified model first, with counting on.")
    return len(counts)
