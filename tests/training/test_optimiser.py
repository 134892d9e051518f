"""Muon and AdamW, each for its part of a network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn


@pytest.fixture
def network() -> nn.Module:
    """A 3x3 kernel of two filters and a 1x1 kernel, in channels-last memory."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(2, 1, 1))
    return layers.to(memory_format=torch.channels_last)


def set_gradients(network: nn.Module) -> None:
    """All 1; of the kernel two, 3 in the first filter and 1 at another place in the second, else 0."""
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    kernel = network[0].weight.grad
    kernel.zero_()
    kernel[0, 2, 1, 0], kernel[1, 0, 0, 2] = 3, 1


def test_directions_of_a_kernel_weigh_the_same_and_all_else_follows_adamw(optimiser, network) -> None:
    before = [value.detach().clone() for value in network.parameters()]
    both = optimiser.KernelOptimiser(network, learning_rate=0.5, weight_decay=0.0)
    both.set_learning_rate(0.1)
    set_gradients(network)
    both.step()
    kernel, *others = (value.detach() - old for value, old in zip(network.parameters(), before, strict=True))
    large, small = -kernel[0, 2, 1, 0].item(), -kernel[1, 0, 0, 2].item()
    assert 0.6 < large / small < 1.6
    rest = kernel.clone()
    rest[0, 2, 1, 0] = rest[1, 0, 0, 2] = 0
    assert rest.abs().max() < 0.01 * small
    for other in others:
        torch.testing.assert_close(other, torch.full_like(other, -0.1))


def test_gradients_are_forgotten(optimiser, network) -> None:
    set_gradients(network)
    optimiser.KernelOptimiser(network, 0.1, 0.0).zero_grad()
    assert all(value.grad is None for value in network.parameters())


def test_it_goes_on_where_another_was(optimiser, network) -> None:
    both, other = (optimiser.KernelOptimiser(network, 0.1, 0.01) for _ in range(2))
    set_gradients(network)
    both.step()
    other.load_state_dict(copy.deepcopy(both.state_dict()))
    network[0].weight.grad[1, 1, 1, 1] = -4  # in another direction than what is remembered
    start = [value.detach().clone() for value in network.parameters()]
    ends = []
    for one in (both, other):
        for value, old in zip(network.parameters(), start, strict=True):
            value.data.copy_(old)
        one.step()
        ends.append(torch.cat([value.detach().flatten() for value in network.parameters()]))
    assert ends[0].equal(ends[1])
