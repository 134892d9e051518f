"""Weights of the classes and of borders, and what a loss of nothing is."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F


def test_a_class_four_times_as_frequent_as_the_median_weighs_half(losses) -> None:
    labels = torch.tensor([0] * 16 + [1] * 4 + [2])
    atlas = SimpleNamespace(maps=labels[None], classes={"coronal": torch.tensor([0, 1, 3])})
    weights = losses.class_weights(atlas, "coronal")
    assert weights.tolist() == [0.5, 1.0, 2.0, 2.0]  # class 2 never occurs and counts as one voxel


def test_pixels_with_a_neighbour_of_another_class_are_borders(losses) -> None:
    targets = torch.zeros(1, 3, 6, dtype=torch.int64)
    targets[..., 3:] = 5
    expected = torch.tensor([1, 1, losses.BORDER_FACTOR, losses.BORDER_FACTOR, 1, 1])
    torch.testing.assert_close(losses._border_weight(targets), expected.expand(1, 3, 6))


@pytest.fixture
def loss(losses):
    """A loss of three classes that all weigh the same."""
    return losses.SegmentationLoss(torch.ones(3))


def test_a_certain_and_right_answer_loses_nothing(loss) -> None:
    targets = torch.arange(3).repeat(1, 4, 8)
    logits = 100 * F.one_hot(targets, 4).permute(0, 3, 1, 2).float()
    assert float(loss(logits, targets)) == pytest.approx(0, abs=1e-6)


def test_knowing_nothing_of_two_classes_loses_both_terms(loss) -> None:
    targets = torch.zeros(1, 10, 20, dtype=torch.int64)
    targets[..., 10:] = 1
    logits = torch.zeros(1, 3, 10, 20)
    logits[:, 2] = -100
    dice = (2 * 50 + 1) / (100 + 100 + 1)
    assert float(loss(logits, targets)) == pytest.approx(math.log(2) + 1 - dice, abs=1e-5)


def test_a_class_that_weighs_more_counts_more_where_it_is_missed(losses) -> None:
    targets = torch.tensor([[[0, 1]]])
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 0, 0, 1] = 3  # class 0 where class 1 is
    even, rare = (losses.SegmentationLoss(torch.tensor([1.0, weight]))(logits, targets) for weight in (1.0, 3.0))
    assert rare > even
