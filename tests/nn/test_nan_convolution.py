"""NaN convolution: literal answers, a window-by-window oracle, PyTorch's convolution where nothing is NaN."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nansurfer.errors import ConfigError
from nansurfer.nn import nan_conv2d, nan_conv3d

NAN = math.nan
CONV = {2: nan_conv2d, 3: nan_conv3d}
LAYER = {2: nn.Conv2d, 3: nn.Conv3d}


def image(rows: list[list[float]]) -> Tensor:
    return torch.tensor([[rows]], dtype=torch.float32)


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


ONES = torch.ones(1, 1, 2, 2)


def test_nan_counts_as_the_windows_mean() -> None:
    output = nan_conv2d(image([[1, 2, 3], [4, NAN, 6]]), ONES, torch.tensor([100.0]))
    # 1 + 2 + 4 and their mean 7/3; 2 + 3 + 6 and 11/3; the bias once
    torch.testing.assert_close(output, image([[7 + 7 / 3 + 100, 11 + 11 / 3 + 100]]))


def test_kernel_weighs_the_mean() -> None:
    kernel = torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]])
    assert nan_conv2d(image([[4, 2], [3, NAN]]), kernel).item() == pytest.approx(4 + 20 + 300 + 3000)


@pytest.mark.parametrize(("threshold", "skipped"), [(0.25, True), (0.26, False), (1.0, False)])
def test_threshold_reached_is_skipped(threshold, skipped) -> None:
    output, mask = nan_conv2d(image([[1, 2], [3, NAN]]), ONES, threshold=threshold, return_skipped=True)
    assert output.isnan().item() == skipped
    assert mask.item() == skipped


@pytest.mark.parametrize("threshold", [k / 10 for k in range(1, 11)])
def test_tenths_are_met_exactly(threshold) -> None:
    for missing in range(11):
        x = torch.ones(1, 10, 1, 1)
        x[0, :missing] = NAN
        output = nan_conv2d(x, torch.ones(1, 10, 1, 1), threshold=threshold)
        assert output.isnan().item() == (missing >= round(threshold * 10))


def test_all_nan_but_for_the_padding() -> None:
    x = torch.full((1, 1, 3, 3), NAN)
    kernel = torch.ones(1, 1, 3, 3)
    assert nan_conv2d(x, kernel, padding=1).isnan().all()
    counted = nan_conv2d(x, kernel, padding=1, count_include_pad=True)
    # The papers' border: 4 of 9 in the corners, 6 of 9 at the edges; filled with the mean of the zeros.
    assert_same(counted, image([[0, 0, 0], [0, NAN, 0], [0, 0, 0]]))
    half = nan_conv2d(x, kernel, padding=1, count_include_pad=True, threshold=0.5)
    assert_same(half, image([[0, NAN, 0], [NAN, NAN, NAN], [0, NAN, 0]]))


def test_padding_enters_the_mean_only_if_counted() -> None:
    x, kernel = image([[6, NAN]]), torch.ones(1, 1, 1, 3)
    assert nan_conv2d(x, kernel, padding=(0, 1))[0, 0, 0].tolist() == [12, 12]
    assert nan_conv2d(x, kernel, padding=(0, 1), count_include_pad=True)[0, 0, 0].tolist() == [9, 9]


def test_windows_wholly_in_the_padding_are_the_bias() -> None:
    x = torch.full((1, 1, 1, 1), NAN)
    output = nan_conv2d(x, torch.ones(1, 1, 1, 1), torch.tensor([2.0]), padding=1)
    assert_same(output, image([[2, 2, 2], [2, NAN, 2], [2, 2, 2]]))


def test_blank_fill() -> None:
    blank = torch.tensor([[[10.0, 20.0], [30.0, 40.0]]])
    assert nan_conv2d(image([[1, NAN], [3, 4]]), ONES, fill="blank", blank=blank).item() == 28
    assert nan_conv2d(image([[1, NAN], [3, 4]]), ONES, fill="blank", blank=torch.full((1, 1, 1), 7.0)).item() == 15


def test_zero_fill() -> None:
    assert nan_conv2d(image([[1, NAN], [3, 4]]), ONES, fill="zero").item() == 8


def test_groups_are_skipped_each_for_itself() -> None:
    x = torch.tensor([[1.0, NAN]]).view(1, 2, 1, 1)
    output, skipped = nan_conv2d(x, torch.ones(4, 1, 1, 1), groups=2, return_skipped=True)
    assert_same(output.flatten(), torch.tensor([1, 1, NAN, NAN]))
    assert skipped.flatten().tolist() == [False, True]


def test_nothing_skipped_without_nan() -> None:
    output, skipped = nan_conv2d(torch.ones(2, 4, 5, 5), torch.ones(6, 2, 3, 3), groups=2, return_skipped=True)
    assert skipped.shape == (2, 2, *output.shape[2:])
    assert not skipped.any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": NAN}, "threshold"),
        ({"fill": "noise"}, "fill"),
        ({"fill": "blank"}, "record_blank"),
        ({"fill": "blank", "blank": torch.zeros(1, 3, 3)}, r"\(1, 3, 3\).*\(1, 4, 4\)"),
    ],
)
def test_senseless_arguments(arguments, words) -> None:
    with pytest.raises(ConfigError, match=words):
        nan_conv2d(torch.full((1, 1, 4, 4), NAN), ONES, **arguments)


def oracle(x: Tensor, layer, *, threshold, count_include_pad, fill, blank) -> tuple[Tensor, Tensor]:
    """Every window by itself in float64, as the definition says."""
    dims, groups = x.dim() - 2, layer.groups
    values = x.double().numpy()
    weight = layer.weight.detach().double().numpy()
    spans = [d * (k - 1) for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    if layer.padding == "same":
        pads = [(span // 2, span - span // 2) for span in spans]
    else:
        pads = [(0, 0)] * dims if layer.padding == "valid" else [(p, p) for p in layer.padding]
    # -1 where the padding is, else the flat position in the image, which the other modes repeat.
    places = np.arange(math.prod(x.shape[2:])).reshape(x.shape[2:])
    mode = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[layer.padding_mode]
    places = np.pad(places, pads, mode=mode, **({"constant_values": -1} if mode == "constant" else {}))
    outer = [(n - span - 1) // s + 1 for n, span, s in zip(places.shape, spans, layer.stride, strict=True)]
    output = np.empty((len(x), len(weight), *outer))
    skipped = np.zeros((len(x), groups, *outer), bool)
    per_group_in, per_group_out = x.shape[1] // groups, len(weight) // groups
    for sample, group, *at in product(range(len(x)), range(groups), *map(range, outer)):
        channels = slice(group * per_group_in, (group + 1) * per_group_in)
        kernel = weight[group * per_group_out : (group + 1) * per_group_out].reshape(per_group_out, per_group_in, -1)
        flat = values[sample, channels].reshape(per_group_in, -1)
        seen = [
            places[tuple(o * s + t * d for o, s, t, d in zip(at, layer.stride, taps, layer.dilation, strict=True))]
            for taps in product(*map(range, layer.kernel_size))
        ]
        inside = np.array(seen) >= 0
        window = np.where(inside, flat[:, seen], 0.0)
        counted = window if count_include_pad else window[:, inside]
        missing = int(np.isnan(window).sum())
        known = counted[~np.isnan(counted)]
        where = (slice(group * per_group_out, (group + 1) * per_group_out), *at)
        if missing and missing >= threshold * counted.size - 1e-9:
            output[(sample, *where)] = NAN
            skipped[(sample, group, *at)] = True
            continue
        stand_in = known.mean() if known.size and fill == "mean" else 0.0
        if fill == "blank":
            stand_in = blank[channels].double().numpy().reshape(per_group_in, -1)[:, seen]
        filled = np.where(np.isnan(window), stand_in, window)
        output[(sample, *where)] = (kernel * filled).sum((1, 2))
    if layer.bias is not None:
        output += layer.bias.detach().double().numpy().reshape(-1, *[1] * dims)
    return torch.from_numpy(output), torch.from_numpy(skipped)


def apply(x: Tensor, layer, **options) -> tuple[Tensor, Tensor]:
    return CONV[x.dim() - 2](
        x,
        layer.weight,
        layer.bias,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        padding_mode=layer.padding_mode,
        return_skipped=True,
        **options,
    )


def holed_input(shape: tuple[int, ...], uniform: bool, seed: int = 0) -> Tensor:
    """Noise with holes of all sizes, the same in all channels or not; sample 0 without any."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    channels = 1 if uniform else shape[1]
    holes = torch.rand((shape[0], channels, *shape[2:]), generator=generator) < 0.3
    holes[..., :5, :4] = True
    holes[0] = False
    return x.masked_fill(holes, NAN)


