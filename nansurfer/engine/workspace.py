"""One slice through the network, by the compiled kernels.

Masks do not depend on values. So all masks of a slice come first, and with them what each kernel has to compute; then
the values. Both walk through the same steps: the input, the blocks of convolutions, the poolings and unpoolings between
them, the classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from nansurfer.engine.maps import FeatureMap
from nansurfer.engine.masks import ByteMask, RunTable
from nansurfer.engine.packed import PackedBlock, PackedNetwork
from nansurfer.engine.resampling import Resampling
from nansurfer.engine.steps import (
    Chain,
    Classification,
    Counter,
    Entry,
    Pool,
    Shared,
    Source,
    Step,
    Target,
    Unpool,
    Zoom,
)

_LARGEST_INPUT = 255  # of a thick slice's values, which the networks see as 0..1


class _Level:
    """Feature maps of one resolution, each with the channels of a block, made when they are asked for.

    Parameters
    ----------
    network
        Whose features they are for.
    channels, size
        Of the maps.
    whole
        Whether what goes from one convolution to the next is kept whole, to be recorded.
    """

    def __init__(self, network: PackedNetwork, channels: int, size: tuple[int, int], *, whole: bool) -> None:
        self._make_map = partial(_make_map, network, channels, size)
        self._whole = whole

    @cached_property
    def entered(self) -> FeatureMap:
        """A block's input, transformed."""
        return self._make_map()

    @cached_property
    def competitor(self) -> FeatureMap:
        """A block's input as it is, which competes."""
        return self._make_map()

    @cached_property
    def features(self) -> FeatureMap:
        """A block's output."""
        return self._make_map()

    @cached_property
    def relay(self) -> list[FeatureMap]:
        """What goes from one convolution of a block to the next: the inputs of three, and what competes with two."""
        return [self._make_map(ring=not self._whole) for _ in range(4)]

    def entries(self, block: PackedBlock) -> list[Target]:
        """Where the input of a block that competes is written to."""
        return [Target(self.entered, block.entered), Target(self.competitor)]


