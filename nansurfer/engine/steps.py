"""The steps of a network: which pixels each has to compute, and that they be computed by the compiled kernels."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Protocol

import numpy as np

from nansurfer.engine import native
from nansurfer.engine.counts import TILE
from nansurfer.engine.maps import BlankMap, FeatureMap, line_of, pitch_of
from nansurfer.engine.masks import ByteMask, RunTable, invalid_needed
from nansurfer.engine.packed import PackedBlock, PackedNetwork, Transform
from nansurfer.engine.resampling import Resampling
from nansurfer.nn import NaNPolicy


class Step(Protocol):
    """A part of the network."""

    def find_masks(self) -> None:
        """Find what is valid behind this step and what it has to compute, from the masks of the steps before."""

    def compute(self) -> None:
        """Compute that."""


@dataclass(frozen=True)
class Shared:
    """What all threads read.

    Parameters
    ----------
    kernels
        The compiled functions.
    network
        The network.
    policy
        When windows are skipped.
    blanks
        Input of each convolution and pooling for an empty slice, by their names.
    size
        Height and width of the slices.
    scale
        1 mm divided by the voxel size.
    zooms
        How features are resampled on the way into the U-Net and on the way out; None if they are not.
    """

    kernels: ctypes.CDLL
    network: PackedNetwork
    policy: NaNPolicy
    blanks: dict[str, BlankMap]
    size: tuple[int, int]
    scale: float = 1.0
    zooms: tuple[Resampling, Resampling] | None = None

    @property
    def inner_size(self) -> tuple[int, int]:
        """Height and width of the U-Net's input."""
        return self.zooms[0].size if self.zooms else self.size

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles for which skips are told apart."""
        return self.size[0] // TILE, self.size[1] // TILE

    def blank(self, name: str, like: FeatureMap) -> BlankMap:
        """Where a layer's blank is, or will be when it has been recorded."""
        if name not in self.blanks:
            self.blanks[name] = like.blank()
        return self.blanks[name]


@dataclass(frozen=True)
class Target:
    """Where a step writes, from channel ``first`` of ``map`` on, and what it makes of the values (None: nothing)."""

    map: FeatureMap
    transform: Transform | None = None
    first: int = 0

    def native(self) -> native.Output:
        """For the kernels."""
        output = native.Output(self.map.native(self.first))
        if self.transform is not None:
            output.positive = self.transform.positive.ctypes.data
            output.negative = self.transform.negative.ctypes.data
            output.shift = self.transform.shift.ctypes.data
        return output


@dataclass(frozen=True)
class Source:
    """Channels of a step's input that share a mask."""

    mask: ByteMask
    channels: int


class Counter:
    """Counts the kinds of windows of each convolution, in the order of computation."""

    def __init__(self, kernels: ctypes.CDLL, layers: Sequence[str], tiles: tuple[int, int]) -> None:
        self._kernels = kernels
        self._numbers = {layer: number for number, layer in enumerate(layers)}
        self.tiles = np.zeros((len(layers), *tiles), np.int32)  # skipped in each
        self.skipped, self.mixed = (np.zeros(len(layers), np.int64) for _ in range(2))
        self.seconds = 0.0

    def count(self, name: str, kinds: ByteMask) -> None:
        """Count the windows of one convolution, which are of these kinds."""
        began = time.perf_counter()
        layer, skipped, mixed = self._numbers[name], ctypes.c_int64(), ctypes.c_int64()
        tiles = self.tiles[layer]
        self._kernels.count_kinds(kinds.ctypes.data, *kinds.shape, *tiles.shape, tiles.ctypes.data, skipped, mixed)
        self.skipped[layer], self.mixed[layer] = skipped.value, mixed.value
        self.seconds += time.perf_counter() - began


class Entry(Step):
    """The thick slice, transformed where the head is."""

    def __init__(self, shared: Shared, target: Target) -> None:
        self._kernels, self._channels = shared.kernels, target.map.channels
        self._size = height, width = shared.size
        self.target, self._output = target, target.native()
        self._runs = RunTable(height, width)
        self.mask: ByteMask = np.zeros(shared.size, np.uint8)
        self.slice = np.zeros((self._channels, height, width), np.uint8)

    def find_masks(self) -> None:
        self._kernels.runs(self.mask.ctypes.data, *self._size, self._runs.native)

    def compute(self) -> None:
        self._kernels.enter(self.slice.ctypes.data, self._output, self._runs.native, self._channels, *self._size)


