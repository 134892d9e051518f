"""The dense engine: every voxel of every slice, by PyTorch's own layers. The reference for all others."""

from __future__ import annotations

import copy
import logging

import torch
from torch import Tensor, nn

from nansurfer.engine.counts import SliceCounts, counts_of, tile_grid
from nansurfer.engine.device import GPU_BATCH_SIZE, ComputeOptions, is_out_of_memory, resolve_device
from nansurfer.engine.fold import fold_batch_norms
from nansurfer.engine.protocol import Mask, Slices
from nansurfer.engine.sums import Classes, LogitSum
from nansurfer.errors import DeviceError
from nansurfer.models import Network
from nansurfer.nn import NaNPolicy, nanify, set_counting

TOO_LARGE = "The network's numbers are too large for float16; use --precision float32."

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}  # of weights and activations; else float32

_logger = logging.getLogger("nansurfer")


class DenseEngine:
    """Runs one view's network on thick slices.

    When memory is exhausted the batch is halved, down to one slice, and then the CPU takes over from a GPU;
    each step is logged.

    Parameters
    ----------
    network
        In evaluation mode; it is not changed.
    options
        Device, precision and batch size.
    """

    name = "reference"
    left_dense: tuple[str, ...] = ()

    def __init__(self, network: Network, options: ComputeOptions) -> None:
        self.device = resolve_device(options.device)
        self.batch_size = options.batch_size or (1 if self.device == "cpu" else GPU_BATCH_SIZE)
        self._dtype = _DTYPES.get(options.precision, torch.float32)
        prepared = fold_batch_norms(network) if options.fold else copy.deepcopy(network)
        self._network: nn.Module = prepared.to(self.device, self._dtype)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._computed = 0
        self._layers: SliceCounts | None = None

    def prepare(self, size: tuple[int, int], scale: float) -> None:
        """Nothing is prepared before there are slices."""

    @torch.inference_mode()
    def logits(self, slices: Slices, scale: float, head: Mask | None = None, wanted: Mask | None = None) -> Tensor:
        """Logits of thick slices.

        Parameters
        ----------
        slices
            Thick slices (N, slices, H, W), 0..255; any N, computed ``batch_size`` at a time.
        scale
            1 mm divided by the voxel size.
        head, wanted
            Where something may be skipped: nothing here.

        Returns
        -------
        float32 (N, classes, H, W), on the engine's device

        Raises
        ------
        DeviceError
            Neither the GPU nor the CPU can compute a single slice, or float16 cannot hold its numbers.
        """
        parts: list[Tensor] = []
        start = 0
        while start < len(slices):
            batch = slice(start, start + self.batch_size)
            masks = (None if mask is None else mask[batch] for mask in (head, wanted))
            logits = self._run_if_memory_suffices(slices[batch], scale, *masks)
            if logits is None:
                self._retreat()
                continue
            parts.append(logits)
            start += len(logits)
        return parts[0] if len(parts) == 1 else torch.cat([part.to(self.device) for part in parts])

    def accumulate(
        self, slices: Slices, scale: float, head: Mask | None, sums: LogitSum, wanted: Mask | None = None
    ) -> None:
        """Add the logits of thick slices to sums. Parameters as of :meth:`logits`."""
        sums.add(self.logits(slices, scale, head, wanted))

    def largest(
        self,
        slices: Slices,
        scale: float,
        head: Mask | None,
        sums: LogitSum,
        classes: Classes,
        wanted: Mask | None = None,
    ) -> None:
        """Write the class of the largest of the sums with the logits added, the first of equal ones.

        Parameters
        ----------
        slices, scale, head, wanted
            As of :meth:`logits`.
        sums
            Of the other views; they stay as they are.
        classes
            Written: uint8 (N, h, w).
        """
        classes[:] = sums.largest(self.logits(slices, scale, head, wanted))

    def take_counts(self) -> SliceCounts:
        """What was skipped of the slices computed since the last call: nothing here."""
        if self._layers is None:
            self._layers = self._count_one_slice()
        computed, self._computed = self._computed, 0
        return self._layers.repeated(computed)

    def release(self) -> None:
        """Nothing is kept between calls."""

    @torch.inference_mode()
    def _count_one_slice(self) -> SliceCounts:
        network = nanify(self._network, NaNPolicy("off"))
        slices, scale = self._example
        set_counting(network, True, grid=tile_grid(slices))
        network(self._to_input(slices), (scale, scale))
        return counts_of(network)

    def _run_if_memory_suffices(
        self, slices: Slices, scale: float, head: Mask | None, wanted: Mask | None
    ) -> Tensor | None:
        try:
            return self._run(slices, scale, head, wanted)
        except NotImplementedError as error:
            raise DeviceError(
                f"PyTorch has no {self.device} version of an operation that the network needs ({error}); "
                "use --device cpu."
            ) from error
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _run(self, slices: Slices, scale: float, head: Mask | None, wanted: Mask | None) -> Tensor:
        logits: Tensor = self._network(self._to_input(slices), (scale, scale))
        self._example = slices[:1], scale
        self._computed += len(slices)
        return self._checked(logits)

    def _checked(self, logits: Tensor) -> Tensor:
        """Finite logits in float32."""
        if self._dtype == torch.float16 and not logits.isfinite().all():
            raise DeviceError(TOO_LARGE)
        return logits.float()

    def _to_input(self, slices: Slices) -> Tensor:
        x = torch.from_numpy(slices).to(self.device).contiguous(memory_format=torch.channels_last)
        return (x.float() / 255.0).to(self._dtype)

    def _retreat(self) -> None:
        """Smaller batches, or the CPU."""
        torch.cuda.empty_cache()
        if self.batch_size > 1:
            self.batch_size //= 2
            _logger.warning("The memory is exhausted; going on with --batch-size %d.", self.batch_size)
        elif self.device == "cpu":
            raise DeviceError("The memory does not suffice for a single slice; close other programs.")
        else:
            self.device = "cpu"
            self._network = self._network.to(self.device)
            _logger.warning("The GPU's memory does not suffice for a single slice; going on with --device cpu.")
