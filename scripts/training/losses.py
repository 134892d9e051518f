"""Weighted cross-entropy plus soft Dice, both with rare classes and borders counted up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from atlas import Atlas
from torch import Tensor, nn

BORDER_FACTOR = 2.0
WEIGHT_RANGE = (0.5, 3.0)
UNDONE = 0.5
"""Share of the weights that is taken out, on a logarithmic scale: the other half of the loss, Dice, has none. Synthetic
heads' Dice, subcortical and cortex: 0.811 and 0.766 with all weights left in, 0.814 and 0.769 so, 0.812 and 0.770
without any."""


def class_weights(atlas: Atlas, view: str) -> Tensor:
    """Weight of each class of a view: root of the median frequency over its own, within bounds."""
    classes = atlas.classes[view]
    counts = torch.bincount(atlas.maps[0].view(-1).long(), minlength=len(classes)).double()
    frequency = torch.zeros(int(classes.max()) + 1, dtype=torch.double, device=classes.device)
    frequency.index_add_(0, classes, counts)
    median = frequency[frequency > 0].median()
    return (median / frequency.clamp(min=1)).sqrt().clamp(*WEIGHT_RANGE).float()


class SegmentationLoss(nn.Module):
    """Cross-entropy, weighted by class and at borders, plus one minus the mean soft Dice of present classes.

    Parameters
    ----------
    weights
        Weight of each class up to the last that occurs, float (C,); classes beyond are never targets.
    """

    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar loss of logits (N, C, H, W) of any precision against classes (N, H, W)."""
        log_probability = F.log_softmax(logits.float(), dim=1)
        numbers = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
        target = targets[:, None] == numbers
        hit = torch.where(target, log_probability, 0).sum(1)  # faster than gather where all of this is compiled
        weight = self.weights[targets] * _border_weight(targets)
        cross_entropy = -(weight * hit).sum() / weight.sum()
        return cross_entropy + 1 - _soft_dice(log_probability.exp(), target)


def _soft_dice(probability: Tensor, target: Tensor) -> Tensor:
    """Mean over the classes present of twice the overlap over the sum of both sizes."""
    overlap = torch.where(target, probability, 0).sum((0, 2, 3))
    size = target.sum((0, 2, 3))
    dice = (2 * overlap + 1) / (probability.sum((0, 2, 3)) + size + 1)
    present = size > 0
    return torch.where(present, dice, 0).sum() / present.sum()


def _border_weight(targets: Tensor) -> Tensor:
    """``BORDER_FACTOR`` where a pixel's 3x3 neighbourhood holds another class, 1 elsewhere."""
    classes = targets[:, None].float()
    border = F.max_pool2d(classes, 3, 1, 1) != -F.max_pool2d(-classes, 3, 1, 1)
    return 1 + (BORDER_FACTOR - 1) * border[:, 0].float()


@torch.no_grad()
def undo_class_weights(bias: Tensor, weights: Tensor, share: float = UNDONE) -> None:
    """Change a classifier's bias in place so that odds of the classes are true to how often they occur.

    A cross-entropy with weights teaches odds that are as many times too large: rare structures are learnt sooner, and
    swell. ``weights``, float (C,), are of the first C classes.
    """
    bias[: len(weights)] -= share * weights.log()
