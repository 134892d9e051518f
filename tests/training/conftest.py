"""The scripts of scripts/training, which is no package: they import each other as neighbours."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "training"


@pytest.fixture(scope="module")
def neighbours() -> Iterator[None]:
    """Have the scripts in reach of one another, and of nothing else afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        yield
    for path in SCRIPTS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture(scope="module")
def atlases(neighbours: None) -> ModuleType:
    """The label maps."""
    return importlib.import_module("atlas")


@pytest.fixture(scope="module")
def card(neighbours: None) -> ModuleType:
    """The tables of the model card."""
    return importlib.import_module("card")


@pytest.fixture(scope="module")
def copies(neighbours: None) -> ModuleType:
    """Copies of a labelled T1."""
    return importlib.import_module("copies")


@pytest.fixture(scope="module")
def evaluate(neighbours: None) -> ModuleType:
    """The evaluator."""
    return importlib.import_module("evaluate")


@pytest.fixture(scope="module")
def export(neighbours: None) -> ModuleType:
    """The export of trained networks."""
    return importlib.import_module("export")


@pytest.fixture(scope="module")
def synthesis(neighbours: None) -> ModuleType:
    """The synthetic T1 slices."""
    return importlib.import_module("synthesis")


@pytest.fixture(scope="module")
def train(neighbours: None) -> ModuleType:
    """The trainer."""
    return importlib.import_module("train")


@pytest.fixture(scope="module")
def losses(neighbours: None) -> ModuleType:
    """What the trainer makes small."""
    return importlib.import_module("losses")


@pytest.fixture(scope="module")
def optimiser(neighbours: None) -> ModuleType:
    """What the trainer changes weights by."""
    return importlib.import_module("optimiser")


@pytest.fixture(scope="module")
def atlas(atlases: ModuleType) -> Any:
    """A head of 60 voxels a side in one map: background, left and right white matter, a parcel, fat; another parcel, a
    nucleus and fluid do not occur in it; no label is a lesion."""
    head = torch.zeros((1, 256, 256, 256), dtype=torch.uint8)
    head[0, 98:158, 98:158, 98:158] = 4
    head[0, 102:154, 102:154, 102:154] = 3
    head[0, 106:128, 106:150, 106:150], head[0, 128:150, 106:150, 106:150] = 2, 1
    return atlases.Atlas(
        maps=head,
        heads=1,
        centers=torch.tensor([[127.5] * 3]),
        extents=torch.tensor([[26.0] * 3]),
        alignments=torch.cat([torch.eye(3), torch.full((3, 1), 127.5)], 1)[None],
        mirrored=torch.tensor([0, 2, 1, 3, 4, 5, 6, 7]),
        healthy=torch.arange(8),
        brain=torch.tensor([False, True, True, True, False, True, True, False]),
        head=torch.arange(8) == 4,
        cortex=(torch.arange(8) == 3) | (torch.arange(8) == 5),
        white=(torch.arange(8) == 1) | (torch.arange(8) == 2),
        foliated=torch.zeros(8, dtype=torch.bool),
        fluid=torch.arange(8) == 7,
        classes={
            **dict.fromkeys(("coronal", "axial"), torch.tensor([0, 1, 19, 35, 0, 36, 9, 0])),
            "sagittal": torch.tensor([0, 5, 5, 21, 0, 22, 13, 0]),
        },
        structures=torch.tensor([0, 1, 1, 2, 3, 2, 4, 5]),
        tissues=torch.tensor([0, 2, 2, 3, 4, 3, 3, 1]),
        elected=torch.tensor([0, 1, 2, 3, 0, 3, 4, 0]),
        lift=torch.tensor([0.0, 0, 0, 0, 0, 0, 0.5, 0]),
        faint=torch.zeros(8),
        cessions={"heads": [], "averages": []},
        fitted=torch.arange(8) != 6,
        mean=torch.tensor([5.0, 160, 160, 95, 100, 95, 95, 40]),
        mean_spread=torch.tensor([1.0, 20, 20, 12, 10, 12, 12, 10]),
        std=torch.zeros(8),
        std_spread=torch.zeros(8),
    )