class MaskedConvolution:
    """The mask of one convolution and its runs.

    Parameters
    ----------
    sources
        Its input: one, or two that are concatenated.
    competes
        Whether a maxout with something that has the mask of the (only) source follows.
    """

    def __init__(
        self, shared: Shared, sources: Sequence[Source], size: tuple[int, int], kernel: int, *, competes: bool
    ) -> None:
        height, width = size
        self._find = shared.kernels.mask_convolution
        self._sources = sources
        self.kinds, self.output = (np.zeros(size, np.uint8) for _ in range(2))
        self.compute = RunTable(height, width)
        self.halos = [RunTable(height, width, kernel // 2) for _ in sources]
        channels = sum(source.channels for source in sources)
        self._needed = invalid_needed(height, width, channels, kernel, shared.policy)
        self._native = native.ConvolutionMask(
            needed=self._needed.ctypes.data,
            competitor=sources[0].mask.ctypes.data if competes else None,
            kinds=self.kinds.ctypes.data,
            output=self.output.ctypes.data,
            compute=self.compute.native,
            height=height,
            width=width,
            kernel=kernel,
        )
        for index, (source, halo) in enumerate(zip(sources, self.halos, strict=True)):
            self._native.inputs[index] = source.mask.ctypes.data
            self._native.channels[index] = source.channels
            self._native.halos[index] = halo.native

    def find(self) -> None:
        """Find the mask and the runs."""
        self._find(self._native)

    def native_halos(self) -> list[native.Halo]:
        """For the convolution itself."""
        halos, first = [], 0
        for source, halo in zip(self._sources, self.halos, strict=True):
            halos.append(native.Halo(halo.native, first, source.channels))
            first += source.channels
        return halos


class Chain(Step):
    """The four convolutions of a block.

    Parameters
    ----------
    shared, block
        What to compute.
    counter
        Who counts what is skipped; None: nobody.
    sources
        Masks of the input.
    maps
        Inputs of the four convolutions, the first already transformed.
    competitors
        The block's input, if it competes; and what holds the maxouts.
    targets
        Where the last convolution writes: one or two.
    """

    def __init__(
        self,
        shared: Shared,
        block: PackedBlock,
        counter: Counter | None,
        sources: Sequence[Source],
        maps: Sequence[FeatureMap],
        competitors: Sequence[FeatureMap],
        targets: Sequence[Target],
    ) -> None:
        self._shared, self._block, self._maps, self._targets = shared, block, maps, targets
        self._counter, self._competitors = counter, competitors
        self._size = maps[0].height, maps[0].width
        self._masks: list[MaskedConvolution] = []
        self._native = (native.Convolution * len(maps))()
        for index in range(len(maps)):
            competes = index in (1, 2) or (index == 0 and block.competes)
            packed = block.convolutions[index]
            mask = MaskedConvolution(shared, sources, self._size, packed.kernel, competes=competes)
            self._native[index] = self._convolution(index, mask, competes=competes)
            self._masks.append(mask)
            sources = [Source(mask.output, packed.channels_out)]

    @property
    def mask(self) -> ByteMask:
        """Where the last convolution's output is valid."""
        return self._masks[-1].output

    def find_masks(self) -> None:
        for packed, mask in zip(self._block.convolutions, self._masks, strict=True):
            mask.find()
            if self._counter is not None:
                self._counter.count(packed.name, mask.kinds)

    def compute(self) -> None:
        self._shared.kernels.convolve(self._native, len(self._native), self._size[0])

    def record_blanks(self, pool: Executor, threads: int) -> None:
        """Compute, convolution by convolution, and keep the input of each as that of an empty slice.

        The ``threads`` threads of ``pool`` share the rows of a convolution; the input of the one before is kept beside.
        """
        kept = []
        for convolution, packed, source in zip(self._native, self._block.convolutions, self._maps, strict=True):
            compute = partial(self._shared.kernels.convolve_part, convolution)
            for _ in pool.map(compute, range(threads), repeat(threads), repeat(self._size[0])):
                pass
            kept.append(pool.submit(self._shared.blanks[packed.name].record, source))
        for each in kept:
            each.result()

    def _convolution(self, index: int, mask: MaskedConvolution, *, competes: bool) -> native.Convolution:
        packed = self._block.convolutions[index]
        convolution = native.Convolution(
            input=self._maps[index].native(),
            blank=self._shared.blank(packed.name, self._maps[index]).native(),
            compute=mask.compute.native,
            weights=packed.weights.ctypes.data,
            bias=packed.bias.ctypes.data,
            channels_in=packed.channels_in,
            channels_out=packed.channels_out,
            kernel=packed.kernel,
        )
        if competes:
            convolution.competitor = self._competitors[index > 0].native()
        for number, target in enumerate(self._targets_of(index)):
            convolution.outputs[number] = target.native()
        for number, halo in enumerate(mask.native_halos()):
            convolution.halos[number] = halo
        return convolution

    def _targets_of(self, index: int) -> Sequence[Target]:
        if index == 3:
            return self._targets
        entered = Target(self._maps[index + 1], self._block.activation)
        if index == 2:
            return [entered]  # the last maxout is not competed with
        return [entered, Target(self._competitors[1])]


class Pool(Step):
    """2x2 max pooling of the valid values, to the next block's competitor and, transformed, to its input.

    Parameters
    ----------
    shared
        What to compute.
    name
        Of the pooling, by which its input for an empty slice is known.
    mask, features
        Its input.
    targets
        Where it writes.
    """

    def __init__(
        self, shared: Shared, name: str, mask: ByteMask, features: FeatureMap, targets: Sequence[Target]
    ) -> None:
        self._kernels, self.input_mask, self._margin = shared.kernels, mask, shared.policy.pool_margin
        self._features, self._targets = features, targets
        self._blank = shared.blank(name, features)
        height, width = mask.shape
        rows, columns = height // 2, width // 2
        self.mask: ByteMask = np.zeros((rows, columns), np.uint8)
        self._runs, self._holes, self._ring = (RunTable(*size) for size in ((rows, columns), mask.shape, mask.shape))
        channels = features.channels
        pitch = pitch_of(columns, 0, line_of(features.dtype))
        self._positions = np.zeros(rows * channels * pitch, np.uint8)
        self.native = native.Pooling(
            input=features.native(),
            positions=native.Positions(self._positions.ctypes.data, channels * pitch, pitch),
            compute=self._runs.native,
            holes=self._holes.native,
            ring=self._ring.native,
            blank=self._blank.native(),
            channels=channels,
            height=rows,
        )
        for number, target in enumerate(targets):
            self.native.outputs[number] = target.native()

    def find_masks(self) -> None:
        runs = (table.native for table in (self._runs, self._holes, self._ring))
        self._kernels.mask_pool(
            self.input_mask.ctypes.data, *self.input_mask.shape, self._margin, self.mask.ctypes.data, *runs
        )

    def compute(self) -> None:
        self._kernels.pool(self.native)

    def record_blanks(self, pool: Executor, threads: int) -> None:
        """Compute, and keep the input, beside, as that of an empty slice."""
        for each in [pool.submit(self._blank.record, self._features), pool.submit(self.compute)]:
            each.result()


class Unpool(Step):
    """Max unpooling that undoes ``pool``, and maxout with what was pooled: the features of the skip connection.

    Where a mask ``wanted`` is given, only there.
    """

    def __init__(
        self,
        shared: Shared,
        pool: Pool,
        pooled: FeatureMap,
        pooled_mask: ByteMask,
        targets: Sequence[Target],
        wanted: ByteMask | None = None,
    ) -> None:
        self._kernels, self._skip, self._pooled = shared.kernels, pool.input_mask, pooled_mask
        self._wanted = wanted
        self._kept = pool, pooled, targets  # their memory
        self.mask: ByteMask = np.zeros(pool.input_mask.shape, np.uint8)
        height, width = pool.input_mask.shape
        self._runs = RunTable(height, width)
        self._native = native.Pooling(
            input=pool.native.input,
            pooled=pooled.native(),
            positions=pool.native.positions,
            compute=self._runs.native,
            channels=pooled.channels,
            height=height,
        )
        for number, target in enumerate(targets):
            self._native.outputs[number] = target.native()

    def find_masks(self) -> None:
        skip = self._skip if self._wanted is None else self._skip & self._wanted
        pooled, output = self._pooled.ctypes.data, self.mask.ctypes.data
        self._kernels.mask_unpool(pooled, skip.ctypes.data, *skip.shape, output, self._runs.native)

    def compute(self) -> None:
        self._kernels.unpool(self._native)


class Zoom(Step):
    """Bilinear resampling; NaN where any of the pixels that it reads is, as in PyTorch."""

    def __init__(
        self, shared: Shared, resampling: Resampling, mask: ByteMask, features: FeatureMap, target: Target
    ) -> None:
        self._kernels, self._input_mask = shared.kernels, mask
        self.mask: ByteMask = np.zeros(resampling.size, np.uint8)
        self._runs = RunTable(*resampling.size)
        behind = line_of(features.dtype)  # the last vector of a run reads places there
        places = [
            [np.pad(array, (0, behind), "edge") for array in (axis.first, axis.second, axis.share)]
            for axis in (resampling.rows, resampling.columns)
        ]
        self._kept = features, target, places  # their memory
        rows, columns = (native.Axis(*(array.ctypes.data for array in arrays)) for arrays in places)
        self._native = native.Zoom(
            input=features.native(),
            output=target.native(),
            compute=self._runs.native,
            rows=rows,
            columns=columns,
            channels=features.channels,
            height=resampling.size[0],
        )

    def find_masks(self) -> None:
        given, found, axes = self._input_mask, self.mask, (self._native.rows, self._native.columns)
        self._kernels.mask_zoom(
            given.ctypes.data, given.shape[1], *axes, *found.shape, found.ctypes.data, self._runs.native
        )

    def compute(self) -> None:
        self._kernels.zoom(self._native)


class Classification(Step):
    """Where the classifier has to be computed; what becomes of its logits is up to the caller."""

    def __init__(self, shared: Shared, counter: Counter | None, source: Source) -> None:
        self._kernels, self._counter, self._name = shared.kernels, counter, shared.network.classifier_name
        size = height, width = source.mask.shape
        self._mask = MaskedConvolution(shared, [source], size, kernel=1, competes=False)
        self.valid = RunTable(height, width)

    def find_masks(self) -> None:
        self._mask.find()
        self._kernels.runs(self._mask.output.ctypes.data, *self._mask.output.shape, self.valid.native)
        if self._counter is not None:
            self._counter.count(self._name, self._mask.kinds)

    def compute(self) -> None:
        pass
