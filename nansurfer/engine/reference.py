"""The reference for every skipping engine: PyTorch's layers with the NaN-aware ones in their place."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from nansurfer.engine.counts import SliceCounts, concatenated, counts_of, tile_grid
from nansurfer.engine.dense import TOO_LARGE, DenseEngine
from nansurfer.engine.device import ComputeOptions
from nansurfer.engine.protocol import Mask, Slices
from nansurfer.engine.resampling import Resampling, resamplings_of
from nansurfer.errors import DeviceError
from nansurfer.models import Network
from nansurfer.nn import NaNMaxUnpool2d, NaNPolicy, left_dense, nanify, record_blank, reset_counts, set_counting


class ReferenceEngine(DenseEngine):
    """Runs one view's network on thick slices with the layers of :mod:`nansurfer.nn`: obvious, and not fast.

    Logits are NaN where nothing was computed. In mode ``"background"`` the input is NaN outside of the ``head`` that
    :meth:`logits` is given; in any mode, the last decoder's is NaN where no labels are ``wanted``.

    Parameters
    ----------
    network
        In evaluation mode; it is not changed.
    options
        Device, precision and batch size.
    policy
        Where NaN comes from and what is done with it.
    counting
        Whether to count what is skipped, for :meth:`take_counts`.
    """

    def __init__(self, network: Network, options: ComputeOptions, policy: NaNPolicy, *, counting: bool = True) -> None:
        super().__init__(network, options)
        self._network = nanify(self._network, policy)
        self.left_dense = tuple(left_dense(self._network))
        self._last_unpool = cast(NaNMaxUnpool2d, self._network.get_submodule("decode1.unpool"))
        self._policy, self._counting = policy, counting
        self._prepared_for: tuple[tuple[int, ...], float] | None = None
        self._zooms: tuple[Resampling, Resampling] | None = None
        self._counts: list[SliceCounts] = []
        if self._dtype == torch.float16:  # in the logits, what is too large may have become NaN, as what is skipped
            _check_finite(*self._network.parameters())
            for module in self._network.modules():
                module.register_forward_hook(lambda _module, _inputs, output: _check_finite(output))

    def take_counts(self) -> SliceCounts:
        """What was skipped of the slices computed since the last call."""
        counts, self._counts = self._counts, []
        return concatenated(counts)

    def release(self) -> None:
        """Forget what was counted of slices whose computation failed later on."""
        self._counts = []

    def _run(self, slices: Slices, scale: float, head: Mask | None, wanted: Mask | None) -> Tensor:
        self._last_unpool.wanted = None
        self._prepare(slices, scale)
        if wanted is not None:
            seen = self._zooms[0].readers(wanted) if self._zooms else wanted
            self._last_unpool.wanted = torch.from_numpy(seen).to(self.device)[:, None]
        x = self._to_input(slices)
        if head is not None:
            x.masked_fill_(torch.from_numpy(~head).to(self.device)[:, None], torch.nan)
        reset_counts(self._network)  # a batch that failed may have left some
        logits: Tensor = self._network(x, (scale, scale))
        if self._counting:
            self._counts.append(counts_of(self._network))
        return logits.float()

    def _prepare(self, slices: Slices, scale: float) -> None:
        """Tell the layers what an empty slice of this size looks like to them, and count on its tiles."""
        size = slices.shape[1:], scale
        if self._prepared_for == size:
            return
        set_counting(self._network, False)
        if self._policy.fill == "blank":
            record_blank(self._network, torch.zeros_like(self._to_input(slices[:1])), (scale, scale))
        set_counting(self._network, self._counting, grid=tile_grid(slices))
        self._zooms = resamplings_of(self._network, (slices.shape[2], slices.shape[3]), scale)
        self._prepared_for = size


def _check_finite(*values: Tensor | tuple[Tensor, ...]) -> None:
    """Refuse what is infinite; NaN may be, for it is what was skipped."""
    if any(part.isinf().any() for value in values for part in (value if isinstance(value, tuple) else (value,))):
        raise DeviceError(TOO_LARGE)
