"""Layers that get a value where the reference sees NaN, on a rectangle of the slices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nansurfer.engine.crop import Crop
from nansurfer.engine.mask_flow import DEPTHS, ConvMasks, PoolMasks
from nansurfer.models import Network
from nansurfer.nn.functional.convolution import add_means
from nansurfer.nn.functional.windows import Windows
from nansurfer.nn.options import Fill


class ZeroFill:
    """A convolution's hook, which gives it 0 where its input would be NaN."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Give back memory."""
        self._seen = torch.empty(0)

    def use(self, masks: ConvMasks, crop: Crop) -> None:
        """Of the input that comes next."""
        self._seen, self._crop = crop.of(masks.seen), crop

    def __call__(self, conv: nn.Module, args: tuple[Tensor]) -> Tensor:
        """The input, filled."""
        (x,) = args
        return x * self._seen


class BlankFill(ZeroFill):
    """A convolution's hook, which gives it its blank response; called first, with an empty slice, it records that."""

    def forget(self) -> None:
        """Record at the next call."""
        super().forget()
        self._blank: Tensor | None = None

    def __call__(self, conv: nn.Module, args: tuple[Tensor]) -> Tensor:
        """The input, filled."""
        (x,) = args
        if self._blank is None:
            self._blank = x.clone()
        # One or the other to the last bit, since both are finite; several times as fast as torch.where on a CPU.
        return torch.lerp(self._crop.of(self._blank), x, self._seen.to(x.dtype))


class MeanFill(ZeroFill):
    """A convolution's hooks, which give it the mean of a window's values for those that would be NaN."""

    def forget(self) -> None:
        """Give back memory."""
        super().forget()
        self._mixed = torch.empty(0)
        self._n_known = torch.empty(0)

    def use(self, masks: ConvMasks, crop: Crop) -> None:
        """Of the input that comes next."""
        super().use(masks, crop)
        self._mixed, self._n_known = crop.of(masks.mixed), crop.of(masks.n_known)

    def add_means(self, conv: nn.Conv2d, args: tuple[Tensor], output: Tensor) -> None:
        """Change the output of an input filled with 0."""
        padding = (conv.kernel_size[0] // 2,) * 2
        windows = Windows(conv.kernel_size, (1, 1), (1, 1), padding, padding)
        add_means(output, args[0], ~self._seen.unsqueeze(1), self._mixed, self._n_known, windows, conv.weight)


class MaxPool(nn.Module):
    """Max pooling of 2x2 from a rectangle into what may be more than its own on the level below.

    The first call records what an empty slice, all of it, gives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.forget()

    def forget(self) -> None:
        """Record at the next call."""
        self._blank: tuple[Tensor, Tensor] | None = None
        self._seen = torch.empty(0)
        self._kept = torch.empty(0)

    def use(self, masks: PoolMasks, crop: Crop, below: Crop) -> None:
        """Of the input that comes next, the rectangle ``crop``; the values returned are of the rectangle ``below``."""
        self._crop, self._below = crop, below
        self._seen, self._kept = crop.of(masks.seen), crop.pooled().of(masks.kept)

    @property
    def own(self) -> Crop:
        """What comes from the input, in the rectangle below."""
        return self._crop.pooled().seen_from(self._below)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values (N, C, h', w') and, of the input's part of them, flat positions in the input."""
        values, indices = F.max_pool2d(x.masked_fill(~self._seen, -torch.inf), 2, return_indices=True)
        if self._blank is None:
            self._blank = values.clone(), indices
        blank_values, blank_indices = self._blank
        whole, pooled = self._below.of(blank_values).repeat(len(x), 1, 1, 1), self._crop.pooled()
        own_values, blank_indices = self.own.of(whole), self._in_crop(pooled.of(blank_indices))
        own_values.copy_(torch.where(self._kept, values, own_values))
        return whole, torch.where(self._kept, indices, blank_indices)

    def _in_crop(self, indices: Tensor) -> Tensor:
        """Flat positions in a whole slice as positions in the rectangle."""
        assert self._blank is not None
        width = 2 * self._blank[0].shape[3]
        rows, columns = indices // width - self._crop.rows.start, indices % width - self._crop.columns.start
        positions: Tensor = rows * self._crop.size[1] + columns
        return positions


class MaxUnpool(nn.Module):
    """Max unpooling that undoes a :class:`MaxPool`."""

    def __init__(self, pool: MaxPool) -> None:
        super().__init__()
        self._pool = pool

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        """Values where they came from, 0 elsewhere, of the pooling's rectangle."""
        return F.max_unpool2d(self._pool.own.of(x), indices, (2, 2))


_FILLS: dict[Fill, type[ZeroFill]] = {"blank": BlankFill, "mean": MeanFill, "zero": ZeroFill}


def fill_convolutions(network: Network, fill: Fill) -> dict[str, ZeroFill]:
    """Have each convolution's input filled; what does that, by the convolutions' names."""
    fills = {name: _FILLS[fill]() for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    for name, hook in fills.items():
        conv = network.get_submodule(name)
        conv.register_forward_pre_hook(hook)
        if isinstance(hook, MeanFill):
            conv.register_forward_hook(hook.add_means)
    return fills


def crop_poolings(network: Network) -> dict[str, MaxPool]:
    """Put poolings and unpoolings of rectangles in the place of a network's; the poolings, by name."""
    pools = {f"encode{depth}.maxpool": MaxPool() for depth in DEPTHS}
    for depth, (name, pool) in zip(DEPTHS, pools.items(), strict=True):
        network.set_submodule(name, pool)
        network.set_submodule(f"decode{depth}.unpool", MaxUnpool(pool))
    return pools
