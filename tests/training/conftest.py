"""The scripts of scripts/training, which is no package: they import each other as neighbours."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

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
