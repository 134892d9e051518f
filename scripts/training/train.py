"""Train one view on synthetic slices, for a given time, on the CPU or one GPU; stops and resumes at will.

    python scripts/training/train.py --data DATA --view all --minutes 60 --out runs/all
    python scripts/training/train.py --data DATA --view coronal --minutes 20 --out runs/coronal --init runs/all

Most of what a view must learn is the same for all, so one network can learn on all three first (``--view all``)
and each view go on from there.

Writes ``checkpoint.pt`` (everything needed to go on) and ``log.csv`` to ``--out``. The learning rate follows the
share of the time budget that is spent, so the budget must be the final one from the start; a run that is
called again with the same ``--out`` goes on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import math
import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from atlas import load_atlas
from losses import UNDONE, SegmentationLoss, class_weights, undo_class_weights
from optimiser import KernelOptimiser
from synthesis import Synthesiser
from torch import Tensor, nn

from nansurfer.errors import WeightsError
from nansurfer.files import atomic_path
from nansurfer.labels import SAGITTAL_TO_FULL
from nansurfer.models import FastSurferVINN, build_model, load_config
from nansurfer.volume import VIEWS, View
from nansurfer.weights.native import read_native

ALL = "all"
CHECKPOINT = "checkpoint.pt"
FIRST_FULL_CLASS = torch.tensor(np.unique(SAGITTAL_TO_FULL, return_index=True)[1])
WARM_UP_SHARE = 0.02
EMA_DECAY = 0.998
FINE_VOXEL_SIZES_MM = (0.7, 0.95)  # conforming makes 1 mm of all above
FINE_SHARE = 0.15  # of the batches, so that the outer blocks learn to serve other voxel sizes than 1 mm


@dataclass(frozen=True)
class Recipe:
    """What a run depends on besides its seed; stored in the checkpoint."""

    model: str
    view: str
    minutes: float
    slabs: int
    slices: int
    size: int
    learning_rate: float
    weight_decay: float
    precision: str
    norms: str
    seed: int


class Run:
    """One view's training: network, averaged weights, optimiser, random state and time spent.

    With ``compiled``, the loss and the network for batches of 1 mm go through ``torch.compile``; for other voxel sizes,
    each would be compiled anew.
    """

    def __init__(self, recipe: Recipe, data: Path, device: torch.device, compiled: bool = False) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.view: View = "coronal" if recipe.view == ALL else recipe.view
        self.network = build_model(load_config(recipe.model), self.view).to(device, memory_format=torch.channels_last)
        self.full_class = FIRST_FULL_CLASS.to(device)
        self.scales = isinstance(self.network, FastSurferVINN)
        self.averaged = copy.deepcopy(self.network).eval()
        self.network.train(recipe.norms == "batch")
        self.network_at_1mm = torch.compile(self.network) if compiled else self.network
        self.optimiser = KernelOptimiser(self.network, recipe.learning_rate, recipe.weight_decay)
        self.generator = torch.Generator(device).manual_seed(recipe.seed)
        atlas = load_atlas(data, device)
        self.synthesiser = Synthesiser(atlas, self.generator)
        self.loss = SegmentationLoss(class_weights(atlas, self.view)).to(device)
        self.loss_of = torch.compile(self.loss) if compiled else self.loss
        self.step, self.elapsed_s = 0, 0.0

    def state(self) -> dict[str, object]:
        """All that :meth:`restore` needs."""
        return {
            "recipe": vars(self.recipe),
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state().cpu(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }

    def restore(self, state: dict[str, object]) -> None:
        """Go on from a checkpoint of the same recipe."""
        if state["recipe"] != vars(self.recipe):
            raise SystemExit(f"The checkpoint was made with {state['recipe']}; give the same options or another --out.")
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]

    def start_from(self, path: Path) -> None:
        """Take over the averaged weights of another run, or a set of exported ones; the classifier gets our classes."""
        if (path / CHECKPOINT).exists():
            weights = torch.load(path / CHECKPOINT, map_location=self.device, weights_only=True)["averaged"]
        else:
            arrays = read_native(path / f"{self.view}.safetensors", model=self.recipe.model, view=self.view)
            weights = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
            undo_class_weights(weights["classifier.conv.bias"], self.loss.weights, -UNDONE)  # as before the export
        classes = self.network.classifier.conv.out_channels
        for name in ("classifier.conv.weight", "classifier.conv.bias"):
            weights[name] = _map_classes(weights[name], classes)
        self.network.load_state_dict(weights)
        self.averaged.load_state_dict(weights)

    @property
    def spent(self) -> float:
        """Share of the time budget that is spent, 0..1."""
        return min(1.0, self.elapsed_s / (60 * self.recipe.minutes))

    def train_step(self) -> float:
        """Loss of one more batch."""
        started = time.perf_counter()
        self.optimiser.set_learning_rate(self.recipe.learning_rate * _schedule(self.spent))
        loss = self._loss_of_new_batch()
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._average()
        value = float(loss.detach())
        self.elapsed_s += time.perf_counter() - started
        return value

    def _loss_of_new_batch(self) -> Tensor:
        recipe = self.recipe
        view = VIEWS[int(self._random() * len(VIEWS))] if recipe.view == ALL else recipe.view
        batch = self.synthesiser.batch(view, recipe.slabs, recipe.slices, recipe.size, self._voxel_size_mm())
        targets = batch.targets
        if recipe.view == ALL and view == "sagittal":
            targets = self.full_class[targets]
        images = batch.images.contiguous(memory_format=torch.channels_last)
        scale = 1 / batch.voxel_size_mm
        if self.scales:
            inner = 16 * math.ceil(recipe.size * batch.voxel_size_mm / 16)
            self.network.base_size = (inner, inner)
        network = self.network_at_1mm if batch.voxel_size_mm == 1 else self.network
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = network(images, (scale, scale))
        return self.loss_of(logits, targets)

    def _voxel_size_mm(self) -> float:
        if not self.scales or self._random() >= FINE_SHARE:
            return 1.0
        finest, coarsest = FINE_VOXEL_SIZES_MM
        return finest + (coarsest - finest) * self._random()

    def _random(self) -> float:
        return float(torch.rand((), generator=self.generator, device=self.device))

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        pairs = zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True)
        for mean, value in pairs:
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def _map_classes(rows: Tensor, classes: int) -> Tensor:
    """Classifier rows for ``classes`` classes; a sagittal class and its first full class stand for each other."""
    if len(rows) == classes:
        return rows
    return rows[FIRST_FULL_CLASS] if classes < len(rows) else rows[torch.tensor(SAGITTAL_TO_FULL)]


def _schedule(spent: float) -> float:
    if spent < WARM_UP_SHARE:
        return 0.05 + 0.95 * spent / WARM_UP_SHARE
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (spent - WARM_UP_SHARE) / (1 - WARM_UP_SHARE)))


def save(run: Run, out: Path) -> None:
    """Write the checkpoint so that an interruption cannot damage it."""
    with atomic_path(out / CHECKPOINT) as path:
        torch.save(run.state(), path)


def train(run: Run, out: Path, log_every: int, save_every_s: float, stop_after_s: float) -> None:
    """Train until the budget, or this call's share of it, is spent."""
    started = saved = time.monotonic()
    losses: list[float] = []
    while run.spent < 1 and time.monotonic() - started < stop_after_s:
        losses.append(run.train_step())
        if run.step % log_every == 0:
            _log(out / "log.csv", run, sum(losses) / len(losses))
            losses.clear()
        if time.monotonic() - saved > save_every_s:
            save(run, out)
            saved = time.monotonic()
    save(run, out)