GEOMETRIES = [  # shape, layer arguments
    ((3, 3, 8, 7), (3, 4, 3), {"padding": 1}),
    ((2, 2, 9, 7), (2, 3, 3), {"stride": 2, "bias": False}),
    ((2, 4, 8, 9), (4, 6, (3, 2)), {"stride": (1, 3), "padding": (2, 1), "dilation": (2, 1), "groups": 2}),
    ((2, 2, 7, 6), (2, 2, 5), {"padding": "same"}),
    ((2, 3, 7, 6), (3, 3, (2, 3)), {"padding": "same", "groups": 3}),
    ((2, 2, 7, 6), (2, 2, 3), {"padding": "valid"}),
    ((2, 3, 5, 6), (3, 2, 1), {}),
    ((2, 2, 7, 6), (2, 3, 3), {"padding": 1, "padding_mode": "reflect"}),
    ((2, 2, 7, 6), (2, 3, 3), {"padding": (2, 1), "padding_mode": "replicate", "stride": 2}),
    ((2, 2, 7, 6), (2, 3, 3), {"padding": 1, "padding_mode": "circular"}),
    ((2, 2, 4, 5, 6), (2, 3, 3), {"padding": 1}),
    ((2, 4, 6, 5, 6), (4, 4, (2, 3, 1)), {"padding": (1, 2, 0), "stride": (2, 1, 3), "groups": 2}),
    ((2, 2, 5, 5, 6), (2, 2, 3), {"padding": 1, "padding_mode": "reflect", "dilation": (1, 2, 1)}),
]
WAYS = [
    {"threshold": 1.0, "count_include_pad": False, "fill": "mean"},
    {"threshold": 0.5, "count_include_pad": False, "fill": "mean"},
    {"threshold": 0.5, "count_include_pad": True, "fill": "mean"},
    {"threshold": 0.75, "count_include_pad": True, "fill": "blank"},
    {"threshold": 0.75, "count_include_pad": False, "fill": "zero"},
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("shape", "arguments", "settings"), GEOMETRIES, ids=str)
@pytest.mark.parametrize("uniform", [True, False])
def test_every_window(shape, arguments, settings, uniform) -> None:
    torch.manual_seed(0)
    layer = LAYER[len(shape) - 2](*arguments, **settings).double()
    x = holed_input(shape, uniform).double()
    blank = torch.randn(shape[1:], dtype=torch.float64)
    for way in WAYS:
        found, skipped = apply(x, layer, blank=blank, **way)
        expected, expected_skipped = oracle(x, layer, blank=blank, **way)
        assert torch.equal(skipped, expected_skipped)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12, equal_nan=True)


