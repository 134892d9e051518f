"""Accuracy and skipped convolutions of the digit classifier over thresholds, with the published figures beside.

    python scripts/mnist/sweep.py

Runs the 1,000 test digits under each scheme and threshold, prints a table and writes ``results.csv`` beside this
file, or to ``--csv``. README.md in this folder explains the columns and what comes out.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from model import WEIGHTS, DigitNet, accuracy, average, load_digits, load_network, normalise, split
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nansurfer.files import atomic_path
from nansurfer.nn import Fill, NaNPolicy, mac_skip_ratio, nanify, record_blank, skip_counts

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4")
THRESHOLDS = (1.0, 0.85, 0.75, 0.65, 0.5)
BATCH = 250
Figures = dict[str, float]
Row = dict[str, str | float]

# "NaN Pooling and Convolution Accelerate U-Nets" (2025): accuracy, and skip ratios of conv2, conv3 and conv4. The
# network without NaN has no threshold.
PUBLISHED: dict[float | None, tuple[float, float, float, float]] = {
    None: (0.9910, 0, 0, 0),
    1.0: (0.9886, 0.154, 0, 0),
    0.85: (0.9885, 0.272, 0.007, 0),
    0.75: (0.9813, 0.353, 0.086, 0),
    0.65: (0.9265, 0.559, 0.288, 0.005),
    0.5: (0.1980, 0.750, 0.786, 0.409),
}


@dataclass(frozen=True)
class Scheme:
    """Where NaN comes from, and what stands for it in a window that is computed.

    The fields are :class:`nansurfer.nn.NaNPolicy`'s.
    """

    mode: Literal["off", "aggressive", "background"]
    fill: Fill = "mean"
    count_include_pad: bool = False

    @property
    def published(self) -> bool:
        """Whether the published figures are those of this mode and way of counting."""
        return self.mode == "off" or (self.mode == "aggressive" and self.count_include_pad)


DENSE = Scheme("off")
SCHEMES = (
    Scheme("aggressive", "mean", count_include_pad=True),  # the papers' definition
    Scheme("aggressive", "mean"),
    Scheme("aggressive", "zero", count_include_pad=True),
    Scheme("aggressive", "zero"),
    Scheme("background", "blank"),
)


def nan_network(network: DigitNet, scheme: Scheme, threshold: float) -> DigitNet:
    """``network`` under ``scheme``, ready to run."""
    policy = NaNPolicy(scheme.mode, threshold=threshold, fill=scheme.fill, count_include_pad=scheme.count_include_pad)
    model = nanify(network, policy)
    assert isinstance(model, DigitNet)
    if scheme.fill == "blank":
        record_blank(model, normalise(torch.zeros(1, 1, 28, 28)))
    return model


def network_input(images: Tensor, scheme: Scheme) -> Tensor:
    """Normalised images; under a background scheme pixels without ink are NaN."""
    x = normalise(images)
    return x.masked_fill(images == 0, torch.nan) if scheme.mode == "background" else x


@torch.inference_mode()
def measure(network: DigitNet, images: Tensor, classes: Tensor, scheme: Scheme, threshold: float = 1.0) -> Figures:
    """Accuracies and skip ratios of ``network`` on images (N, 1, 28, 28) in 0..1 under ``scheme``."""
    model = nan_network(network, scheme, threshold)
    maps = torch.cat([model.maps(batch) for batch in network_input(images, scheme).split(BATCH)])
    counts = skip_counts(model)
    return {
        "accuracy": accuracy(average(maps), classes),
        "strict_accuracy": accuracy(maps.mean(dim=(2, 3)), classes),  # no class where any position was skipped
        **{f"skip_{layer.name}": layer.skip_ratio for layer in counts},
        "mac_skip_ratio": mac_skip_ratio(counts),
    }


def sweep(network: DigitNet, images: Tensor, classes: Tensor) -> Iterator[Row]:
    """A row of figures for the dense network, then for every scheme and threshold."""
    yield _row(DENSE, None, measure(network, images, classes, DENSE))
    for scheme in SCHEMES:
        for threshold in THRESHOLDS:
            yield _row(scheme, threshold, measure(network, images, classes, scheme, threshold))


def _row(scheme: Scheme, threshold: float | None, figures: Figures) -> Row:
    names = ("published_accuracy", *(f"published_skip_{name}" for name in CONVOLUTIONS[1:]))
    published = PUBLISHED[threshold] if scheme.published else ("",) * len(names)
    return {
        "mode": scheme.mode,
        "fill": "" if scheme == DENSE else scheme.fill,
        "padding": "" if scheme == DENSE else "counted" if scheme.count_include_pad else "left out",
        "threshold": "" if threshold is None else threshold,
        **{name: round(value, 4) for name, value in figures.items()},
        **dict(zip(names, published, strict=True)),
    }


def table(rows: list[Row]) -> Table:
    """Rows for the terminal, the published figures in a column of their own."""
    shown = Table("mode", "fill", "padding", "threshold", "accuracy", "strict", "skipped 1/2/3/4", "MACs", "published")
    for row in rows:
        skips = "/".join(f"{row[f'skip_{name}']:.3f}" for name in CONVOLUTIONS)
        published = ""
        if row["published_accuracy"] != "":
            ratios = "/".join(f"{row[f'published_skip_{name}']:.3f}" for name in CONVOLUTIONS[1:])
            published = f"{row['published_accuracy']:.2%} {ratios}"
        labels = [str(row[key]) for key in ("mode", "fill", "padding", "threshold")]
        accuracies = [f"{row[key]:.1%}" for key in ("accuracy", "strict_accuracy")]
        shown.add_row(*labels, *accuracies, skips, f"{row['mac_skip_ratio']:.3f}", published)
    return shown


def main() -> None:
    """Run the sweep, print the table, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--csv", type=Path, default=WEIGHTS.with_name("results.csv"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    images, classes = load_digits()
    _, test = split(classes)
    rows = list(sweep(load_network(args.weights), images[test], classes[test]))
    Console().print(table(rows))
    with atomic_path(args.csv) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
