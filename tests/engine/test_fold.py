"""Batch norms folded into convolutions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from nansurfer.engine import fold_batch_norms
from nansurfer.models import Network, build_model, load_config

CONFIGS = {
    "vinn": replace(load_config("vinn"), filters=4, interpolation_filters=3),
    "cnn": replace(load_config("cnn"), filters=4),
}


def trained_looking(name: str) -> Network:
    """A small network whose batch norms are far from doing nothing."""
    torch.manual_seed(0)
    network = build_model(CONFIGS[name], "coronal").eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
            ):
                tensor.uniform_(low, high)
    return network


@pytest.mark.parametrize("name", CONFIGS)
def test_same_function(name) -> None:
    network = trained_looking(name).double()
    x = torch.rand(1, 7, 256, 256, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(fold_batch_norms(network)(x), network(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CONFIGS)
def test_same_classes_in_float32(name) -> None:
    network = trained_looking(name)
    x = torch.rand(1, 7, 256, 256)
    with torch.inference_mode():
        expected, found = network(x), fold_batch_norms(network)(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.std()))
    assert torch.equal(found.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("name", CONFIGS)
def test_only_the_norms_before_a_convolution_remain(name) -> None:
    folded = fold_batch_norms(trained_looking(name))
    norms = [path for path, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms == {"vinn": ["encode1.bn0", "inp_block.bn0"], "cnn": ["encode1.bn0"]}[name]


def test_the_network_itself_is_left_alone() -> None:
    network = trained_looking("vinn")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fold_batch_norms(network)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
