"""The fast engine: only what is active, by compiled kernels, one slice a thread."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from nansurfer.engine import native
from nansurfer.engine.classifier import FEWEST_CLASSES, MOST_CLASSES, PackedClassifier
from nansurfer.engine.counts import TILE, SliceCounts, concatenated
from nansurfer.engine.device import ComputeOptions, default_threads
from nansurfer.engine.masks import LARGEST_KERNEL
from nansurfer.engine.packed import pack_network
from nansurfer.engine.policies import check_fast_policy
from nansurfer.engine.protocol import Mask, Slices
from nansurfer.engine.resampling import resamplings_of
from nansurfer.engine.steps import Shared
from nansurfer.engine.sums import Classes, LogitSum
from nansurfer.engine.tally import Tally
from nansurfer.engine.workspace import Workspace
from nansurfer.errors import ConfigError, DeviceError
from nansurfer.models import NetworkState
from nansurfer.nn import NaNPolicy

if TYPE_CHECKING:
    from torch import Tensor

    from nansurfer.models import Network

_logger = logging.getLogger("nansurfer")

_SLICES_PER_THREAD = 16  # in a batch: their times differ, and so threads wait less for the last

_Masks = tuple[Mask | None, Mask | None]
"""Head, and where labels are wanted."""

Use = Callable[[int, ctypes.CDLL, native.Classifier], None]
"""Told the number of a slice, the kernels that its features are for, and their classifier."""


class FastEngine:
    """Runs one view's network on thick slices, and computes nothing that background makes needless; without PyTorch.

    The same as the reference engine with the same policy but for rounding; its counts are the same. But slices without
    any head are skipped outright, even where zeros are padded to them, of which the reference computes something.

    Parameters
    ----------
    network
        Its state, or one of PyTorch's in evaluation mode; it is not changed.
    options
        Threads, and the precision: float16 if that is asked for, else float32. A slice whose numbers are too large for
        float16 is computed in float32 all the same.
    policy
        Mode ``"background"`` and fill ``"blank"``, with any threshold and margins; or mode ``"off"``.
    counting
        Whether to count what is skipped, for :meth:`take_counts`.

    Raises
    ------
    ConfigError
        The policy is another one, or the classes are too few or too many for the kernels.
    DeviceError
        The package was installed without compiled kernels, or the processor cannot run them.
    """

    name = "fast"
    left_dense: tuple[str, ...] = ()

    def __init__(
        self, network: Network | NetworkState, options: ComputeOptions, policy: NaNPolicy, *, counting: bool = True
    ) -> None:
        kernels = native.load_kernels(half=options.precision == "float16")
        if kernels is None:
            raise DeviceError(
                f"There are no compiled kernels for this processor and --precision {options.precision}; install the "
                "package where there is a C++ compiler, or use --engine auto."
            )
        check_fast_policy(policy)
        self._network = _state_of(network)
        _check_network(self._network)
        self._half, self._options = options.precision == "float16", options
        self.device = "cpu"
        self._threads = options.threads or default_threads()
        self.batch_size = max(options.batch_size or 1, _SLICES_PER_THREAD * self._threads)
        self._kernels, self._policy, self._counting = kernels, policy, counting
        self._packed = pack_network(self._network, kernels.block(), np.float16 if self._half else np.float32)
        self._classifiers: dict[tuple[int, ...] | None, PackedClassifier] = {}
        self._counts: list[SliceCounts] = []
        self._shared: Shared | None = None
        self._workspaces: SimpleQueue[Workspace] = SimpleQueue()
        self._exact: FastEngine | None = None
        self._exactly = Lock()

    @staticmethod
    def serves(
        network: Network | NetworkState,
        policy: NaNPolicy,
        size: tuple[int, int],
        scale: float,
        precision: str = "auto",
    ) -> bool:
        """Whether this engine can compute slices of this size and scale (1 mm / voxel size) with this policy."""
        network = _state_of(network)
        try:
            check_fast_policy(policy)
            _check_network(network)
            _check_size(network, size, scale)
        except ConfigError:
            return False
        return native.load_kernels(half=precision == "float16") is not None

    def prepare(self, size: tuple[int, int], scale: float) -> None:
        """Make the threads' workspaces for slices of a height and width, and record what an empty slice is like."""
        self._prepare(size, scale)

    def logits(self, slices: Slices, scale: float, head: Mask | None = None, wanted: Mask | None = None) -> Tensor:
        """Logits of thick slices, NaN where they are skipped.

        Parameters
        ----------
        slices
            Thick slices (N, slices, H, W), 0..255; for a FastSurferCNN H and W are multiples of 16.
        scale
            1 mm divided by the voxel size; for a FastSurferCNN 1.
        head
            False where the input is NaN, bool (N, H, W); None: nowhere.
        wanted
            False where the last decoder's input is NaN, bool (N, H, W); None: nowhere.

        Returns
        -------
        float32 (N, classes, H, W)

        Raises
        ------
        ConfigError
            The network cannot take this scale or size.
        """
        import torch

        classifier = self._classifier(None)
        logits = torch.full((len(slices), classifier.classes, *slices.shape[2:]), torch.nan)

        def keep(index: int, kernels: ctypes.CDLL, native_classifier: native.Classifier) -> None:
            kernels.logits(native_classifier, logits[index].data_ptr())

        self._run(slices, scale, (head, wanted), classifier, keep)
        return logits

    def accumulate(
        self, slices: Slices, scale: float, head: Mask | None, sums: LogitSum, wanted: Mask | None = None
    ) -> None:
        """Add the logits of thick slices to sums; nothing where they are skipped. Parameters as of :meth:`logits`."""

        def add(index: int, kernels: ctypes.CDLL, classifier: native.Classifier) -> None:
            kernels.accumulate(classifier, sums.weight, sums.native(index))

        self._run(slices, scale, (head, wanted), self._classifier(sums.order), add)

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
            As for :meth:`logits`.
        sums
            Of the other views; they stay as they are.
        classes
            Written: uint8 (N, h, w), 0 where nothing was ever added.
        """

        def find(index: int, kernels: ctypes.CDLL, classifier: native.Classifier) -> None:
            _, row, column = classes.strides
            to = classes[index].ctypes.data
            kernels.largest(classifier, sums.weight, sums.native(index), to, row, column)

        self._run(slices, scale, (head, wanted), self._classifier(sums.order), find)

    def take_counts(self) -> SliceCounts:
        """What was skipped of the slices computed since the last call."""
        counts, self._counts = self._counts, []
        return concatenated(counts)

    def release(self) -> None:
        """Give back the memory for slices under way; the next slice takes it anew."""
        self._workspaces, self._shared, self._counts = SimpleQueue(), None, []
        if self._exact is not None:
            self._exact.release()

    def _classifier(self, order: Sequence[int] | None) -> PackedClassifier:
        key = None if order is None else tuple(order)
        if key not in self._classifiers:
            self._classifiers[key] = PackedClassifier(self._packed, self._kernels.class_block(), key)
        return self._classifiers[key]

    def _run(self, slices: Slices, scale: float, masks: _Masks, classifier: PackedClassifier, use: Use) -> None:
        """Take each slice through the network in a thread, which then tells ``use`` of it."""
        n, _, height, width = slices.shape
        shared = self._prepare((height, width), scale)
        head, wanted = masks
        if head is None:
            head = np.ones((n, height, width), bool)
        if wanted is None:
            decoded = np.ones((n, *shared.inner_size), bool)
        else:
            decoded = shared.zooms[0].readers(wanted) if shared.zooms else wanted
        tally = Tally(shared, n)

        def compute(index: int) -> None:
            workspace = self._workspaces.get()
            try:
                if head[index].any():
                    workspace.compute(slices[index], head[index], decoded[index])
                    if workspace.counter is not None:
                        tally.add(index, workspace.counter)
                    features = classifier.native(workspace.features, workspace.valid)
                    if not self._half or self._kernels.finite(features):
                        use(index, self._kernels, features)
                    else:
                        one = slice(index, index + 1)
                        again = head[one], None if wanted is None else wanted[one]
                        self._compute_exactly(slices[one], scale, again, classifier.order, partial(use, index))
                else:
                    use(index, self._kernels, classifier.native(workspace.features, workspace.nowhere))
            finally:
                self._workspaces.put(workspace)

        largest_first = np.count_nonzero(head, axis=(1, 2)).argsort(kind="stable")[::-1]  # so that all end at a time
        with ThreadPoolExecutor(self._threads, initializer=self._kernels.flush_denormals) as threads:
            for _ in threads.map(compute, largest_first.tolist()):
                pass
        if self._counting:
            self._counts.append(tally.counts(self._threads))

    def _compute_exactly(
        self,
        thick_slice: Slices,
        scale: float,
        masks: _Masks,
        order: Sequence[int] | None,
        use: Callable[[ctypes.CDLL, native.Classifier], None],
    ) -> None:
        """Take a slice whose numbers float16 cannot hold through the network in float32."""
        with self._exactly:
            if self._exact is None:
                _logger.warning("Numbers are too large for float16; the slices are computed again in float32.")
                options = replace(self._options, precision="float32", threads=1)
                self._exact = FastEngine(self._network, options, self._policy, counting=False)
            exact = self._exact
            exact._run(thick_slice, scale, masks, exact._classifier(order), lambda _, *features: use(*features))

    def _prepare(self, size: tuple[int, int], scale: float) -> Shared:
        """Make the threads' workspaces for slices of a size, and record what an empty slice is like."""
        if self._shared is not None and (self._shared.size, self._shared.scale) == (size, scale):
            return self._shared
        _check_size(self._network, size, scale)
        zooms = resamplings_of(self._network, size, scale)
        shared = Shared(self._kernels, self._packed, self._policy, {}, size, scale, zooms)
        Workspace(shared, counting=False, recording=True).record_blanks(self._threads)
        self._workspaces = SimpleQueue()
        for _ in range(self._threads):
            self._workspaces.put(Workspace(shared, counting=self._counting))
        self._shared = shared
        return shared


def _state_of(network: Network | NetworkState) -> NetworkState:
    return network if isinstance(network, NetworkState) else NetworkState.of(network)


def _check_network(network: NetworkState) -> None:
    classes, kernel = network.classes, network.largest_kernel
    if not FEWEST_CLASSES <= classes <= MOST_CLASSES or kernel > LARGEST_KERNEL:
        raise ConfigError(
            f"The fast engine is made for {FEWEST_CLASSES} to {MOST_CLASSES} classes and kernels of at most "
            f"{LARGEST_KERNEL} pixels, not for {classes} classes and {kernel} pixels; use --engine auto."
        )


def _check_size(network: NetworkState, size: tuple[int, int], scale: float) -> None:
    if network.base_size:
        fits, wanted = min(size) >= TILE, f"at least {TILE}x{TILE} pixels"
    else:  # whose deepest level has a pixel a tile
        fits, wanted = scale == 1 and not any(side % TILE for side in size), f"whole tiles of {TILE}x{TILE} mm at 1 mm"
    if not fits:
        raise ConfigError(
            f"The fast engine takes a {network.architecture} over slices of {wanted}, not of {size[0]}x{size[1]} "
            f"pixels at {1 / scale:g} mm; use --vox-size 1 or --engine auto."
        )
