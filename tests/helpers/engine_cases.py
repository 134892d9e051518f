"""Networks, slices and heads on which engines are compared, and how they are."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from nansurfer.engine import ComputeOptions, Engine, ReferenceEngine, SliceCounts
from nansurfer.models import build_model, load_config
from nansurfer.nn import NaNPolicy
from nansurfer.volume import View, conform, head_mask, read_image, thick_mask, thick_slices, to_view

CPU = ComputeOptions(device="cpu")
POLICY = NaNPolicy("background", threshold=1.0, fill="blank")
SIZE = 64

THRESHOLDS = pytest.mark.parametrize(
    "policy",
    [
        replace(POLICY, threshold=threshold, count_include_pad=count_include_pad, pool_margin=pool_margin)
        for threshold, count_include_pad, pool_margin in [
            *product((0.4, 0.5, 0.7, 1.0), (False, True), (0,)),
            *product((0.6,), (False,), (1, 3)),
        ]
    ],
    ids=str,
)


def small_network(name: str, view: str = "axial", **changes) -> nn.Module:
    """A network whose batch norms and PReLUs do something."""
    torch.manual_seed(0)
    network = build_model(replace(load_config(name), base_size=SIZE, **changes), view).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.normal_(module.bias)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.5, 0.5)
    return network


@torch.no_grad()
def exact_network(name: str, **changes) -> nn.Module:
    """A network of small whole numbers, in which nothing is ever rounded.

    Every output channel of a convolution is one tap of one input channel. Many values are equal, as they are in the
    empty parts of real slices, where rounding decides which of them a pooling takes.
    """
    network = small_network(name, **changes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
            module.running_var.fill_(1 - module.eps)  # in float32 the sum of both is 1
            module.weight.fill_(1)
            module.bias.copy_(torch.randint(-1, 2, module.bias.shape))
        elif isinstance(module, nn.PReLU):
            module.weight.copy_(torch.randint(-1, 2, (1,)))
        elif isinstance(module, nn.Conv2d):
            taps = torch.randint(0, module.weight[0].numel(), (module.out_channels, 1))
            signs = torch.randint(0, 2, taps.shape) * 2.0 - 1
            module.weight.copy_(
                torch.zeros(module.out_channels, module.weight[0].numel())
                .scatter(1, taps, signs)
                .view_as(module.weight)
            )
            module.bias.zero_()
    return network


@torch.no_grad()
def shallow_network() -> nn.Module:
    """A network whose last blocks hear nothing of what poolings chose: skipped features win against all unpooled ones.

    In empty parts all values of a pooling window are equal, and rounding decides which is taken, in each engine in its
    own way. Everything that such a choice cannot reach must be the same.
    """
    network = small_network("vinn", filters=11, interpolation_filters=5)
    skipped, below = (block.get_submodule(block.stage_names(3)[1]) for block in (network.encode1, network.decode2))
    skipped.bias.fill_(100)
    below.weight.zero_()
    below.bias.fill_(-1)
    return network


def random_slices(n: int, size: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 7, *size), np.uint8)


def exact_slices(n: int, size: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """0 or 1 to the network."""
    return random_slices(n, size) // 128 * 255


def random_heads(n: int, size: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """Masks from a few specks over coarse shapes that touch the border to almost all."""
    rng = np.random.default_rng(1)
    heads = [ndimage.gaussian_filter(rng.standard_normal(size), rng.choice([0, 2, 8])) for _ in range(n)]
    return np.stack(
        [head > np.quantile(head, quantile) for head, quantile in zip(heads, np.linspace(0.02, 0.98, n), strict=True)]
    )


def counts_by_name(counts: SliceCounts) -> dict[str, tuple]:
    columns = (counts.macs_per_window, counts.windows, counts.skipped, counts.mixed)
    return {name: tuple(c[i].tolist() for c in columns) for i, name in enumerate(counts.layers)}


def assert_same_counts(found: SliceCounts, expected: SliceCounts) -> None:
    assert counts_by_name(found) == counts_by_name(expected)
    np.testing.assert_allclose(found.tiles, expected.tiles, atol=1e-6)
    np.testing.assert_array_equal(found.computed, expected.computed)


def real_slices(path: Path, view: View, start: int, stop: int, margin: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Thick slices of a T1, and where their input is not NaN."""
    volume = np.asanyarray(conform(read_image(path), "min").dataobj)
    slices = thick_slices(to_view(volume, view), start, stop)
    return slices, thick_mask(to_view(head_mask(volume), view), start, stop, margin=margin)


def smaller_voxels(slices: np.ndarray, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same at 0.8 mm."""
    return ndimage.zoom(slices, (1, 1, 1.25, 1.25), order=1), ndimage.zoom(heads, (1, 1.25, 1.25), order=0)


def assert_the_reference(
    engine: Engine,
    network: nn.Module,
    policy: NaNPolicy,
    slices: np.ndarray,
    heads: np.ndarray,
    scale: float = 1.0,
    tolerance: float = 0.0,
    wanted: np.ndarray | None = None,
) -> None:
    """The same NaN, the same values (to a part of the largest), the same counts."""
    reference = ReferenceEngine(network, CPU, policy)
    expected, found = (each.logits(slices, scale, heads, wanted) for each in (reference, engine))
    atol = tolerance * expected.nan_to_num().abs().max().item()
    torch.testing.assert_close(found, expected, rtol=0, atol=atol, equal_nan=True)
    assert 0.01 < expected.isnan().float().mean() < 0.9
    assert_same_counts(engine.take_counts(), reference.take_counts())
