"""``nansurfer segment`` from the first log line to the closing table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nansurfer.cli.display import LiveProgress, LoggedProgress


@pytest.fixture
def segment(nansurfer, tiny_weights: Path, instant_network: np.ndarray, blob_path: Path, tmp_path: Path):
    """Run ``nansurfer segment`` on a small input, into ``tmp_path``."""

    def run(*arguments: object):
        return nansurfer("segment", blob_path, "-o", tmp_path, "--weights", tiny_weights, *arguments)

    return run


def test_a_run_tells_its_stages_and_ends_with_a_table(segment, tmp_path: Path) -> None:
    done = segment("--device", "cpu", "--engine", "reference")
    assert done.exit_code == 0
    lines = done.err.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO ", line) for line in lines)
    assert [line.split(" INFO ")[1] for line in lines] == [
        "Reading",
        "Conforming",
        "Finding the head",
        "Loading weights",
        "Engine: reference, on cpu.",
        "Running the network",
        "Labelling",
        "Writing",
    ]
    assert "\x1b" not in done.out + done.err
    for text in (
        str(tmp_path / "blob"),
        "mri/aparc.DKTatlas+aseg.deep.mgz",
        "mri/mask.mgz",
        "qc/segmentation.png",
        "stats/aseg+DKT.stats",
        "stats/volumes.csv",
        "nansurfer.json",
        "report/skip_report.html",
        "multiply-adds skipped",
        "reference, on cpu",
        "brain",
        "884.7 ml",
        "Left-Cerebral-White-Matter",
        "442.37 ml",
        "Writing",
        "total",
    ):
        assert text in done.out
    assert (tmp_path / "blob" / "nansurfer.json").is_file()


def test_paths_are_whole_on_a_narrow_terminal(segment, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    cells = [line.split("│")[2].strip() for line in segment().out.splitlines() if line.count("│") == 3]
    assert "…" not in "".join(cells)
    assert "mri/aparc.DKTatlas+aseg.deep.mgz" in "".join(cells)


def test_quiet_is_silent_and_options_are_recorded(segment, tmp_path: Path) -> None:
    done = segment(
        "--quiet", "--sid", "s 1", "--views", "axial, sagittal", "--vox-size", "1", "--threads", "1", "--device", "cpu"
    )
    assert (done.exit_code, done.out, done.err) == (0, "", "")
    options = json.loads((tmp_path / "s 1" / "nansurfer.json").read_text())["options"]
    assert (options["views"], options["vox_size"]) == (["axial", "sagittal"], 1.0)
    assert (options["compute"]["threads"], options["compute"]["device"]) == (1, "cpu")


def test_quiet_still_warns(segment, instant_network: np.ndarray) -> None:
    instant_network[:, :110] = 0
    done = segment("-q")
    assert done.exit_code == 0
    assert "WARNING Only 608 ml of brain were labelled" in done.err


def test_a_finished_subject_is_not_done_again(segment, monkeypatch, tmp_path: Path) -> None:
    assert segment("-q").exit_code == 0
    record = tmp_path / "blob" / "nansurfer.json"
    before = record.read_text()
    monkeypatch.setattr("nansurfer.pipeline.Segmenter", None)
    done = segment()
    assert done.exit_code == 0
    assert f"{tmp_path / 'blob'} is finished already; use --overwrite to do it again." in done.err
    assert record.read_text() == before
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--views", "axial"], "views axial,coronal,sagittal instead of axial"),
        (["--native"], "native False instead of True"),
        (["--nan", "off"], "nan auto instead of off"),
        (["--threshold", "0.75", "--vox-size", "1"], "vox_size min instead of 1.0, threshold None instead of 0.75"),
    ],
)
def test_a_finished_subject_with_other_options_is_a_warning(segment, tmp_path: Path, arguments, said) -> None:
    assert segment("-q").exit_code == 0
    done = segment("-q", *arguments)
    assert done.exit_code == 0
    assert done.err.endswith(
        f"{tmp_path / 'blob'} is finished already, but with {said}; use --overwrite to do it again.\n"
    )
    assert segment("-q", "--threads", "1", "--batch-size", "2", "--no-report", "--force").err == ""


def test_another_programs_files_are_not_replaced(segment, tmp_path: Path) -> None:
    theirs = tmp_path / "blob" / "mri" / "orig" / "001.mgz"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("raw data")
    done = segment()
    assert done.exit_code == 8
    assert f"{tmp_path / 'blob'} holds mri/orig/001.mgz but no nansurfer.json" in done.err
    assert [path for path in (tmp_path / "blob").rglob("*") if path.is_file()] == [theirs]
    assert theirs.read_text() == "raw data"
    assert segment("-q", "--overwrite").exit_code == 0
    assert theirs.stat().st_size > 100


def test_unless_asked_for(segment, tmp_path: Path) -> None:
    record = tmp_path / "blob" / "nansurfer.json"
    record.parent.mkdir()
    record.write_text("an old record")
    assert segment("-q", "--overwrite").exit_code == 0
    assert json.loads(record.read_text())["record_version"] == 1


def test_a_log_file_is_appended_to(segment, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("before\n")
    assert segment("-q", "--log-file", log).exit_code == 0
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1].endswith("INFO Reading")
    assert lines[-1].endswith("INFO Writing")


class TestProgress:
    @staticmethod
    def run(progress: LoggedProgress) -> None:
        with progress:
            progress.stage("Running the network")
            progress.view("coronal", 4)
            progress.advance(3)
            progress.advance(1)
            progress.view("axial", 2)
            progress.advance(1)

    def test_log_lines(self, caplog) -> None:
        with caplog.at_level("INFO", "nansurfer"):
            self.run(LoggedProgress())
        stage, coronal = (record.getMessage() for record in caplog.records)
        assert stage == "Running the network"
        assert re.fullmatch(r"coronal: 4 slices, \d+\.\d slices/s", coronal)

    def test_bars_on_a_terminal(self, caplog) -> None:
        console = Console(force_terminal=True, width=120, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
        with caplog.at_level("INFO", "nansurfer"):
            self.run(LiveProgress(console))
        console.file.close()
        text = console.export_text()
        assert re.search(r"coronal .* 4/4 .*slices/s 0:00:00", text)
        assert re.search(r"axial .* 1/2", text)
        assert [record.getMessage() for record in caplog.records] == ["Running the network"]


def test_a_terminal_gets_bars(segment, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    done = segment("--log-file", tmp_path / "run.log")
    assert done.exit_code == 0
    assert "\x1b[" in done.err
    assert "Labelling" in done.err
    assert "INFO Labelling" in (tmp_path / "run.log").read_text()
