"""Skip counts: literal answers for small layers, and what is summed of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from nansurfer.errors import ConfigError
from nansurfer.nn import (
    LayerCounts,
    NaNConv2d,
    NaNConv3d,
    NaNPolicy,
    counting_s,
    mac_skip_ratio,
    mean_skip_ratio,
    nanify,
    reset_counts,
    set_counting,
    skip_counts,
    speedup_bound,
)


def corner_missing(samples: int = 1) -> torch.Tensor:
    """8x8, of which the first 4x4 are NaN, and in later samples one row less each."""
    x = torch.zeros(samples, 2, 8, 8)
    for sample in range(samples):
        x[sample, :, : 4 - sample, :4] = torch.nan
    return x


def test_one_by_one_convolution() -> None:
    layer = NaNConv2d(2, 6, 1)
    layer(corner_missing(2))
    (counts,) = skip_counts(layer)
    assert counts.macs_per_window == 12
    assert counts.windows.tolist() == [64, 64]
    assert counts.skipped.tolist() == [16, 12]
    assert counts.mixed.tolist() == [0, 0]
    assert counts.skip_ratio == 28 / 128
    assert (counts.macs, counts.macs_skipped) == (12 * 128, 12 * 28)
    assert counts.tiles is None


@pytest.mark.parametrize(("threshold", "skipped", "mixed"), [(1.0, 16, 9), (4 / 9, 17, 8)])
def test_mixed_windows(threshold, skipped, mixed) -> None:
    layer = NaNConv2d(2, 6, 3, padding=1, threshold=threshold)
    x = torch.zeros(1, 2, 8, 8)
    x[:, :, 2:6, 2:6] = torch.nan
    layer(x)
    (counts,) = skip_counts(layer)
    inner = 4 if threshold == 1 else 16  # corners of the hole reach 4/9
    assert counts.skipped.tolist() == [inner]
    assert counts.mixed.tolist() == [36 - inner]
    assert counts.mixed_ratio == (36 - inner) / 64


def test_a_window_belongs_to_a_group() -> None:
    layer = NaNConv2d(4, 6, 3, groups=2)
    x = torch.zeros(1, 4, 3, 3)
    x[:, :2] = torch.nan
    layer(x)
    (counts,) = skip_counts(layer)
    assert counts.macs_per_window == 3 * 2 * 9
    assert counts.windows.tolist() == [2]
    assert counts.skipped.tolist() == [1]


def test_calls_follow_each_other_until_reset() -> None:
    layer = NaNConv2d(2, 1, 1)
    for x in (corner_missing(1), corner_missing(2), torch.zeros(1, 2, 4, 4)):
        layer(x)
    assert skip_counts(layer)[0].windows.tolist() == [64, 64, 64, 16]
    assert skip_counts(layer)[0].skipped.tolist() == [16, 16, 12, 0]
    assert counting_s(layer) > 0
    reset_counts(layer)
    assert skip_counts(layer) == []
    assert counting_s(layer) == 0


def test_tiles() -> None:
    layer = NaNConv2d(2, 1, 1)
    set_counting(layer, True, grid=(2, 4))
    layer(corner_missing(2))
    layer(torch.zeros(1, 2, 8, 8))
    (counts,) = skip_counts(layer)
    assert counts.tiles.dtype == np.float32
    np.testing.assert_array_equal(counts.tiles[0], [[1, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(counts.tiles[1], [[0.75, 0.75, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(counts.tiles[2], np.zeros((2, 4)))
    reset_counts(layer)
    layer(corner_missing())
    assert skip_counts(layer)[0].tiles.shape == (1, 2, 4)


def test_tiles_of_a_volume() -> None:
    layer = NaNConv3d(1, 1, 1)
    set_counting(layer, True, grid=(2, 1, 1))
    x = torch.zeros(1, 1, 4, 4, 4)
    x[:, :, :2] = torch.nan
    layer(x)
    assert skip_counts(layer)[0].tiles.tolist() == [[[[1]], [[0]]]]


@pytest.mark.parametrize("grid", [(2,), (2, 2, 2), (0, 2)])
def test_senseless_grid(grid) -> None:
    with pytest.raises(ConfigError, match="grid"):
        set_counting(NaNConv2d(1, 1, 1), True, grid=grid)


def test_counting_can_be_switched_off() -> None:
    layer = NaNConv2d(2, 1, 1)
    set_counting(layer, False)
    layer(corner_missing())
    assert skip_counts(layer) == []


class Backwards(nn.Module):
    """Runs its last layer first, and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.never, self.last, self.first = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Conv2d(2, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x))


def test_order_of_computation() -> None:
    model = nanify(Backwards(), NaNPolicy("off"))
    model(torch.zeros(1, 2, 4, 4))
    assert [layer.name for layer in skip_counts(model)] == ["first", "last"]


def layer(name: str, macs: int, windows: int, skipped: int) -> LayerCounts:
    return LayerCounts(name, macs, np.array([windows]), np.array([skipped]), np.array([0]))


def test_ratios_of_a_network() -> None:
    counts = [layer("large", 100, 90, 9), layer("small", 10, 100, 50)]
    assert mean_skip_ratio(counts) == pytest.approx(0.3)
    assert mac_skip_ratio(counts) == 0.14
    assert speedup_bound(counts) == pytest.approx(1 / 0.86)
    assert speedup_bound([layer("all", 1, 5, 5)]) == math.inf


@pytest.mark.parametrize("ratio", [mean_skip_ratio, mac_skip_ratio, speedup_bound])
def test_nothing_counted(ratio) -> None:
    with pytest.raises(ConfigError, match="counted"):
        ratio([])