def _log(path: Path, run: Run, loss: float) -> None:
    samples = run.step * run.recipe.slabs * run.recipe.slices
    row = {
        "step": run.step,
        "slices": samples,
        "minutes": round(run.elapsed_s / 60, 2),
        "loss": round(loss, 4),
    }
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def parse_arguments() -> argparse.Namespace:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labelmaps/ and labels/")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint.pt and log.csv")
    parser.add_argument("--view", choices=(*VIEWS, ALL), required=True)
    parser.add_argument("--model", default="vinn-compact", help="configuration in configs/")
    parser.add_argument("--minutes", type=float, required=True, help="whole time budget, over all calls")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="minutes after which this call stops")
    parser.add_argument("--init", type=Path, help="--out of another run, or exported weights, to start from")
    parser.add_argument("--slabs", type=int, default=5, help="subjects in a batch")
    parser.add_argument("--slices", type=int, default=1, help="slices of each subject in a batch")
    parser.add_argument("--size", type=int, default=128, help="side of the crops, a multiple of 16")
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="of the convolutions; default: bfloat16 on a GPU. CPUs with bfloat16 instructions gain as well",
    )
    parser.add_argument(
        "--norms",
        choices=("batch", "frozen"),
        default="batch",
        help="statistics of the batch norms: of each batch, or those that --init has, as inference does; small batches "
        "end better so, from exported weights, whose statistics were measured anew",
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile: needs a C++ compiler and a minute")
    args = parser.parse_args()
    args.precision = args.precision or ("bfloat16" if args.device.startswith("cuda") else "float32")
    return args


def main() -> None:
    """Train, or go on training, as the command line says."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    checkpoint = args.out / CHECKPOINT
    if args.norms == "frozen" and not (args.init or checkpoint.exists()):
        raise SystemExit("--norms frozen needs --init, whose statistics they are.")
    recipe = Recipe(**{field.name: getattr(args, field.name) for field in fields(Recipe)})
    run = Run(recipe, args.data, torch.device(args.device), args.compile)
    if checkpoint.exists():
        run.restore(torch.load(checkpoint, map_location=args.device, weights_only=True))
    elif args.init:
        try:
            run.start_from(args.init)
        except WeightsError as error:
            raise SystemExit(str(error)) from error
    args.out.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        train(run, args.out, log_every=100, save_every_s=120, stop_after_s=60 * args.stop_after)
    save(run, args.out)


if __name__ == "__main__":
    main()
