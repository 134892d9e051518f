"""Turn the runs of the three views into a set of weights.

    python scripts/training/export.py --data DATA --runs runs --out nansurfer/weights/compact

Takes the averaged weights of ``RUNS/VIEW/checkpoint.pt``, measures the batch norms' statistics anew for them (those
of the training lag behind, unless they were frozen), takes half of the classes' weights in the loss out of the
classifier again, and writes ``VIEW.safetensors`` with their checksums.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from atlas import load_atlas
from losses import class_weights, undo_class_weights
from synthesis import Synthesiser
from torch import nn
from train import CHECKPOINT

from nansurfer.models import Network, build_model, load_config
from nansurfer.volume import VIEWS
from nansurfer.weights import record_checksum, save_network


@torch.no_grad()
def measure_batch_norms(network: Network, synthesiser: Synthesiser, view: str, batches: int, size: int) -> None:
    """Replace running means and variances by plain averages over new batches; leave the network in eval mode."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
    network.train()
    if hasattr(network, "base_size"):
        network.base_size = (size, size)
    for _ in range(batches):
        network(synthesiser.batch(view, slabs=4, slices=1, size=size).images)
    network.eval()


def main() -> None:
    """Export the views."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labelmaps/ and labels/")
    parser.add_argument("--runs", type=Path, required=True, help="folder with a run a view")
    parser.add_argument("--out", type=Path, required=True, help="folder for the set of weights")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=VIEWS)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="how floats are stored")
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    device = torch.device(args.device)
    atlas = load_atlas(args.data, device)
    synthesiser = Synthesiser(atlas, torch.Generator(device).manual_seed(0))
    for view in args.views:
        state = torch.load(args.runs / view / CHECKPOINT, map_location=device, weights_only=True)
        model = state["recipe"]["model"]
        network = build_model(load_config(model), view).to(device)
        network.load_state_dict(state["averaged"])
        if state["recipe"]["norms"] == "batch":
            measure_batch_norms(network, synthesiser, view, args.batches, args.size)
        undo_class_weights(network.classifier.conv.bias, class_weights(atlas, view))
        path = args.out / f"{view}.safetensors"
        facts = {"training_steps": str(state["step"]), "training_minutes": f"{state['elapsed_s'] / 60:.1f}"}
        save_network(network.cpu(), path, model=model, view=view, metadata=facts, dtype=args.dtype)
        record_checksum(path)
        print(path, facts)


if __name__ == "__main__":
    main()
