"""What a NaN convolution remembers of its windows, while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from nansurfer.nn.functional.convolution import WindowKinds


class WindowCounter:
    """Counts of one convolution, per sample and in the order in which samples were run.

    The tensors stay on their device, so that counting does not wait for a GPU.

    Parameters
    ----------
    grid
        Rows and columns (and depth) of the tiles for which the share of skipped windows is kept; None: not kept.
    """

    def __init__(self, grid: tuple[int, ...] | None = None) -> None:
        self.grid = grid
        self.windows: list[int] = []
        self.skipped: list[Tensor] = []
        self.mixed: list[Tensor] = []
        self.tiles: list[Tensor] = []
        self.first_run_s = math.inf  # on perf_counter's clock, to list layers as they were run
        self.elapsed_s = 0.0

    def add(self, output: Tensor, groups: int, kinds: WindowKinds | None) -> None:
        """Count one call's windows; ``kinds`` is None if there was no NaN."""
        start = perf_counter()
        self.first_run_s = min(self.first_run_s, start)
        samples = len(output)
        self.windows += [groups * math.prod(output.shape[2:])] * samples
        if kinds is None:
            nothing = torch.zeros(samples, dtype=torch.int64, device=output.device)
            self.skipped.append(nothing)
            self.mixed.append(nothing)
        else:
            self.skipped.append(kinds.skipped.flatten(1).sum(1))
            self.mixed.append(kinds.mixed.flatten(1).sum(1))
        if self.grid is not None:
            self.tiles.append(self._shares(output, kinds))
        self.elapsed_s += perf_counter() - start

    def _shares(self, output: Tensor, kinds: WindowKinds | None) -> Tensor:
        assert self.grid is not None
        if kinds is None:
            return torch.zeros((len(output), *self.grid), device=output.device)
        pool: Callable[..., Tensor] = F.adaptive_avg_pool2d if len(self.grid) == 2 else F.adaptive_avg_pool3d
        return pool(kinds.skipped.float(), self.grid).mean(1)
