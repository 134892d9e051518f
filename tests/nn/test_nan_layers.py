"""NaN layers as drop-in replacements of PyTorch's."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from nansurfer.errors import ConfigError
from nansurfer.nn import (
    NaNConv2d,
    NaNConv3d,
    NaNMaxPool2d,
    NaNMaxPool3d,
    NaNMaxUnpool2d,
    NaNMaxUnpool3d,
    nan_conv2d,
)

PAIRS = [
    (NaNConv2d, nn.Conv2d, (2, 4, 3), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False}),
    (NaNConv2d, nn.Conv2d, (2, 4, 3), {"padding": "same", "padding_mode": "reflect"}),
    (NaNConv3d, nn.Conv3d, (2, 4, 3), {"padding": (1, 0, 1), "padding_mode": "circular"}),
    (NaNMaxPool2d, nn.MaxPool2d, (3,), {"stride": 2, "padding": 1, "ceil_mode": True}),
    (NaNMaxPool2d, nn.MaxPool2d, (2,), {"dilation": 2, "return_indices": True}),
    (NaNMaxPool3d, nn.MaxPool3d, (2,), {"return_indices": True}),
]


@pytest.mark.parametrize(("nan_class", "torch_class", "arguments", "settings"), PAIRS, ids=str)
def test_same_layer_without_nan(nan_class, torch_class, arguments, settings) -> None:
    layer, own = torch_class(*arguments, **settings), nan_class(*arguments, **settings)
    own.load_state_dict(layer.state_dict(), strict=True)
    x = torch.rand(2, 2, 9, 8, 7)[..., 0] if nan_class.dims == 2 else torch.rand(2, 2, 9, 8, 7)
    shared = nan_class.from_torch(layer)
    for candidate in (own, shared, copy.deepcopy(shared), pickle.loads(pickle.dumps(shared))):
        torch.testing.assert_close(candidate(x), layer(x), rtol=0, atol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_unpooling_without_nan(dims) -> None:
    pool, unpool, nan_unpool = {
        2: (nn.MaxPool2d, nn.MaxUnpool2d, NaNMaxUnpool2d),
        3: (nn.MaxPool3d, nn.MaxUnpool3d, NaNMaxUnpool3d),
    }[dims]
    x = torch.rand(1, 2, *(7, 8, 9)[:dims])
    values, indices = pool(3, 2, return_indices=True)(x)
    for layer in (nan_unpool(3, 2), nan_unpool.from_torch(unpool(3, 2), nan="window")):
        assert torch.equal(layer(values, indices, x.shape), unpool(3, 2)(values, indices, x.shape))


def test_parameters_are_shared_and_nothing_else_is_touched() -> None:
    layer = nn.Conv2d(1, 1, 1).eval()
    calls = []
    layer.register_forward_hook(lambda *arguments: calls.append(1))
    shared = NaNConv2d.from_torch(layer, threshold=0.3)
    assert shared.weight is layer.weight
    assert not shared.training
    assert type(layer) is nn.Conv2d
    assert "blank" not in dict(layer.named_buffers())
    assert "blank" not in layer._buffers
    shared(torch.zeros(1, 1, 2, 2))
    assert calls == [1]


def test_blank_follows_the_layer_but_is_not_saved() -> None:
    layer = NaNConv2d(1, 1, 1, fill="blank")
    layer.blank = torch.ones(1, 2, 2)
    assert layer.state_dict().keys() == nn.Conv2d(1, 1, 1).state_dict().keys()
    assert layer.double().blank.dtype == torch.float64


def test_layer_uses_its_options() -> None:
    x = torch.rand(1, 2, 6, 6)
    x[..., :3, :3] = torch.nan
    layer = NaNConv2d(2, 3, 3, padding=1, threshold=0.4, count_include_pad=True)
    expected = nan_conv2d(x, layer.weight, layer.bias, padding=1, threshold=0.4, count_include_pad=True)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0, equal_nan=True)


def test_pooling_and_unpooling_use_theirs() -> None:
    x = torch.zeros(1, 1, 2, 4)
    x[0, 0, 0, 3] = 1.0
    pool, unpool = NaNMaxPool2d(2, return_indices=True, ties="mark"), NaNMaxUnpool2d(2)
    assert unpool(*pool(x)).isnan().flatten().tolist() == [True, True, False, False] * 2
    pool, unpool = NaNMaxPool2d(2, return_indices=True), NaNMaxUnpool2d(2, nan="window")
    assert unpool(*pool(x)).isnan().flatten().tolist() == [True, True, False, False] * 2
    pool, unpool = NaNMaxPool2d(2, return_indices=True), NaNMaxUnpool2d(2)
    assert unpool(*pool(x)).isnan().flatten().tolist() == [True] + [False] * 7


def test_unpooling_gives_only_what_is_wanted() -> None:
    unpool = NaNMaxUnpool2d(2)
    x, indices = torch.tensor([[[[5.0, 7.0]]]]), torch.tensor([[[[1, 6]]]])
    unpool.wanted = torch.tensor([[True, True, True, True], [False, True, False, True]])
    nan = torch.nan
    expected = torch.tensor([[[[0, 5, 0, 0], [nan, 0, nan, 0]]]])
    torch.testing.assert_close(unpool(x, indices), expected, rtol=0, atol=0, equal_nan=True)
    assert unpool.state_dict() == {}


def test_summary_names_the_options() -> None:
    assert "threshold=0.5" in repr(NaNConv2d(1, 1, 1, threshold=0.5))
    assert "max_ties=2" in repr(NaNMaxPool2d(2, max_ties=2))
    assert "nan='window'" in repr(NaNMaxUnpool2d(2, nan="window"))


def test_senseless_options() -> None:
    with pytest.raises(ConfigError, match="threshold"):
        NaNConv2d(1, 1, 1, threshold=0)
    with pytest.raises(ConfigError, match="Conv3d cannot become a NaNConv2d"):
        NaNConv2d.from_torch(nn.Conv3d(1, 1, 1))
