"""NaN max pooling: literal answers, a window-by-window oracle, PyTorch's pooling where nothing is NaN or tied."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nansurfer.errors import ConfigError
from nansurfer.nn import nan_max_pool2d, nan_max_pool3d

NAN, INF = math.nan, math.inf
POOL = {2: nan_max_pool2d, 3: nan_max_pool3d}
TORCH_POOL = {2: F.max_pool2d, 3: F.max_pool3d}


def image(rows: list[list[float]]) -> Tensor:
    return torch.tensor([[rows]], dtype=torch.float32)


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_distinct_values_are_pooled_as_ever() -> None:
    values, indices = nan_max_pool2d(torch.arange(16.0).view(1, 1, 4, 4), 2, return_indices=True)
    assert_same(values, image([[5, 7], [13, 15]]))
    assert indices.tolist() == [[[[5, 7], [13, 15]]]]


@pytest.mark.parametrize(
    ("window", "value", "index"),
    [
        ([[1, 2], [3, 0]], 3, 2),
        ([[1, 3], [3, 0]], NAN, 0),  # tied
        ([[NAN, 3], [1, 0]], 3, 1),  # NaN is no value
        ([[NAN, 3], [3, 0]], NAN, 0),
        ([[NAN, NAN], [NAN, -5]], -5, 3),
        ([[NAN, NAN], [NAN, NAN]], NAN, 0),
        ([[NAN, -INF], [NAN, NAN]], -INF, 1),  # a value like any other
        ([[NAN, -INF], [-INF, NAN]], NAN, 0),
        ([[1, INF], [1, 2]], INF, 1),  # nothing finite is close to infinity
        ([[0, 0], [0, 0]], NAN, 0),
    ],
)
def test_aggressive_window(window, value, index) -> None:
    values, indices = nan_max_pool2d(image(window), 2, return_indices=True)
    assert_same(values, image([[value]]))
    assert indices.item() == index


@pytest.mark.parametrize(
    ("window", "value", "listed"),
    [
        ([[1, 2], [3, 0]], 3, [2, -1, -1, -1]),
        ([[1, 3], [3, 0]], 3, [1, 2, -1, -1]),
        ([[0, 0], [0, 0]], 0, [0, 1, 2, 3]),
        ([[NAN, 3], [3, NAN]], 3, [1, 2, -1, -1]),
        ([[NAN, NAN], [NAN, NAN]], NAN, [0, -1, -1, -1]),
    ],
)
def test_conservative_window(window, value, listed) -> None:
    values, indices = nan_max_pool2d(image(window), 2, return_indices=True, ties="mark")
    assert_same(values, image([[value]]))
    assert indices.flatten().tolist() == listed


def test_as_many_ties_as_allowed_are_no_tie() -> None:
    window = image([[3, 3], [3, 0]])
    assert nan_max_pool2d(window, 2, max_ties=3).item() == 3
    assert nan_max_pool2d(window, 2, max_ties=2).isnan().item()


def test_without_counting_ties_only_all_nan_is_nan() -> None:
    values, indices = nan_max_pool2d(image([[3, 3, NAN, NAN], [3, 3, NAN, NAN]]), 2, return_indices=True, max_ties=None)
    assert_same(values, image([[3, NAN]]))
    assert indices.flatten().tolist() == [0, 2]


def test_a_margin_takes_what_an_empty_image_has_there() -> None:
    x = torch.full((1, 1, 2, 10), NAN)
    x[0, 0, 1, 4] = 5.0
    blank = torch.full((1, 1, 5), 7.0), torch.arange(100, 105).view(1, 1, 5)
    options = {"max_ties": None, "return_indices": True, "blank": blank}
    values, indices = nan_max_pool2d(x, 2, margin=1, **options)
    assert_same(values, image([[NAN, 7, 5, 7, NAN]]))
    assert indices.tolist() == [[[[0, 101, 14, 103, 8]]]]
    values, _ = nan_max_pool2d(torch.full_like(x, NAN), 2, margin=9, **options)
    assert values.isnan().all()  # nothing to be around of


def test_a_margin_in_3d_goes_along_all_diagonals() -> None:
    x = torch.full((1, 2, 6, 6, 6), NAN)
    x[:, :, 2, 2, 2] = 1.0
    blank = torch.zeros(2, 3, 3, 3), torch.zeros(2, 3, 3, 3, dtype=torch.int64)
    assert not nan_max_pool3d(x, 2, max_ties=None, margin=1, blank=blank).isnan().any()


def test_tolerances() -> None:
    window = image([[1.0, 1.001], [0, 0]])
    assert nan_max_pool2d(window, 2).item() == pytest.approx(1.001)
    assert nan_max_pool2d(window, 2, rtol=0.01).isnan().item()
    assert nan_max_pool2d(window, 2, atol=0.01).isnan().item()


def test_padding_is_no_value_and_has_no_index() -> None:
    values, indices = nan_max_pool2d(image([[-1, -1], [-1, -2]]), 2, padding=1, return_indices=True)
    assert_same(values, image([[-1, -1], [-1, -2]]))
    assert indices.flatten().tolist() == [0, 1, 2, 3]


def test_dilated_window_that_misses_the_image() -> None:
    values, indices = nan_max_pool2d(image([[1]]), 2, padding=2, dilation=3, return_indices=True)
    assert_same(values, image([[NAN]]))
    assert indices.item() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_ties": 0}, "max_ties"),
        ({"rtol": -1.0}, "tolerances"),
        ({"atol": NAN}, "tolerances"),
        ({"ties": "maybe"}, "ties"),
        ({"padding": 2}, "padding"),
        ({"kernel_size": 9}, "spans"),
        ({"kernel_size": (2, 2, 2)}, "3 numbers"),
    ],
)
def test_senseless_arguments(arguments, words) -> None:
    with pytest.raises(ConfigError, match=words):
        nan_max_pool2d(torch.zeros(1, 1, 4, 4), **({"kernel_size": 2} | arguments))


def test_a_margin_needs_to_know_an_empty_image() -> None:
    with pytest.raises(ConfigError, match="record_blank"):
        nan_max_pool2d(torch.full((1, 1, 2, 2), NAN), 2, margin=1)


def test_wrong_number_of_axes() -> None:
    with pytest.raises(ConfigError, match="shape"):
        nan_max_pool2d(torch.zeros(1, 4, 4), 2)


def oracle(x, kernel, stride, padding, dilation, ceil_mode, *, max_ties, ties, rtol, atol) -> tuple[Tensor, Tensor]:
    """Every window by itself, as the definition says."""
    dims = x.dim() - 2
    outer = TORCH_POOL[dims](torch.zeros(1, 1, *x.shape[2:]), kernel, stride, padding, dilation, ceil_mode).shape[2:]
    values = torch.empty(*x.shape[:2], *outer, dtype=x.dtype)
    listing = torch.full((*values.shape, math.prod(kernel)), -1)
    flat = torch.arange(math.prod(x.shape[2:])).view(x.shape[2:])
    for at in product(*map(range, values.shape)):
        places = [
            tuple(o * s - p + t * d for o, s, p, t, d in zip(at[2:], stride, padding, taps, dilation, strict=True))
            for taps in product(*map(range, kernel))
        ]
        where = [place for place in places if all(0 <= p < size for p, size in zip(place, x.shape[2:], strict=True))]
        window = [(float(x[at[:2] + place]), int(flat[place])) for place in where]
        known = [(v, p) for v, p in window if not math.isnan(v)]
        m = max((v for v, _ in known), default=NAN)
        tied = [p for v, p in known if v == m or (math.isfinite(m) and abs(v - m) <= atol + rtol * abs(m))]
        crowded = max_ties is not None and len(tied) > max_ties
        chosen = [p for v, p in known if v == m][:1] or [window[0][1]]
        if crowded and ties == "nan":
            m, chosen = NAN, [window[0][1]]
        elif crowded:
            chosen = tied
        values[at] = m
        listing[at][: len(chosen)] = torch.tensor(chosen)
    return values, listing if ties == "mark" else listing[..., 0]


def tied_input(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Few different values, some a hair apart, NaN and infinities."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-3, 3, shape, generator=generator).double()
    x = x * (1 + 3e-8 * torch.randint(0, 9, shape, generator=generator))
    lot = torch.rand(shape, generator=generator)
    x[lot < 0.35] = NAN
    x[(lot > 0.35) & (lot < 0.4)] = -INF
    x[(lot > 0.4) & (lot < 0.42)] = INF
    x[..., :4, :4] = NAN
    return x.to(dtype)


GEOMETRIES = [  # shape, kernel, stride, padding, dilation, ceil_mode
    ((2, 3, 8, 6), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((2, 2, 7, 9), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((2, 2, 7, 9), (2, 2), (2, 2), (0, 0), (1, 1), True),
    ((1, 2, 7, 6), (3, 3), (1, 1), (1, 1), (1, 1), False),
    ((1, 2, 9, 8), (3, 2), (3, 1), (1, 0), (1, 2), False),
    ((1, 2, 9, 8), (3, 3), (2, 2), (1, 1), (1, 1), True),
    ((1, 2, 10, 9), (2, 3), (3, 3), (1, 1), (2, 1), True),
    ((1, 2, 5, 5), (2, 2), (3, 3), (1, 1), (1, 1), True),
    ((1, 2, 4, 5, 6), (2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1), False),
    ((1, 1, 5, 4, 5), (3, 2, 2), (2, 1, 2), (1, 1, 0), (1, 1, 2), True),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("max_ties", "ties"), [(1, "nan"), (2, "mark"), (1, "mark"), (None, "nan")])
def test_every_window(geometry, max_ties, ties) -> None:
    shape, *window = geometry
    options = {"max_ties": max_ties, "ties": ties, "rtol": 1e-7, "atol": 1e-8}
    x = tied_input(shape, torch.float64)
    values, indices = POOL[len(shape) - 2](x, *window, return_indices=True, **options)
    expected_values, expected_indices = oracle(x, *window, **options)
    assert_same(values, expected_values)
    assert torch.equal(indices, expected_indices)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_window_in_lower_precision(dtype) -> None:
    shape, *window = GEOMETRIES[5]
    options = {"max_ties": 1, "ties": "nan", "rtol": 1e-7, "atol": 1e-8}
    x = tied_input(shape, dtype)
    values, indices = nan_max_pool2d(x, *window, return_indices=True, **options)
    assert values.dtype == dtype
    expected_values, expected_indices = oracle(x, *window, **options)
    assert_same(values, expected_values)
    assert torch.equal(indices, expected_indices)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("max_ties", [1, None])
def test_without_nan_and_ties_it_is_pytorchs(geometry, max_ties) -> None:
    shape, *window = geometry
    dims = len(shape) - 2
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    values, indices = POOL[dims](x, *window, return_indices=True, max_ties=max_ties)
    expected, expected_indices = TORCH_POOL[dims](x, *window, return_indices=True)
    assert torch.equal(values, expected)
    assert torch.equal(indices, expected_indices)
    found, wanted = (torch.autograd.grad(y.square().sum(), x)[0] for y in (values, expected))
    torch.testing.assert_close(found, wanted)  # sums over overlapping windows in another order


@pytest.mark.parametrize("ties", ["nan", "mark"])
def test_no_sample_sees_another(ties) -> None:
    x = tied_input((4, 3, 6, 6), torch.float32)
    values, indices = nan_max_pool2d(x, 2, return_indices=True, ties=ties)
    for order in ([3, 1, 0, 2], [2]):
        some_values, some_indices = nan_max_pool2d(x[order], 2, return_indices=True, ties=ties)
        assert_same(some_values, values[order])
        assert torch.equal(some_indices, indices[order])


def test_memory_layout_is_irrelevant() -> None:
    x = tied_input((2, 3, 6, 6), torch.float32)
    assert_same(nan_max_pool2d(x.to(memory_format=torch.channels_last), 2), nan_max_pool2d(x, 2))


def test_gradients_flow_to_the_maxima_only() -> None:
    x = image([[1, 2, 5, 5], [3, NAN, 5, 0]]).requires_grad_()
    values = nan_max_pool2d(x, 2)
    (gradient,) = torch.autograd.grad(values.nan_to_num().sum(), x)
    assert gradient.flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 0]
