"""The command itself: help, version, exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import nansurfer as package
from nansurfer import errors


def test_version(nansurfer) -> None:
    done = nansurfer("--version")
    assert (done.exit_code, done.out) == (0, f"nansurfer {package.__version__}\n")


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "nansurfer", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"nansurfer {package.__version__}\n"


def test_help_lists_the_commands(nansurfer) -> None:
    done = nansurfer("--help")
    assert done.exit_code == 0
    for text in ("segment", "compare", "sweep", "weights", "example", "--install-completion", "Exit codes"):
        assert text in done.out


def test_help_of_segment_lists_the_options(nansurfer) -> None:
    done = nansurfer("segment", "--help")
    assert done.exit_code == 0
    options = (
        "--output-dir --sid --weights --views --vox-size --device --precision --threads --batch-size --native "
        "--overwrite --force --fastsurfer-compat --quiet --verbose --log-file"
    )
    for option in options.split():
        assert option in done.out


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from nansurfer.cli import app; app(['segment', '--help'], standalone_mode=False);"
        "print({'torch', 'numpy', 'nibabel', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


ARGUMENTS = {
    "segment": "INPUT",
    "batch": "INPUT ...",
    "batch status": "DIR",
    "bids": "BIDS_DIR OUTPUT_DIR participant|group",
    "compare": "A B",
    "sweep": "INPUT",
    "bench": "INPUT",
    "example": "",
    "weights list": "",
    "weights download": "NAME",
    "weights verify": "NAME_OR_DIR",
    "weights import": "FILE ...",
    "weights path": "NAME_OR_DIR",
    "weights export": "NAME_OR_DIR",
}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_usage_names_the_arguments(nansurfer, command) -> None:
    done = nansurfer(*command.split(), "--help")
    [usage] = re.findall(rf"Usage: [^\[]* {command} (.*?)\n *\n", done.out, re.DOTALL)
    arguments = re.sub(r"[{}\[\]]", "", usage.replace("...", " ...")).split()  # brackets mark what is required
    assert arguments == ["OPTIONS", *ARGUMENTS[command].split()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell) -> None:
    environment = os.environ | {"_NANSURFER_COMPLETE": f"source_{shell}"}
    code = "from nansurfer.cli import app; app(prog_name='nansurfer')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0
    assert "_NANSURFER_COMPLETE" in done.stdout


@pytest.mark.parametrize("arguments", [["segment"], ["segment", "a.mgz", "--colour"], ["nonsense"]])
def test_wrong_use_is_2(nansurfer, arguments) -> None:
    done = nansurfer(*arguments)
    assert done.exit_code == 2
    assert done.err.startswith("Usage: ")


def stub_segment(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(**choices: object) -> None:
        raise error

    monkeypatch.setattr("nansurfer.pipeline.make_options", fail)


@pytest.mark.parametrize(
    "kind",
    [
        errors.InputNotFoundError,
        errors.InputFormatError,
        errors.InputGeometryError,
        errors.InputIntensityError,
        errors.NoBrainError,
        errors.OutputError,
        errors.WeightsError,
        errors.DownloadError,
        errors.DeviceError,
        errors.ConfigError,
    ],
)
def test_an_error_is_a_sentence_and_its_exit_code(nansurfer, monkeypatch, kind) -> None:
    stub_segment(monkeypatch, kind("What was found; what to do."))
    done = nansurfer("segment", "a.mgz")
    assert done.exit_code == kind.exit_code
    assert done.err == "nansurfer: What was found; what to do.\n"
    assert done.out == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_what_is_printed_finds_no_room() -> None:
    command = [sys.executable, "-m", "nansurfer", "--version"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    sentence = "The disk is full: standard output could not be written; free some space or choose another folder."
    assert (done.returncode, done.stderr) == (8, f"nansurfer: {sentence}\n")


def test_verbose_shows_where_it_comes_from(nansurfer, monkeypatch) -> None:
    stub_segment(monkeypatch, errors.ConfigError("No."))
    done = nansurfer("segment", "a.mgz", "--verbose")
    assert done.exit_code == 12
    assert "Traceback (most recent call last)" in done.err
    assert done.err.endswith("\nnansurfer: No.\n")


def test_the_log_file_holds_the_traceback_anyway(nansurfer, monkeypatch, tmp_path) -> None:
    stub_segment(monkeypatch, errors.ConfigError("No."))
    done = nansurfer("segment", "a.mgz", "--log-file", tmp_path / "logs" / "run.log")
    assert "Traceback" not in done.err
    assert "Traceback" in (tmp_path / "logs" / "run.log").read_text()


def test_a_bug_is_no_sentence(monkeypatch, nansurfer) -> None:
    stub_segment(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        nansurfer("segment", "a.mgz")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_130(nansurfer, monkeypatch, number) -> None:
    monkeypatch.setattr("nansurfer.pipeline.make_options", lambda **choices: signal.raise_signal(number))
    done = nansurfer("segment", "a.mgz")
    assert (done.exit_code, done.err) == (130, "nansurfer: interrupted; nothing unfinished was written.\n")
