"""Give compact weights the size of FastSurfer's own network: channels of zeros, same labels, eight times the work.

    python scripts/benchmarks/widen.py compact wide

So the work of the official weights can be timed where they cannot be had, and on labels that mean something.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from nansurfer.models import Network, build_model, load_config
from nansurfer.weights import load_network, resolve
from nansurfer.weights.native import save_network

MODEL = "vinn"


@torch.no_grad()
def widen(network: Network, view: str) -> Network:
    """A network of FastSurfer's size that computes what a smaller one computes, up to rounding."""
    wide = build_model(load_config(MODEL), view).eval()
    given, own = network.state_dict(), wide.state_dict()
    filters = network.classifier.conv.in_channels, wide.classifier.conv.in_channels
    for name, values in own.items():
        if values.shape == given[name].shape:
            values.copy_(given[name])
        else:
            values.fill_(1.0 if name.endswith("running_var") else 0.0)
            values[torch.meshgrid(*places(given[name], values, filters), indexing="ij")] = given[name]
    return wide


def places(given: Tensor, wanted: Tensor, filters: tuple[int, int]) -> list[Tensor]:
    """Where along each axis the values of a tensor go; of joined channels, the second part behind the U-Net's own."""
    few, many = filters
    indices = [torch.arange(size) for size in given.shape]
    return [
        torch.where(index < few, index, index + many - few) if few < len(index) < size else index
        for index, size in zip(indices, wanted.shape, strict=True)
    ]


def main() -> None:
    """Widen all views of a set and write it into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="name or folder of a set of vinn-compact weights")
    parser.add_argument("folder", type=Path, help="where the widened set is written")
    args = parser.parse_args()
    given = resolve(args.weights)
    args.folder.mkdir(parents=True, exist_ok=True)
    for view in ("axial", "coronal", "sagittal"):
        wide = widen(load_network(given, view)[1].eval(), view)
        save_network(wide, args.folder / f"{view}.safetensors", model=MODEL, view=view)


if __name__ == "__main__":
    main()