TOLERANCE = {torch.float32: 1e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_window_in_lower_precision(dtype, uniform, way) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, padding=1).to(dtype)
    x, blank = holed_input((2, 3, 8, 7), uniform).to(dtype), torch.randn(3, 8, 7).to(dtype)
    found, skipped = apply(x, layer, blank=blank, **way)
    expected, expected_skipped = oracle(x, layer, blank=blank, **way)
    assert found.dtype == dtype
    assert torch.equal(skipped, expected_skipped)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=TOLERANCE[dtype], equal_nan=True)


def test_counts_beyond_half_precision_are_exact() -> None:
    x = torch.full((1, 5000, 3, 3), 1.0).half()  # 45 000 values a window; float16 counts to 2048
    x[0, :2499] = NAN
    x[0, 2499].view(-1)[:8] = NAN
    kernel = torch.zeros(1, 5000, 3, 3).half()
    assert not nan_conv2d(x, kernel, threshold=2500 / 5000).isnan().item()
    x[0, 2499] = NAN
    assert nan_conv2d(x, kernel, threshold=2500 / 5000).isnan().item()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("shape", "arguments", "settings"), GEOMETRIES, ids=str)
def test_without_nan_it_is_pytorchs(shape, arguments, settings) -> None:
    torch.manual_seed(0)
    layer = LAYER[len(shape) - 2](*arguments, **settings)
    x = torch.randn(shape)
    assert torch.equal(apply(x, layer, threshold=0.5)[0], layer(x))


