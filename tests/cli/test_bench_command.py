"""``nansurfer bench``: table, files, and how it ends when it cannot."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nansurfer.pipeline import bench as module
from nansurfer.report.bench import BenchRow

ROW = BenchRow(
    name="dense",
    technique="every slice",
    network_s=1234.5,
    network_min_s=1234.0,
    network_max_s=1235.0,
    total_s=1240.0,
    speedup=1.0,
    gflop=69984.0,
    gflop_per_s=56.7,
    mac_skip_ratio=0.125,
    peak_memory_mb=3210,
    dice_whole=1.0,
    dice_mean=1.0,
)


@pytest.fixture
def bench(nansurfer, tiny_weights: Path, blob_path: Path, tmp_path: Path, monkeypatch):
    """Run ``nansurfer bench`` on a small input into ``tmp_path / "out"``, all of it in this process."""
    monkeypatch.setattr(module, "in_fresh_process", lambda function, *arguments: function(*arguments))

    def run(*arguments: object, image: Path = blob_path):
        return nansurfer("bench", image, "-o", tmp_path / "out", "--weights", tiny_weights, *arguments)

    return run


@pytest.fixture
def measured(monkeypatch) -> dict[str, Any]:
    """What the benchmark is asked for, when all it does is to return two rows."""
    asked: dict[str, Any] = {}

    def bench(path, folder, techniques, **others) -> list[BenchRow]:
        asked.update(path=path, folder=folder, techniques=[technique.name for technique in techniques], **others)
        return [ROW, replace(ROW, name="folded", dice_whole=0.5)]

    monkeypatch.setattr(module, "bench", bench)
    return asked


def test_from_the_input_to_the_files(bench, instant_network, tmp_path: Path, monkeypatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr("nansurfer.pipeline.record.perf_counter", lambda: float(next(seconds)))
    done = bench("--rows", "folded", "--repeats", "1", "--views", "axial")
    assert done.exit_code == 0
    runs = [line.split(" INFO ")[1] for line in done.err.splitlines() if "Counting" in line or "Repeat" in line]
    assert runs == ["Counting: dense", "Counting: folded", "Repeat 1 of 1: dense", "Repeat 1 of 1: folded"]
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"bench.csv", "bench.png", "bench.svg", "conformed.mgz", "dense.mgz"}
    assert "blob.mgz, weights weights" in (tmp_path / "out" / "bench.svg").read_text(encoding="utf-8")


def test_the_table_fits_a_narrow_terminal(bench, measured, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [" ".join(line.split()) for line in bench("--no-plot").out.splitlines()]
    assert lines[2] == "row time s total s faster GFLOP GFLOP/s skipped % MB Dice"
    assert lines[4:6] == [
        "dense 1234.50 1240.00 1.00x 69984 57 12.5 3210 1.000000",
        "folded 1234.50 1240.00 1.00x 69984 57 12.5 3210 0.500000",
    ]


def test_options_reach_the_benchmark(bench, measured, tmp_path: Path, tiny_weights: Path) -> None:
    options = ["--rows", "folded, cropped", "--views", "axial, sagittal", "--vox-size", "1", "--threads", "2"]
    done = bench("-q", "--no-plot", "--repeats", "5", *options)
    assert (done.exit_code, done.out, done.err) == (0, "", "")
    del measured["path"], measured["progress"]
    assert measured == {
        "folder": tmp_path / "out",
        "techniques": ["dense", "cropped", "folded"],
        "repeats": 5,
        "weights": str(tiny_weights),
        "views": ("axial", "sagittal"),
        "vox_size": 1.0,
        "threads": 2,
    }
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (["--rows", "fast"], 12, "There is no row 'fast'; choose from dense,"),
        (["--rows", ","], 12, "There is no row ''"),
        (["--repeats", "0"], 2, "--repeats"),
        (["--views", "oblique"], 12, "oblique"),
        (["--vox-size", "x"], 2, "neither 'min' nor a number"),
        (["--rows", "folded", "--weights", "nobody's"], 9, "nobody's"),
    ],
)
def test_what_cannot_be(bench, tmp_path: Path, arguments, exit_code, sentence) -> None:
    done = bench(*arguments)
    assert (done.exit_code, done.out) == (exit_code, "")
    assert sentence in done.err
    assert not (tmp_path / "out").exists()


def test_no_input(bench, tmp_path: Path) -> None:
    done = bench("--rows", "folded", image=tmp_path / "nobody.mgz")
    assert done.exit_code == 3
    assert not (tmp_path / "out").exists()


def test_a_missing_matplotlib_is_told_before_the_work(bench, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("nansurfer.report.plot.find_spec", lambda name: None)
    done = bench("--rows", "folded")
    assert done.exit_code == 12
    assert "pip install 'nansurfer[plot]', or do without by --no-plot" in done.err
    assert not (tmp_path / "out").exists()


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from nansurfer.cli import app; app(['bench', '--help'], standalone_mode=False);"
        "print({'torch', 'numpy', 'nibabel', 'scipy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "--repeats" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"
