"""Train the digit classifier: one core, two to three minutes.

    python scripts/mnist/train.py

Writes ``digits.safetensors`` (float16) and ``log.csv`` beside this file, or to ``--out``. Optimiser, schedule, batch
and epochs are those of PyTorch's MNIST example, from which the papers' script descends. There are 4,000 digits to
learn from instead of 60,000, so an epoch goes through them three times, each time turned, scaled and shifted a little.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from pathlib import Path

import torch
from model import WEIGHTS, DigitNet, accuracy, load_digits, load_network, normalise, split
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from nansurfer.files import atomic_path

BATCH = 64
LEARNING_RATE, DECAY_PER_EPOCH = 1.0, 0.7  # of Adadelta
MAX_TURN_DEGREES, MAX_SCALE, MAX_SHIFT_PIXELS = 12.0, 0.1, 2.0


def distort(images: Tensor) -> Tensor:
    """Images (N, 1, H, W), each turned, scaled and shifted at random; what comes in from outside is 0."""
    turn, scale, shift_x, shift_y = 2 * torch.rand(4, len(images)) - 1
    angle, zoom = math.radians(MAX_TURN_DEGREES) * turn, 1 + MAX_SCALE * scale
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    shift = 2 * MAX_SHIFT_PIXELS / images.shape[-1]  # the sampling grid runs from -1 to 1
    rows = [torch.stack([cos, -sin, shift * shift_x], 1), torch.stack([sin, cos, shift * shift_y], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def train_epoch(network: DigitNet, optimiser: torch.optim.Optimizer, images: Tensor, classes: Tensor) -> float:
    """Mean loss of one pass through the digits, in random order."""
    losses = []
    for batch in torch.randperm(len(images)).split(BATCH):
        loss = F.cross_entropy(network(normalise(distort(images[batch]))), classes[batch])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


@torch.inference_mode()
def measure(network: DigitNet, images: Tensor, classes: Tensor) -> float:
    """Share of digits, 0..1, whose class the network finds."""
    return accuracy(network(normalise(images)), classes)


def train(epochs: int, passes: int, seed: int) -> tuple[DigitNet, list[dict[str, float]]]:
    """Trained network, and a row of figures for each epoch."""
    torch.manual_seed(seed)
    images, classes = load_digits()
    training, test = split(classes)
    network = DigitNet()
    optimiser = torch.optim.Adadelta(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, DECAY_PER_EPOCH)
    rows: list[dict[str, float]] = []
    started = time.perf_counter()
    for epoch in range(1, epochs + 1):
        losses = [train_epoch(network, optimiser, images[training], classes[training]) for _ in range(passes)]
        schedule.step()
        row = {
            "epoch": epoch,
            "loss": round(sum(losses) / passes, 4),
            "test_accuracy": round(measure(network, images[test], classes[test]), 4),
            "elapsed_s": round(time.perf_counter() - started, 1),
        }
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        rows.append(row)
    return network, rows


def save(network: DigitNet, rows: list[dict[str, float]], out: Path) -> None:
    """Write the weights and the log."""
    with atomic_path(out / WEIGHTS.name) as path:
        save_file({name: value.half() for name, value in network.state_dict().items()}, path)
    with atomic_path(out / "log.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Train, save, and say how good the weights are as saved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS.parent, help="folder for digits.safetensors and log.csv")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--passes", type=int, default=3, help="how often an epoch goes through the digits")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    save(*train(args.epochs, args.passes, args.seed), args.out)
    images, classes = load_digits()
    _, test = split(classes)
    share = measure(load_network(args.out / WEIGHTS.name), images[test], classes[test])
    print(f"{args.out / WEIGHTS.name}: {share:.2%} of the test digits")


if __name__ == "__main__":
    main()
