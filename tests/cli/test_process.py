"""A run in a process of its own, and what is left when it is stopped."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nansurfer.models import build_model, load_config
from nansurfer.volume import VIEWS
from nansurfer.weights import save_network

STARTED = "Running the network"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a network that a process of its own knows too."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        for view in VIEWS:
            network = build_model(load_config("vinn-compact"), view)
            save_network(network, folder / f"{view}.safetensors", model="vinn-compact", view=view)
    return folder


@pytest.fixture
def running(weights: Path, blob_path: Path, tmp_path: Path):
    """A process that has begun to compute, into ``tmp_path / "out"``."""
    arguments = ["segment", blob_path, "-o", tmp_path / "out", "--weights", weights, "--threads", "1"]
    command = [sys.executable, "-m", "nansurfer", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while STARTED not in (line := process.stderr.readline()):
            assert line, "the process ended too early"
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal(running: subprocess.Popen, tmp_path: Path, number) -> None:
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.endswith("nansurfer: interrupted; nothing unfinished was written.\n")
    assert "Traceback" not in err
    assert list((tmp_path / "out").iterdir()) == []


def test_killed(running: subprocess.Popen, tmp_path: Path) -> None:
    running.kill()
    running.communicate(timeout=60)
    remains = list((tmp_path / "out").iterdir())
    assert all(path.name.startswith(".blob-") for path in remains)  # nothing that looks like a subject


def test_a_small_disk(weights: Path, tmp_path: Path, blob_path: Path) -> None:
    """A real file system that is full: the run ends with its sentence."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if mount is None or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        code = (
            "import sys, numpy as np; from pathlib import Path; import nibabel as nib;"
            "from nansurfer.volume import save_image;"
            "noise = np.random.default_rng(0).integers(0, 255, (64, 64, 64)).astype(np.uint8);"
            "save_image(nib.MGHImage(noise, np.eye(4)), Path(sys.argv[1]) / 'a.mgz')"
        )
        command = [sys.executable, "-c", code, str(disk)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "OutputError: The disk is full" in done.stderr
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