class Workspace:
    """What one thread needs to take slices through the network, one at a time.

    Parameters
    ----------
    shared
        What it has in common with the other threads; the first workspace has to record the blanks.
    counting
        Whether to count what is skipped.
    recording
        Whether it is there to record the blanks: then what goes from one convolution to the next is kept whole.

    Attributes
    ----------
    counter
        Counts of the last slice, if there are any.
    features, valid
        Features of the last slice, which the classifier has yet to see, and the pixels where they are valid.
    nowhere
        No pixels.
    """

    def __init__(self, shared: Shared, *, counting: bool, recording: bool = False) -> None:
        self._shared, self._network, self._recording = shared, shared.network, recording
        self.counter = Counter(shared.kernels, self._network.layers, shared.tiles) if counting else None
        channels, (height, width) = self._network.channels, shared.inner_size
        depths = range(len(self._network.encoders) + 1)
        self._levels = [self._level(channels, (height >> depth, width >> depth)) for depth in depths]
        self._last_level = self._level(channels, shared.size) if shared.zooms else self._levels[0]
        self._wanted: ByteMask = np.zeros(shared.inner_size, np.uint8)
        self._steps: list[Step] = []
        self._entry = self._enter()
        classification = self._classify(self._wire())
        self.features, self.valid = self._last_level.features, classification.valid
        self.nowhere = RunTable(*shared.size)

    def compute(
        self, thick_slice: npt.NDArray[np.uint8], head: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_]
    ) -> None:
        """Take a thick slice (slices, H, W) through the network.

        NaN enters where ``head`` (H, W) is False, and the last decoder where ``wanted``, of the U-Net's size, is.
        """
        self._entry.slice[:], self._entry.mask[:], self._wanted[:] = thick_slice, head, wanted
        if self.counter is not None:
            self.counter.seconds = 0.0
        for step in self._steps:
            step.find_masks()
        for step in self._steps:
            step.compute()

    def record_blanks(self, threads: int) -> None:
        """Take an empty slice through the network, all of it, and keep each layer's input in ``shared``."""
        self._entry.slice[:], self._entry.mask[:], self._wanted[:] = 0, 1, 1
        for step in self._steps:
            step.find_masks()
        with ThreadPoolExecutor(threads, initializer=self._shared.kernels.flush_denormals) as pool:
            for step in self._steps:
                if isinstance(step, (Chain, Pool)):
                    step.record_blanks(pool, threads)
                else:
                    pool.submit(step.compute).result()  # rounded as all that will be computed

    def _level(self, channels: int, size: tuple[int, int]) -> _Level:
        return _Level(self._network, channels, size, whole=self._recording)

    def _map(self, channels: int, size: tuple[int, int]) -> FeatureMap:
        return _make_map(self._network, channels, size)

    def _enter(self) -> Entry:
        first = self._network.blocks[0]
        target = Target(self._map(first.channels_in, self._shared.size), first.entered.of_scaled(1 / _LARGEST_INPUT))
        entry = Entry(self._shared, target)
        self._steps.append(entry)
        return entry

    def _wire(self) -> Source:
        """Add all blocks; returns the mask of the last one's output."""
        network, level, entered = self._network, self._last_level, self._entry.target.map
        head = Source(self._entry.mask, entered.channels)
        finished = [Target(level.features)]
        if network.outer is None:
            return self._add_unet(entered, head, finished)
        before, after = network.outer
        inner = network.channels  # the U-Net's features come first, then the first block's
        joined = self._map(after.channels_in, self._shared.size)
        into = Target(joined, after.entered.channels(0, inner))
        beside = Target(joined, after.entered.channels(inner, joined.channels), inner)
        add_inner = self._add_resampled if self._shared.zooms else self._add_direct
        return self._add_block(after, add_inner(before, entered, head, into, beside), level, joined, finished)

    def _add_direct(
        self, before: PackedBlock, entered: FeatureMap, head: Source, into: Target, beside: Target
    ) -> list[Source]:
        """Add the first block, which writes to ``beside`` as well, and the U-Net, which writes to ``into``."""
        level = self._level(before.channels_out, self._shared.size)
        inner_entry = Target(level.features, self._network.encoders[0].entered)
        outer = self._add_block(before, [head], level, entered, [inner_entry, beside])
        return [self._add_unet(inner_entry.map, outer, [into]), outer]

    def _add_resampled(
        self, before: PackedBlock, entered: FeatureMap, head: Source, into: Target, beside: Target
    ) -> list[Source]:
        """The same with a resampling on each side of the U-Net."""
        assert self._shared.zooms is not None
        there, back = self._shared.zooms
        level, inner_features = self._level(before.channels_out, self._shared.size), self._levels[0].features
        inner_entry = Target(self._map(before.channels_out, there.size), self._network.encoders[0].entered)
        outer = self._add_block(before, [head], level, entered, [Target(level.features), beside])
        inner = self._add_zoom(there, outer, level.features, inner_entry)
        inner = self._add_unet(inner_entry.map, inner, [Target(inner_features)])
        return [self._add_zoom(back, inner, inner_features, into), outer]

    def _add_zoom(self, resampling: Resampling, source: Source, features: FeatureMap, target: Target) -> Source:
        zoom = Zoom(self._shared, resampling, source.mask, features, target)
        self._steps.append(zoom)
        return Source(zoom.mask, source.channels)

    def _add_unet(self, entered: FeatureMap, source: Source, targets: Sequence[Target]) -> Source:
        """Add encoders, bottleneck and decoders."""
        levels, encoders = self._levels, self._network.encoders
        pools: list[Pool] = []
        for depth, following in enumerate((*encoders[1:], self._network.bottleneck)):
            level, below = levels[depth], levels[depth + 1]
            encoded = self._add_block(encoders[depth], [source], level, entered, [Target(level.features)])
            pool = Pool(self._shared, f"pool{depth + 1}", encoded.mask, level.features, below.entries(following))
            self._steps.append(pool)
            pools.append(pool)
            source, entered = Source(pool.mask, encoded.channels), below.entered
        deepest = levels[-1]
        source = self._add_block(
            self._network.bottleneck, [source], deepest, deepest.entered, [Target(deepest.features)]
        )
        for depth, block in zip((3, 2, 1, 0), self._network.decoders, strict=True):
            level, below = levels[depth], levels[depth + 1]
            wanted = None if depth else self._wanted
            unpool = Unpool(self._shared, pools[depth], below.features, source.mask, level.entries(block), wanted)
            self._steps.append(unpool)
            source = Source(unpool.mask, source.channels)
            written = [Target(level.features)] if depth else targets
            source = self._add_block(block, [source], level, level.entered, written)
        return source

    def _add_block(
        self,
        block: PackedBlock,
        sources: Sequence[Source],
        level: _Level,
        entered: FeatureMap,
        targets: Sequence[Target],
    ) -> Source:
        """Add a block whose input, transformed, is ``entered``; returns the mask of its output."""
        *inputs, competitor = level.relay
        competitors = [level.competitor, competitor] if block.competes else [competitor, competitor]
        chain = Chain(self._shared, block, self.counter, sources, [entered, *inputs], competitors, targets)
        self._steps.append(chain)
        return Source(chain.mask, block.channels_out)

    def _classify(self, source: Source) -> Classification:
        classification = Classification(self._shared, self.counter, source)
        self._steps.append(classification)
        return classification


def _make_map(network: PackedNetwork, channels: int, size: tuple[int, int], *, ring: bool = False) -> FeatureMap:
    """A map for a network's features."""
    radius = max(1, network.radius)  # a resampling reads a zero where its result is padding
    return FeatureMap(channels, *size, radius, network.dtype, ring=ring)
