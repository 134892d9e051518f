"""``nansurfer sweep``: thresholds as text, files, table, and how it ends when it cannot."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console

from nansurfer.cli.display import LiveProgress
from nansurfer.cli.sweep import parse_thresholds


@pytest.fixture
def sweep(nansurfer, tiny_weights: Path, instant_network, blob_path: Path, tmp_path: Path, monkeypatch):
    """Run ``nansurfer sweep`` on a small input into ``tmp_path / "out"``, where every stage takes a second."""
    seconds = itertools.count()
    monkeypatch.setattr("nansurfer.pipeline.record.perf_counter", lambda: float(next(seconds)))

    def run(*arguments: object):
        return nansurfer("sweep", blob_path, "-o", tmp_path / "out", "--weights", tiny_weights, *arguments)

    return run


def rows_of(text: str) -> list[str]:
    """The lines, with one space between words."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_table_fits_a_narrow_terminal(sweep, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "…" not in sweep("--thresholds", "1", "--nan", "conservative", "--no-plot").out


def test_bars_make_room_for_the_next_run() -> None:
    console = Console(force_terminal=True, file=io.StringIO())
    with LiveProgress(console) as progress:
        for run in ("dense", "background"):
            progress.run(run)
            progress.view(f"view of {run}", 2)
            progress.advance(2)
        assert [task.description for task in progress._bars.tasks] == ["view of background"]


class TestThresholds:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("0.3:1.0:0.1", (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
            ("0.5,0.75,1", (0.5, 0.75, 1.0)),
            ("1, 0.5 ,0.5", (0.5, 1.0)),
            ("0.5", (0.5,)),
            ("0.5:0.5:0.1", (0.5,)),
            ("0.3:0.95:0.3", (0.3, 0.6, 0.9)),
            ("0.1:0.2:0.1,1", (0.1, 0.2, 1.0)),
            ("0.01:1:0.01", tuple(n / 100 for n in range(1, 101))),
        ],
    )
    def test_good(self, text, expected) -> None:
        assert parse_thresholds(text) == expected

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("0", "0 cannot be a threshold; these lie above 0 and at most at 1"),
            ("0.5,1.01", "1.01 cannot be a threshold"),
            ("-0.5:1:0.1", "-0.5 cannot be a threshold"),
            ("0:1:0.1", "0 cannot be a threshold"),
            ("0.5:2:0.5", "2 cannot be a threshold"),
            ("0.5:1:0", "the range '0.5:1:0' is empty; STEP must be above 0, and STOP not below START"),
            ("0.5:1:-0.1", "is empty"),
            ("1:0.5:0.1", "is empty"),
            ("0.1:1:1e-9", "holds more than 100 thresholds; choose a larger STEP"),
            ("0.1:1:1e-999999999", "holds more than 100 thresholds"),
            ("", "'' is neither a number nor START:STOP:STEP, such as 0.3:1.0:0.1"),
            ("0.5,,1", "'' is neither a number"),
            ("0.5:1", "'0.5:1' is neither"),
            ("0.5:1:0.1:2", "is neither"),
            ("a half", "'a half' is neither"),
            ("nan", "'nan' is neither"),
            ("0.5:inf:0.1", "is neither"),
        ],
    )
    def test_bad(self, text, sentence) -> None:
        with pytest.raises(typer.BadParameter) as raised:
            parse_thresholds(text)
        assert sentence in str(raised.value)

    def test_exit_code(self, nansurfer) -> None:
        done = nansurfer("sweep", "a.mgz", "--thresholds", "0.5:1:0")
        assert (done.exit_code, done.out) == (2, "")
        assert "Invalid value for --thresholds: the range '0.5:1:0' is empty" in done.err


