"""Commit, versions and machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nansurfer.pipeline import provenance as module
from nansurfer.pipeline.provenance import commit, processor, provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one commit, from which the package seems to run."""
    (tmp_path / "file").write_text("a")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)
    monkeypatch.setattr(module, "_CHECKOUT", tmp_path)
    return tmp_path


def test_a_clean_checkout_and_a_changed_one(checkout: Path) -> None:
    clean = commit()
    assert len(clean) >= 7
    assert not clean.endswith("+")
    (checkout / "file").write_text("b")
    assert commit() == clean + "+"


def test_installed_inside_another_checkout(checkout: Path, monkeypatch) -> None:
    (checkout / "site-packages").mkdir()
    monkeypatch.setattr(module, "_CHECKOUT", checkout / "site-packages")
    assert commit() == ""


def test_without_git(checkout: Path, monkeypatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert commit() == ""


def test_the_processor(tmp_path: Path, monkeypatch) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(module, "_CPU_INFO", info)
    assert processor()  # where there is no such file
    info.write_text("processor : 0\nmodel name\t: A Processor: 3000\nprocessor : 1\nmodel name\t: B\n")
    assert processor() == "A Processor: 3000"


def test_columns() -> None:
    names = set(provenance())
    assert {"commit", "nansurfer_version", "python_version", "torch_version", "system", "processor"} <= names
