"""The command itself: help, version, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

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
