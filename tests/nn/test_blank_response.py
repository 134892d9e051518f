"""Blank responses: recorded once, they make a mixed window see what emptiness looks like."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from nansurfer.errors import ConfigError
from nansurfer.nn import NaNConv2d, NaNPolicy, nanify, record_blank, skip_counts

BLANK = NaNPolicy("background", threshold=1.0, fill="blank")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.PReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 2, 3, padding=1),
    )
    return model.double().eval()


def test_each_layer_remembers_its_own_input() -> None:
    model = nanify(network(), BLANK)
    record_blank(model, torch.zeros(2, 1, 8, 8).double())
    assert torch.equal(model[0].blank, torch.zeros(1, 8, 8).double())
    assert model[4].blank.shape == (4, 4, 4)
    assert skip_counts(model) == []
    assert model.state_dict().keys() == network().state_dict().keys()


def test_an_empty_background_can_be_nan_without_a_trace() -> None:
    """At threshold 1, what is not skipped is the dense result as long as emptiness is all that is NaN."""
    x = torch.zeros(1, 1, 40, 40).double()
    x[..., 18:22, 18:22] = torch.rand(4, 4).double()
    model = nanify(network(), BLANK)
    record_blank(model, torch.zeros_like(x))
    background = x == 0
    background[..., 8:32, 8:32] = False  # a margin, as far as the network sees the object
    output = model(x.masked_fill(background, torch.nan))
    assert output.isnan().any()
    computed = ~output.isnan()
    torch.testing.assert_close(output[computed], network()(x)[computed], rtol=0, atol=1e-12)


def test_a_pool_margin_keeps_what_lies_around_the_kept() -> None:
    """And takes it for empty: with it the dense result comes out where it would not without."""
    x = torch.zeros(1, 1, 40, 40).double()
    x[..., 18:22, 18:22] = torch.rand(4, 4).double()
    dense = network()(x)
    outputs = []
    for pool_margin in (0, 4):
        model = nanify(network(), replace(BLANK, pool_margin=pool_margin))
        record_blank(model, torch.zeros_like(x))
        background = x == 0
        background[..., 16:24, 16:24] = False  # as far as the network looks before the pooling
        outputs.append(model(x.masked_fill(background, torch.nan)))
    narrow, wide = (~output.isnan() for output in outputs)
    assert (wide & ~narrow).any()
    torch.testing.assert_close(outputs[1][wide], dense[wide], rtol=0, atol=1e-12)


def test_modes_and_counting_are_as_before() -> None:
    model = nanify(network(), BLANK).train()
    model[1].eval()
    model[0].counting = False
    mean = model[1].running_mean.clone()
    record_blank(model, torch.zeros(1, 1, 8, 8).double())
    assert model.training
    assert not model[1].training
    assert (model[0].counting, model[4].counting) == (False, True)
    assert torch.equal(model[1].running_mean, mean)
    assert not any(module._forward_pre_hooks for module in model if isinstance(module, NaNConv2d))


def test_recording_again_takes_the_new_size() -> None:
    model = nanify(network(), BLANK)
    for size in (8, 12):
        record_blank(model, torch.zeros(1, 1, size, size).double())
    assert model[0].blank.shape == (1, 12, 12)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))


@pytest.mark.parametrize(
    ("model", "x", "words"),
    [
        (nanify(Twice(), BLANK), torch.zeros(1, 1, 4, 4), "conv runs more than once"),
        (nanify(Twice(), BLANK), torch.full((1, 1, 4, 4), torch.nan), "conv saw NaN"),
        (nanify(Twice(), NaNPolicy("background")), torch.zeros(1, 1, 4, 4), "No layer"),
    ],
)
def test_what_cannot_be_recorded(model, x, words) -> None:
    with pytest.raises(ConfigError, match=words):
        record_blank(model, x)


def test_another_size_or_none_recorded() -> None:
    model = nanify(network(), BLANK)
    x = torch.full((1, 1, 8, 8), torch.nan).double()
    with pytest.raises(ConfigError, match="record_blank"):
        model(x)
    record_blank(model, torch.zeros(1, 1, 6, 6).double())
    with pytest.raises(ConfigError, match=r"\(1, 6, 6\)"):
        model(x)
