"""The scaling benchmark: its masks and figures on literal values, and one small run."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from nansurfer.engine import fast_kernels_available

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks" / "scaling.py"


@pytest.fixture(scope="module")
def scaling() -> Iterator[ModuleType]:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("scaling", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "scaling", module)  # dataclasses look there
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def curve(scaling: ModuleType):
    """Points of a curve with these times at these active shares, and a dense engine that takes 10 ms."""

    def points(times: dict[float, float]) -> list:
        return [scaling.Point("disc", 1, share, share, fast_ms, 10.0) for share, fast_ms in times.items()]

    return points


def test_masks_cover_what_they_say_and_grow(scaling: ModuleType) -> None:
    found = list(scaling.masks([0.0, 0.25, 0.5, 1.0]))
    assert [(name, share) for name, share, _ in found] == [
        (name, share) for name in ("disc", "blobs") for share in (0.0, 0.25, 0.5, 1.0)
    ]
    assert all(mask.mean() == share for _, share, mask in found)
    discs = [mask for name, _, mask in found if name == "disc"]
    assert all((larger | ~smaller).all() for smaller, larger in pairwise(discs))


def test_a_disc_is_one_piece_in_the_middle_and_blobs_are_many(scaling: ModuleType) -> None:
    (_, _, disc), (_, _, blobs) = scaling.masks([0.25])
    rows = np.flatnonzero(disc.any(axis=1))
    assert (rows[0], rows[-1]) == (56, 199)  # a radius of 256 / sqrt(4 pi) = 72.2
    assert disc[127, 56:200].all()
    assert scaling.ndimage.label(disc)[1] == 1
    assert scaling.ndimage.label(blobs)[1] > 5


def test_deviation_is_the_largest_from_ten_percent_on(scaling: ModuleType, curve) -> None:
    assert scaling.deviation(curve({0.0: 1.0, 0.05: 9.0, 0.1: 1.2, 0.5: 4.5, 1.0: 10.0})) == pytest.approx(0.2)
    assert scaling.deviation(curve({0.5: 3.0, 1.0: 10.0})) == pytest.approx(-0.4)


@pytest.mark.parametrize(
    ("times", "share"),
    [
        ({0.0: 0.0, 1.0: 9.9}, None),
        ({1.0: 20.0, 0.0: 0.0, 0.4: 8.0}, 0.5),
        ({0.0: 0.0, 0.5: 10.0, 1.0: 20.0}, 0.5),
        ({0.0: 11.0, 1.0: 20.0}, 0.0),
    ],
)
def test_break_even(scaling: ModuleType, curve, times, share) -> None:
    assert scaling.break_even(curve(times)) == (None if share is None else pytest.approx(share))


@pytest.mark.skipif(not fast_kernels_available(), reason="needs compiled kernels")
def test_a_run(scaling: ModuleType, tiny_weights: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    threads = torch.get_num_threads()
    arguments = ["-o", tmp_path, "--weights", tiny_weights, "--step", "50", "--repeats", "1", "--view", "sagittal"]
    monkeypatch.setattr(sys, "argv", ["scaling.py", *map(str, arguments)])
    try:
        scaling.main()
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
    with (tmp_path / "scaling.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["mask"] for row in rows] == ["disc"] * 3 + ["blobs"] * 3
    shares = [float(row["active_share"]) for row in rows]
    assert shares[0] == shares[3] == 0
    assert shares[2] == shares[5] == 1
    assert 0.5 < shares[1] < shares[4] < 1  # blobs have more rim
    assert all(row["torch_version"] and row["processor"] and float(row["peak_memory_mb"]) > 0 for row in rows)
    assert (tmp_path / "scaling.png").exists()
    assert (tmp_path / "scaling.svg").exists()
    assert "from proportional" in capsys.readouterr().out