def test_windows_without_nan_are_pytorchs_beside_some_with() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, padding=1)
    x = torch.randn(2, 3, 16, 16)
    dense = layer(x)
    x[0, :, :5, :5] = NAN
    output, _ = apply(x, layer)
    torch.testing.assert_close(output[0, :, 6:], dense[0, :, 6:])
    torch.testing.assert_close(output[1], dense[1])


@pytest.mark.parametrize("fill", ["mean", "zero", "blank"])
def test_no_sample_sees_another(fill) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, padding=1).double()
    blank = torch.randn(3, 8, 8).double()
    x = torch.cat([holed_input((3, 3, 8, 8), uniform).double() for uniform in (True, False)])
    together, skipped = apply(x, layer, threshold=0.5, fill=fill, blank=blank)
    for order in ([5, 3, 1, 0, 2, 4], [1], [4]):
        alone, alone_skipped = apply(x[order], layer, threshold=0.5, fill=fill, blank=blank)
        assert torch.equal(alone_skipped, skipped[order])
        torch.testing.assert_close(alone, together[order], rtol=0, atol=1e-12, equal_nan=True)


def test_memory_layout_is_irrelevant() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=2).double()
    x = holed_input((2, 4, 8, 8), uniform=False).double()
    found, _ = apply(x.to(memory_format=torch.channels_last), layer, threshold=0.5)
    torch.testing.assert_close(found, apply(x, layer, threshold=0.5)[0], equal_nan=True)


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("fill", ["mean", "zero", "blank"])
def test_gradients(uniform, fill) -> None:
    """Of the computed windows, against numerical ones."""
    torch.manual_seed(0)
    x = holed_input((2, 2, 6, 5), uniform).double()
    blank = torch.randn(2, 6, 5).double()
    missing = x.isnan()
    weight, bias = torch.randn(3, 2, 3, 3).double().requires_grad_(), torch.randn(3).double().requires_grad_()

    def computed(known: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        output = nan_conv2d(
            known.masked_fill(missing, NAN), weight, bias, padding=1, threshold=0.5, fill=fill, blank=blank
        )
        return output.masked_fill(output.isnan(), 0)

    assert torch.autograd.gradcheck(computed, (x.nan_to_num().requires_grad_(), weight, bias))


def test_no_gradient_comes_from_skipped_windows() -> None:
    x = torch.ones(1, 1, 6, 6)
    x[..., :4] = NAN
    bias = torch.zeros(1, requires_grad=True)
    output, skipped = nan_conv2d(x, torch.ones(1, 1, 3, 3), bias, padding=1, threshold=0.5, return_skipped=True)
    output.backward(torch.ones_like(output))
    assert bias.grad.item() == (~skipped).sum() == 12


def test_no_samples_at_all() -> None:
    assert nan_conv2d(torch.zeros(0, 3, 8, 8), torch.zeros(4, 3, 3, 3)).shape == (0, 4, 6, 6)


def test_autocast() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, padding=1)
    x = holed_input((2, 3, 8, 8), uniform=True)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = apply(x, layer, threshold=0.5)
    assert output.dtype == torch.bfloat16
    expected, _ = apply(x, layer, threshold=0.5)
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=0.03, equal_nan=True)


def test_a_large_kernel_agrees_with_filling_by_hand() -> None:
    torch.manual_seed(0)
    x = torch.ones(1, 2, 12, 12)
    x[..., :4] = NAN
    kernel = torch.randn(3, 2, 7, 7)
    filled = F.conv2d(torch.ones(1, 2, 12, 12), kernel)
    found = nan_conv2d(x, kernel)
    torch.testing.assert_close(found, filled, rtol=0, atol=1e-4)
