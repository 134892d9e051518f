"""The shell script over a folder, with a nansurfer that only notes how it was called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "batch.sh"

STAND_IN = """#!/bin/bash
printf '%s|' "$@" >>"$CALLS/$$"
case ${!#} in
  *damaged*) echo 'it is damaged' >&2; exit 4 ;;
  *killed*) kill -9 $$ ;;
esac
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of images, and beside it what stands in for nansurfer."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nansurfer").write_text(STAND_IN)
    (tmp_path / "bin" / "nansurfer").chmod(0o755)
    (tmp_path / "calls").mkdir()
    images = tmp_path / "in put"
    images.mkdir()
    for name in ("a b.mgz", "c.NII.GZ", "notes.txt", ".hidden.mgz"):
        (images / name).touch()
    (images / "-d'$x.nii").symlink_to("nowhere")
    return images


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PATH": f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(folder.parent / "calls"),
    }
    command = ["bash", SCRIPT, folder.name, "o ut", *arguments]
    return subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True)


def calls(folder: Path) -> list[list[str]]:
    return sorted(path.read_text().split("|")[:-1] for path in (folder.parent / "calls").iterdir())


def test_every_image_is_segmented_whatever_its_name(folder):
    answer = run(folder, "--jobs", "2", "--views", "coronal")
    assert (answer.returncode, answer.stderr) == (0, "")
    images = ["-d'$x.nii", "a b.mgz", "c.NII.GZ"]
    assert sorted(answer.stdout.splitlines()) == [f"done: in put/{name}" for name in images]
    assert [call[-1] for call in calls(folder)] == [f"in put/{name}" for name in images]
    threads = str(max(1, (os.cpu_count() or 1) // 2))
    for call in calls(folder):
        assert call[:-1] == [
            *("segment", "--quiet", "--output-dir", "o ut", "--threads", threads, "--views", "coronal"),
        ]


@pytest.mark.parametrize(("name", "code"), [("damaged.mgz", 4), ("killed.mgz", 137)])
def test_one_that_fails_does_not_stop_the_others(folder, name, code):
    (folder / name).touch()
    answer = run(folder, "--jobs", "1")
    assert answer.returncode == 1
    assert len(answer.stdout.splitlines()) == 3
    assert f"failed with {code}: in put/{name}" in answer.stderr
    assert "not all of the 4 images were segmented" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--jobs", "0"), "--jobs is '0'"),
        (("--jobs",), "--jobs is ''"),
        (("--jobs", "many"), "--jobs is 'many'"),
    ],
)
def test_a_number_of_jobs_that_makes_no_sense(folder, arguments, said):
    answer = run(folder, *arguments)
    assert answer.returncode == 1
    assert said in answer.stderr
    assert calls(folder) == []


def test_a_folder_without_images_is_an_error(folder):
    for path in folder.iterdir():
        path.unlink()
    answer = run(folder)
    assert answer.returncode == 1
    assert "in put holds no image" in answer.stderr
