"""The masked engine: PyTorch's layers on the part of the slices that is not skipped, on any device."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nansurfer.engine.counts import SliceCounts, concatenated, tile_grid
from nansurfer.engine.crop import Crop
from nansurfer.engine.dense import DenseEngine
from nansurfer.engine.device import ComputeOptions
from nansurfer.engine.filled import crop_poolings, fill_convolutions
from nansurfer.engine.mask_flow import MaskFlow, size_of
from nansurfer.engine.policies import check_masked_policy
from nansurfer.engine.protocol import Mask, Slices
from nansurfer.engine.resampling import Resampling, resamplings_of
from nansurfer.models import FastSurferVINN, Network
from nansurfer.nn import NaNPolicy


class MaskedEngine(DenseEngine):
    """Runs one view's network on thick slices, with masks in the place of NaN.

    The same as the reference engine with the same policy but for rounding; its counts are the same. Masks come first
    (:class:`MaskFlow`). They tell the rectangle in which anything is computed, and PyTorch's own layers compute that,
    all of it; where a layer would see NaN it gets what the policy fills with instead. So what lies outside of the
    rectangle is saved, and what the reference engine spends on NaN. Slices without any head are skipped outright, even
    where zeros padded to them count, of which the reference computes something. At other voxel sizes than 1 mm the
    rectangle is the whole slice.

    Parameters
    ----------
    network
        In evaluation mode; it is not changed.
    options
        Device, precision and batch size.
    policy
        Mode ``"background"``, with any threshold, fill and margins.
    counting
        Whether to count what is skipped, for :meth:`take_counts`.

    Raises
    ------
    ConfigError
        The policy is another one.
    """

    name = "masked"

    def __init__(self, network: Network, options: ComputeOptions, policy: NaNPolicy, *, counting: bool = True) -> None:
        check_masked_policy(policy)
        super().__init__(network, options)
        self._policy, self._counting = policy, counting
        self._filled = cast(Network, self._network)
        self._fills, self._pools = fill_convolutions(self._filled, policy.fill), crop_poolings(self._filled)
        self._zooms: tuple[Resampling, Resampling] | None = None
        self._base_size = network.base_size if isinstance(network, FastSurferVINN) else (0, 0)
        self._prepared_for: tuple[tuple[int, ...], float, str] | None = None
        self._counts: list[SliceCounts] = []

    def take_counts(self) -> SliceCounts:
        """What was skipped of the slices computed since the last call."""
        counts, self._counts = self._counts, []
        return concatenated(counts)

    def release(self) -> None:
        """Give back the memory of masks and blank responses; the next slices record these anew."""
        for fill in self._fills.values():
            fill.forget()
        for pool in self._pools.values():
            pool.forget()
        self._prepared_for, self._counts = None, []

    @torch.inference_mode()
    def _run(self, slices: Slices, scale: float, head: Mask | None, wanted: Mask | None) -> Tensor:
        self._prepare(slices, scale)
        n, _, height, width = slices.shape
        head = np.ones((n, height, width), bool) if head is None else head
        present = np.flatnonzero(head.any(axis=(1, 2)))
        logits = torch.full(
            (n, self._filled.classifier.conv.out_channels, height, width), torch.nan, device=self.device
        )
        flow = None
        if len(present):
            flow = self._follow(head[present], None if wanted is None else wanted[present])
            crop, computed = self._compute(slices[present], scale, flow)
            crop.of(logits)[torch.from_numpy(present).to(self.device)] = computed
        if self._counting:
            counts = self._skipped_outright.repeated(n)
            if flow is not None:
                _enter(flow.counts(tile_grid(slices)), counts, present)
            self._counts.append(counts)
        return logits

    def _follow(self, head: Mask, wanted: Mask | None = None) -> MaskFlow:
        if wanted is not None and self._zooms is not None:
            wanted = self._zooms[0].readers(wanted)
        seen = torch.from_numpy(head).to(self.device)[:, None]
        decoded = None if wanted is None else torch.from_numpy(wanted).to(self.device)[:, None]
        return MaskFlow(self._filled, self._policy, self._zooms, seen, decoded)

    def _compute(self, slices: Slices, scale: float, flow: MaskFlow) -> tuple[Crop, Tensor]:
        """The rectangle and its logits, float32 (N, classes, h, w), NaN where they are skipped."""
        crops = flow.crops()
        for name, fill in self._fills.items():
            masks = flow.convolutions[name]
            fill.use(masks, crops[size_of(masks.seen)])
        for name, pool in self._pools.items():
            own = flow.poolings[name]
            pool.use(own, crops[size_of(own.seen)], crops[size_of(own.kept)])
        crop = crops[size_of(flow.labelled)]
        if isinstance(self._filled, FastSurferVINN):
            self._filled.base_size = crop.size if self._zooms is None else self._base_size
        logits: Tensor = self._filled(self._to_input(np.ascontiguousarray(crop.of(slices))), (scale, scale))
        return crop, self._checked(logits).masked_fill(~crop.of(flow.labelled), torch.nan)

    def _prepare(self, slices: Slices, scale: float) -> None:
        """Record what an empty slice of this size is to the layers and to the counts."""
        wanted_for = slices.shape[1:], scale, self.device
        if self._prepared_for == wanted_for:
            return
        self.release()
        if isinstance(self._filled, FastSurferVINN):
            self._filled.base_size = self._base_size
        size = slices.shape[2], slices.shape[3]
        self._zooms = resamplings_of(self._filled, size, scale)
        everything = self._follow(np.ones((1, *size), bool))
        self._compute(np.zeros_like(slices[:1]), scale, everything)
        counts = everything.counts(tile_grid(slices))
        self._skipped_outright = replace(
            counts,
            skipped=counts.windows[:, None],
            computed=np.zeros(1, bool),
            tiles=np.ones_like(counts.tiles),
        )
        self._prepared_for = wanted_for


def _enter(found: SliceCounts, counts: SliceCounts, slices: npt.NDArray[np.intp]) -> None:
    """Write the counts of some slices into those of all."""
    counts.skipped[:, slices], counts.mixed[:, slices] = found.skipped, found.mixed
    counts.computed[slices], counts.tiles[slices] = found.computed, found.tiles