def test_a_sweep_ends_with_a_table_and_files(sweep, tmp_path: Path) -> None:
    options = ["--thresholds", "0.5,1", "--nan", "aggressive, background", "--margin", "3", "--pool-margin", "4"]
    done = sweep(*options, "--engine", "reference")
    assert done.exit_code == 0
    runs = [line.split(" INFO ")[1] for line in done.err.splitlines() if "Run " in line]
    assert runs == [
        "Run 1 of 5: dense",
        "Run 2 of 5: aggressive at threshold 0.5",
        "Run 3 of 5: aggressive at threshold 1",
        "Run 4 of 5: background at threshold 0.5",
        "Run 5 of 5: background at threshold 1",
    ]
    rows = rows_of(done.out)
    assert rows[0] == str(tmp_path / "out")
    assert rows[2] == "mode threshold fill margin skipped % time s time % Dice"
    assert rows[4:] == [
        "dense - - - 99.8 1.0 100.0 1.000000",
        "aggressive 0.5 mean - 99.8 1.0 100.0 1.000000",
        "aggressive 1 mean - 99.8 1.0 100.0 1.000000",
        "background 0.5 blank 3 99.8 1.0 100.0 1.000000",
        "background 1 blank 3 99.8 1.0 100.0 1.000000",
        "",
    ]
    record = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert [row["pool_margin"] for row in record["rows"]] == [None, None, None, 4, 4]
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"sweep.csv", "sweep.json", "sweep.png", "sweep.svg", "dense.mgz"}
    assert "blob.mgz, weights weights" in (tmp_path / "out" / "sweep.svg").read_text(encoding="utf-8")


def test_times_of_different_engines_are_told_apart(sweep) -> None:
    from nansurfer.engine import fast_kernels_available

    if not fast_kernels_available():
        pytest.skip("installed without compiled kernels")
    done = sweep("--thresholds", "0.5", "--nan", "aggressive", "--views", "axial", "--device", "cpu", "--no-plot")
    assert "The runs used different engines" in done.out
    dense, aggressive = rows_of(done.out)[4:6]
    assert dense.startswith("dense - - - ")
    assert dense.split()[-2] == "100.0"
    assert aggressive.startswith("aggressive 0.5 mean - ")
    assert aggressive.split()[-2] == "-"


def test_options_reach_the_runs_and_it_goes_on(sweep, tmp_path: Path) -> None:
    options = [
        "--thresholds",
        "1",
        "--views",
        "axial, sagittal",
        "--vox-size",
        "1",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    done = sweep("-q", "--no-plot", *options)
    assert (done.exit_code, done.out, done.err) == (0, "", "")
    record = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert record["options"] | {"views": ["axial", "sagittal"], "vox_size": 1.0} == record["options"]
    assert (record["machine"]["threads"], record["machine"]["device"]) == (1, "cpu")
    assert not (tmp_path / "out" / "sweep.png").exists()

    again = sweep(*options)
    assert again.exit_code == 0
    assert "Run " not in again.err
    assert (tmp_path / "out" / "sweep.png").exists()

    other = sweep("--thresholds", "1", "--vox-size", "1")
    assert other.exit_code == 8
    assert "holds a sweep made with other" in other.err


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (["--nan", "off"], 12, "'off' is the dense run"),
        (["--nan", "nonsense"], 12, "nan is 'nonsense'; choose one of"),
        (["--nan", "aggressive", "--margin", "3"], 12, "margin has no say"),
        (["--fill", "nonsense"], 12, "nonsense"),
        (["--vox-size", "x"], 2, "neither 'min' nor a number"),
    ],
)
def test_what_cannot_be(sweep, tmp_path: Path, arguments, exit_code, sentence) -> None:
    done = sweep(*arguments)
    assert (done.exit_code, done.out) == (exit_code, "")
    assert sentence in done.err
    assert not (tmp_path / "out").exists()


def test_no_input(nansurfer, tmp_path: Path) -> None:
    done = nansurfer("sweep", tmp_path / "nobody.mgz", "-o", tmp_path / "out")
    assert done.exit_code == 3
    assert not (tmp_path / "out").exists()


def test_a_missing_matplotlib_is_told_before_the_work(sweep, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("nansurfer.report.plot.find_spec", lambda name: None)
    done = sweep("--thresholds", "1")
    assert done.exit_code == 12
    assert done.err == (
        "nansurfer: The plot needs matplotlib, which is missing: pip install 'nansurfer[plot]', "
        "or do without by --no-plot.\n"
    )
    assert not (tmp_path / "out").exists()
    assert sweep("--thresholds", "1", "--no-plot", "-q").exit_code == 0


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from nansurfer.cli import app; app(['sweep', '--help'], standalone_mode=False);"
        "print({'torch', 'numpy', 'nibabel', 'scipy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "--thresholds" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"
