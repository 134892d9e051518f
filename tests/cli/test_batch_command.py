"""``nansurfer batch``: what it says, writes and exits with. Its workers are real processes."""

from __future__ import annotations

import importlib
import inspect
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from nansurfer.batch import Plan, Subject
from nansurfer.batch.worker import failure
from nansurfer.cli.batch_display import LiveBatch, LoggedBatch, plan_in_words
from nansurfer.cli.options import segment_choices, with_segment_choices

QUICK = ("--views", "coronal", "--force", "--no-report", "--device", "cpu", "--jobs", "1")


@pytest.fixture
def images(blob_path: Path, tmp_path: Path) -> Path:
    """A folder with an image and a damaged one."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "good.mgz").symlink_to(blob_path)
    (folder / "bad.mgz").write_bytes(blob_path.read_bytes()[:1000])
    return folder


def test_a_batch_and_the_same_again(nansurfer, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = nansurfer("batch", images, "-o", out, *QUICK)
    assert done.exit_code == 13
    assert done.out == ""
    said = [line.partition(" ")[2].partition(" ")[2] for line in done.err.splitlines()]
    assert said[0] == "INFO 2 subjects to do, 0 finished; one at a time, each with " + said[0].partition("with ")[2]
    assert f"ERROR bad failed after 0.0 s: {images / 'bad.mgz'} is not an image we can read" in done.err
    assert "INFO good done in " in done.err
    assert said[-2] == f"INFO 1 done, 1 failed: see {out / 'batch.html'}, and volumes.csv beside it."
    assert done.err.splitlines()[-1] == (
        f"nansurfer: 1 of 2 subjects have no result: {out / 'batch.csv'} says why; the same command does them again."
    )
    assert sorted(path.name for path in out.iterdir()) == [
        "batch.csv",
        "batch.html",
        "batch.jsonl",
        "good",
        "volumes.csv",
    ]

    (images / "bad.mgz").unlink()
    record = (out / "good" / "nansurfer.json").read_text()
    again = nansurfer("batch", images, "-o", out, "--resume", *QUICK)
    assert again.exit_code == 0
    assert "0 subjects to do, 1 finished" in again.err
    assert (out / "good" / "nansurfer.json").read_text() == record


def test_a_dry_run_writes_nothing(nansurfer, images: Path, tmp_path: Path) -> None:
    done = nansurfer("batch", images, "-o", tmp_path / "out", "--dry-run", "--jobs", "1", "--threads", "1")
    assert done.exit_code == 0
    assert done.out.splitlines() == [
        f"to do     bad  {images / 'bad.mgz'}",
        f"to do     good  {images / 'good.mgz'}",
        "2 subjects to do, 0 finished; one at a time, each with one thread and at most 1994 MB.",
    ]
    assert not (tmp_path / "out").exists()


def test_participants(nansurfer, images: Path, tmp_path: Path) -> None:
    done = nansurfer("batch", images, "-o", tmp_path / "out", "--dry-run", "--participant-label", "good")
    assert [line.split()[2] for line in done.out.splitlines()[:-1]] == ["good"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["nothing"], 3, "nothing does not exist"),
        (["a.mgz", "--jobs", "0"], 12, "jobs is 0"),
        (["a.mgz", "--nan", "some"], 12, "nan is 'some'"),
        (["a.mgz", "--weights", "none"], 9, "none"),
        (["a.mgz", "--executor", "cloud"], 2, "cloud"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_is_wrong_for_all(nansurfer, tmp_path: Path, arguments: list[str], exit_code: int, said: str) -> None:
    done = nansurfer("batch", *arguments, "-o", tmp_path / "out")
    assert done.exit_code == exit_code
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_status_is_a_command_of_its_own(nansurfer, tmp_path: Path) -> None:
    assert "batch status" in nansurfer("--help").out
    assert "The batch's folder" in nansurfer("batch", "status", "--help").out
    done = nansurfer("batch", "status", tmp_path)
    assert (done.exit_code, done.err.startswith(f"nansurfer: {tmp_path} holds no batch")) == (3, True)


def test_every_option_of_segment_is_one_of_batch() -> None:
    def options_of(name: str) -> set[str]:
        command = getattr(importlib.import_module(f"nansurfer.cli.{name}"), name)
        return set(inspect.signature(command).parameters)

    assert options_of("segment") - options_of("batch") == {"image", "sid"}


def test_shared_options_stand_where_the_command_asks_for_them() -> None:
    seen = {}

    @with_segment_choices
    def command(first: int, *, choices: dict[str, object], last: int = 3) -> None:
        seen.update(first=first, choices=choices, last=last)

    names = list(inspect.signature(segment_choices).parameters)
    assert list(inspect.signature(command).parameters) == ["first", *names, "last"]
    command(first=1, last=2, **{name: p.default for name, p in inspect.signature(segment_choices).parameters.items()})
    assert (seen["first"], seen["last"]) == (1, 2)
    assert seen["choices"] == segment_choices()
    some = with_segment_choices(command.__wrapped__, only=("views", "margin"))
    assert list(inspect.signature(some).parameters) == ["first", "views", "margin", "last"]
    some(first=1, views="axial, coronal", margin=4)
    assert seen["choices"] == {"views": ("axial", "coronal"), "margin": 4}
    assert {
        "views": ("axial", "coronal", "sagittal"),
        "vox_size": "min",
        "report": True,
    }.items() <= segment_choices().items()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_to_all_its_processes(images: Path, tmp_path: Path, number: signal.Signals) -> None:
    """As a terminal's Ctrl-C and Slurm do."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "nansurfer", "batch", str(images), "-o", str(out), "-q", *QUICK]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not (out / ".good-unfinished").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        subprocess.run(["kill", f"-{number.value}", "--", f"-{process.pid}"], check=True)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "nansurfer: interrupted; nothing unfinished was written."
    assert "Traceback" not in err
    assert sorted(path.name for path in out.iterdir()) == ["batch.csv", "batch.html", "batch.jsonl", "volumes.csv"]
    assert [json.loads(line)["id"] for line in (out / "batch.jsonl").read_text().splitlines()] == ["bad"]


class TestProgress:
    PLAN = Plan(
        todo=(Subject("a", Path("a.mgz")), Subject("b", Path("b.mgz"))), finished=3, jobs=2, threads=1, memory_mb=9
    )

    def run(self, progress: LoggedBatch) -> None:
        with progress:
            progress.begin(self.PLAN)
            for subject in self.PLAN.todo[:1]:
                progress.ended(failure(subject, kind="Killed", sentence="Why.", exit_code=137, seconds=2.0, attempt=1))

    def test_log_lines(self, caplog) -> None:
        with caplog.at_level("INFO", "nansurfer"):
            self.run(LoggedBatch())
        assert [record.getMessage() for record in caplog.records] == [
            "2 subjects to do, 3 finished; 2 at a time, each with one thread and at most 9 MB.",
            "a failed after 2.0 s: Why.",
        ]
        assert plan_in_words(self.PLAN) == caplog.records[0].getMessage()

    def test_a_bar_on_a_terminal(self) -> None:
        console = Console(force_terminal=True, width=120, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
        self.run(LiveBatch(console))
        console.file.close()
        assert "1/2 1 failed" in console.export_text()
