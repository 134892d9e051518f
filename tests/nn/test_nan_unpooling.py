"""NaN max unpooling: literal answers, a window-by-window oracle, PyTorch's unpooling where nothing is NaN."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nansurfer.errors import ConfigError
from nansurfer.nn import nan_max_pool2d, nan_max_pool3d, nan_max_unpool2d, nan_max_unpool3d

NAN = math.nan
POOL = {2: nan_max_pool2d, 3: nan_max_pool3d}
UNPOOL = {2: nan_max_unpool2d, 3: nan_max_unpool3d}


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def unpooled(values: list[list[float]], indices: list[list[int]], **options) -> list[list[float]]:
    result = nan_max_unpool2d(torch.tensor([[values]], dtype=torch.float32), torch.tensor([[indices]]), 2, **options)
    return result.nan_to_num(-9).tolist()[0][0]  # -9 stands for NaN in the answers


def test_values_go_back_to_their_place() -> None:
    assert unpooled([[5, 7]], [[5, 2]]) == [[0, 0, 7, 0], [0, 5, 0, 0]]


def test_nan_at_its_position() -> None:
    assert unpooled([[5, NAN]], [[5, 2]]) == [[0, 0, -9, 0], [0, 5, 0, 0]]


def test_nan_over_its_window() -> None:
    assert unpooled([[5, NAN]], [[5, 2]], nan="window") == [[0, 0, -9, -9], [0, 5, -9, -9]]


def test_all_marked_positions_are_nan() -> None:
    listing = [[[5, -1, -1, -1], [2, 3, 7, -1]]]
    assert unpooled([[5, 7]], listing) == [[0, 0, -9, -9], [0, 5, 0, -9]]


def test_a_single_marked_position_of_an_all_nan_window() -> None:
    listing = [[[5, -1, -1, -1], [2, -1, -1, -1]]]
    assert unpooled([[5, NAN]], listing) == [[0, 0, -9, 0], [0, 5, 0, 0]]


def test_nan_wins_where_windows_overlap() -> None:
    assert unpooled([[5, NAN]], [[1, 1]], stride=1) == [[0, -9, 0], [0, 0, 0]]
    assert unpooled([[NAN, 5]], [[1, 1]], stride=1) == [[0, -9, 0], [0, 0, 0]]
    assert unpooled([[NAN, 5]], [[0, 1]], stride=1, nan="window") == [[-9, -9, 0], [-9, -9, 0]]


def test_rows_beyond_the_windows_stay_zero() -> None:
    assert unpooled([[NAN]], [[0]], nan="window", output_size=(3, 3)) == [[-9, -9, 0], [-9, -9, 0], [0, 0, 0]]


def test_unknown_placement() -> None:
    with pytest.raises(ConfigError, match="nan is 'everywhere'"):
        unpooled([[1]], [[0]], nan="everywhere")


def test_indices_of_another_shape() -> None:
    with pytest.raises(ConfigError, match="indices"):
        nan_max_unpool2d(torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.int64), 2)


def oracle(x: Tensor, indices: Tensor, kernel, stride, padding, size, nan: str) -> Tensor:
    """Every window by itself, NaN last."""
    output = torch.zeros(*x.shape[:2], *size, dtype=x.dtype)
    flat = output.flatten(2)  # a view
    blots = []
    for at in product(*map(range, x.shape)):
        listed = [int(i) for i in indices[at].flatten() if i >= 0]
        missing = math.isnan(x[at])
        if missing or len(listed) > 1:
            blots += [(at[:2], place) for place in listed]
        else:
            flat[(*at[:2], listed[0])] = x[at]
        if missing and nan == "window":
            spans = [
                range(o * s - p, o * s - p + k) for o, s, p, k in zip(at[2:], stride, padding, kernel, strict=True)
            ]
            for place in product(*spans):
                if all(0 <= p < n for p, n in zip(place, size, strict=True)):
                    blots.append((at[:2], sum(p * math.prod(size[i + 1 :]) for i, p in enumerate(place))))
    for sample, place in blots:
        flat[(*sample, place)] = NAN
    return output


GEOMETRIES = [  # shape, kernel, stride, padding
    ((2, 3, 8, 6), (2, 2), (2, 2), (0, 0)),
    ((1, 2, 9, 7), (2, 2), (2, 2), (0, 0)),
    ((1, 2, 7, 8), (3, 3), (2, 1), (1, 1)),
    ((1, 2, 9, 8), (2, 2), (3, 3), (1, 0)),
    ((1, 2, 4, 6, 5), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ((1, 2, 5, 6, 5), (3, 2, 3), (2, 2, 1), (1, 0, 1)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("nan", ["position", "window"])
@pytest.mark.parametrize("ties", ["nan", "mark"])
def test_every_window(geometry, nan, ties) -> None:
    shape, kernel, stride, padding = geometry
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 4, shape, generator=generator).double()
    x[torch.rand(shape, generator=generator) < 0.5] = NAN
    x[..., :4, :4] = NAN
    dims = len(shape) - 2
    values, indices = POOL[dims](x, kernel, stride, padding, return_indices=True, ties=ties)
    assert values.isnan().any()
    found = UNPOOL[dims](values, indices, kernel, stride, padding, output_size=shape[2:], nan=nan)
    assert_same(found, oracle(values, indices, kernel, stride, padding, shape[2:], nan))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_without_nan_it_is_pytorchs(geometry, dtype) -> None:
    shape, *window = geometry
    pool, unpool = (F.max_pool2d, F.max_unpool2d) if len(shape) == 4 else (F.max_pool3d, F.max_unpool3d)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    values, indices = pool(x, *window, return_indices=True)
    for nan in ("position", "window"):
        found = UNPOOL[len(shape) - 2](values, indices, *window, output_size=shape[2:], nan=nan)
        assert found.dtype == dtype
        assert torch.equal(found, unpool(values, indices, *window, output_size=list(shape[2:])))


def test_no_sample_sees_another() -> None:
    x = torch.randint(0, 3, (4, 2, 6, 6), generator=torch.Generator().manual_seed(0)).float()
    values, indices = nan_max_pool2d(x, 2, return_indices=True, ties="mark")
    together = nan_max_unpool2d(values, indices, 2)
    for order in ([2, 0, 3, 1], [1]):
        assert_same(nan_max_unpool2d(values[order], indices[order], 2), together[order])


def test_gradients_are_finite_and_none_where_nan() -> None:
    values = torch.tensor([[[[5.0, NAN]]]], requires_grad=True)
    output = nan_max_unpool2d(values, torch.tensor([[[[5, 2]]]]), 2)
    (gradient,) = torch.autograd.grad(output.nan_to_num().sum(), values)
    assert gradient.flatten().tolist() == [1, 0]
