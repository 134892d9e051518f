"""A benchmark: which runs it makes, what it measures, and what it writes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.errors import BusyError, ConfigError, DeviceError, InputNotFoundError, NoBrainError, WeightsError
from nansurfer.pipeline import Progress, SegmentationResult, Segmenter, SegmentOptions, make_options
from nansurfer.pipeline import bench as module
from nansurfer.pipeline.bench import TECHNIQUES, bench, find_techniques
from nansurfer.pipeline.outputs import alone_in
from nansurfer.report import SkipReport, ViewSkips
from nansurfer.report.bench import BenchRow

CUBE = (256, 256, 256)
ALL = ["dense", "cropped", "folded", "masked", "kernels", "background", "brain"]


class Machine:
    """What a segmentation finds at once in these tests, and how long it claims to take.

    Dense labels are a block of 12 slices of 16 voxels; with background NaN 3 of these slices have no label. Dense
    takes 8 s, 10 s and then 100 s in the networks, with background NaN each is a quarter.
    """

    def __init__(self) -> None:
        self.runs: list[SegmentOptions] = []
        self.has_brain = True

    def segment(self, options: SegmentOptions) -> SegmentationResult:
        self.runs.append(options)
        if not self.has_brain and not options.force:
            raise NoBrainError("No brain was found.")
        skipping = options.skip.nan == "background"
        labels = np.zeros(CUBE, np.int16)
        labels[2:6, 2:6, 3 if skipping else 0 : 12] = 2
        repeat = sum(run == options for run in self.runs) - 1
        network_s = (8.0, 10.0, 100.0)[repeat] / (4 if skipping else 1)
        return SegmentationResult(
            conformed=nib.MGHImage(np.zeros(CUBE, np.uint8), np.eye(4)),
            labels=labels,
            mask=np.zeros(CUBE, np.uint8),
            aseg=np.zeros(CUBE, np.uint8),
            stats=[],
            brain_volume_ml=0.0,
            folder=None,
            timings_s={"Conforming": 2.0, "Running the network": network_s},
            skip_report=skip_report(1.0 if skipping else 0.0) if options.report else None,
        )


def skip_report(share: float) -> SkipReport:
    """Of two slices with 100 million windows of 10 multiply-adds, this share of the first was skipped."""
    view = ViewSkips(
        view="axial",
        layers=("inp_block.conv0",),
        macs_per_window=np.array([10]),
        windows=np.array([10**8]),
        skipped=np.array([[int(share * 10**8), 0]]),
        mixed=np.array([[0, 0]]),
        computed=np.array([True, True]),
        tiles=np.zeros((2, 1, 1), np.float32),
    )
    return SkipReport("", {}, {}, (view,), {"counting_s": 0.5}, (), "fast")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Every process is this one, and holds a gigabyte at most."""
    machine = Machine()
    monkeypatch.setattr(Segmenter, "segment", lambda self, path: machine.segment(self.options))
    monkeypatch.setattr(module, "in_fresh_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(module, "peak_memory_mb", lambda: 1000)
    monkeypatch.setattr(module, "fast_kernels_available", lambda: True)
    return machine


@pytest.fixture
def run(machine: Machine, blob_path: Path, tmp_path: Path, tiny_weights: Path) -> Callable[..., list[BenchRow]]:
    def start(*names: str, path: Path = blob_path, **choices) -> list[BenchRow]:
        choices = {"weights": str(tiny_weights), "threads": 1, **choices}
        return bench(path, tmp_path / "bench", find_techniques(names), **choices)

    return start


class TestTechniques:
    def test_all(self) -> None:
        assert [technique.name for technique in find_techniques()] == ALL

    def test_in_their_order_and_dense_in_any_case(self) -> None:
        assert [technique.name for technique in find_techniques(["kernels", "cropped"])] == [
            "dense",
            "cropped",
            "kernels",
        ]
        assert [technique.name for technique in find_techniques(["dense"])] == ["dense"]

    def test_unknown(self) -> None:
        with pytest.raises(
            ConfigError, match=r"no row 'fast'; choose from dense, cropped, folded, masked, kernels, background"
        ):
            find_techniques(["dense", "fast"])

    @pytest.mark.parametrize("technique", TECHNIQUES, ids=ALL)
    def test_choices_make_sense(self, technique) -> None:
        assert make_options(device="cpu", **technique.choices).compute.engine == technique.choices["engine"]


def test_figures(run) -> None:
    dense, background = run("background", repeats=3)
    assert dense == BenchRow(
        name="dense",
        technique="every slice, as FastSurfer",
        network_s=10.0,
        network_min_s=8.0,
        network_max_s=100.0,
        total_s=12.0,
        speedup=1.0,
        gflop=4.0,
        gflop_per_s=0.4,
        mac_skip_ratio=0.0,
        peak_memory_mb=1000,
        dice_whole=1.0,
        dice_mean=1.0,
    )
    assert background == replace(
        dense,
        name="background",
        technique="background NaN",
        network_s=2.5,
        network_min_s=2.0,
        network_max_s=25.0,
        total_s=4.5,
        speedup=4.0,
        gflop=2.0,
        gflop_per_s=0.8,
        mac_skip_ratio=0.5,
        dice_whole=pytest.approx(2 * 9 / (9 + 12)),
        dice_mean=pytest.approx(2 * 9 / (9 + 12)),
    )


def test_techniques_take_turns_and_only_the_first_run_counts(run, machine: Machine) -> None:
    told: list[str] = []

    class Listener(Progress):
        def run(self, description: str) -> None:
            told.append(description)

    run("folded", repeats=2, progress=Listener())
    assert told == [
        f"{what}: {name}" for what in ("Counting", "Repeat 1 of 2", "Repeat 2 of 2") for name in ("dense", "folded")
    ]
    assert [options.fastsurfer_compat for options in machine.runs] == 3 * [True, False]
    assert [options.report for options in machine.runs] == 2 * [True] + 4 * [False]


def test_files(run, tmp_path: Path) -> None:
    rows = run(repeats=1, views=("axial", "sagittal"))
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {"bench.csv", "conformed.mgz", "dense.mgz"}
    with (tmp_path / "bench" / "bench.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [row["name"] for row in written] == [row.name for row in rows] == ALL
    for row in written:
        assert (row["image"], row["views"], row["repeats"]) == ("blob.mgz", "axial sagittal", "1")
        assert (row["device"], row["threads"]) == ("cpu", "1")
        assert {"commit", "nansurfer_version", "torch_version", "processor"} <= set(row)
    assert written[-1]["mac_skip_ratio"] == "0.5"


class TestWhatIsToldBeforeTheWork:
    def test_another_benchmark_in_the_folder(self, run, machine: Machine, tmp_path: Path) -> None:
        with alone_in(tmp_path / "bench"), pytest.raises(BusyError, match="Another run is at work on"):
            run()
        assert machine.runs == []
        assert not (tmp_path / "bench").exists()

    def test_no_input(self, run, machine: Machine) -> None:
        with pytest.raises(InputNotFoundError):
            run(path=Path("nobody.mgz"))
        assert machine.runs == []

    def test_no_weights(self, run, machine: Machine, tmp_path: Path) -> None:
        with pytest.raises(WeightsError):
            run(weights=str(tmp_path / "nothing"))
        assert machine.runs == []

    def test_no_kernels(self, run, machine: Machine, monkeypatch) -> None:
        monkeypatch.setattr(module, "fast_kernels_available", lambda: False)
        with pytest.raises(DeviceError, match="which kernels, background, brain need; choose other rows"):
            run()
        assert machine.runs == []
        assert len(run("folded", repeats=1)) == 2

    def test_no_repeats(self, run, machine: Machine) -> None:
        with pytest.raises(ConfigError, match="repeats is 0; it must be at least 1"):
            run(repeats=0)
        assert machine.runs == []


def test_without_a_brain_in_the_dense_run(run, machine: Machine) -> None:
    machine.has_brain = False
    with pytest.raises(NoBrainError):
        run(repeats=1)
    assert len(machine.runs) == 1
