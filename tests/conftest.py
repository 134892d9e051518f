"""Shared fixtures: where the real volumes are, if they are."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from nansurfer.engine import SliceCounts

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_DEFAULT_DATA_DIR = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure() -> None:
    """Let Ctrl-C interrupt, which a shell's background jobs ignore: some tests send it to themselves."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with the real T1s and labels; tests that need it are skipped where it is absent.

    ``NANSURFER_TEST_DATA`` points to it; without that, ``shared/data`` beside the checkout.
    """
    path = Path(os.environ.get("NANSURFER_TEST_DATA", _DEFAULT_DATA_DIR))
    if not path.is_dir():
        pytest.skip(f"no real volumes at {path} (set NANSURFER_TEST_DATA)")
    return path


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., str]:
    """Run a browser without a window; its output. Whatever it complains about in the page fails the test."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(_BROWSERS)} is installed")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")
    command = [found, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]

    def run(*arguments: str) -> str:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=True)
        assert "CONSOLE" not in done.stderr  # where blocked content, errors and warnings end up
        return done.stdout

    return run


@pytest.fixture(scope="session")
def tiny_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the package's configurations and ``tiny``, a network of two filters, and its weights.

    The weights are random, each view's of another seed; they lie in ``weights``.
    """
    import torch

    from nansurfer.models import build_model, config, load_config
    from nansurfer.weights import save_network

    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(config.config_dir(), folder / "configs")
    vinn = (folder / "configs" / "vinn.yaml").read_text()
    tiny = vinn.replace("name: vinn", "name: tiny").replace("filters: 71", "filters: 2")
    (folder / "configs" / "tiny.yaml").write_text(tiny.replace("filters: 32", "filters: 2"))
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(config, "_PACKAGE", folder)
        for seed, view in enumerate(("axial", "coronal", "sagittal")):
            torch.manual_seed(seed)
            network = build_model(load_config("tiny"), view)
            save_network(network, folder / "weights" / f"{view}.safetensors", model="tiny", view=view)
    return folder


@pytest.fixture
def tiny_weights(tiny_package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of weights of a network so small that a whole segmentation takes seconds."""
    monkeypatch.setattr("nansurfer.models.config._PACKAGE", tiny_package)
    return tiny_package / "weights"


@pytest.fixture(scope="session")
def blob_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conformed T1 whose head is a cube of 48 voxels of noise, so that few slices are computed."""
    import nibabel as nib

    data = np.zeros((256, 256, 256), np.uint8)
    data[100:148, 90:138, 110:158] = np.random.default_rng(0).integers(80, 200, (48, 48, 48))
    affine = np.array([[-1.0, 0, 0, 128], [0, 0, 1, -128], [0, -1, 0, 128], [0, 0, 0, 1]])
    path = tmp_path_factory.mktemp("input") / "blob.mgz"
    nib.MGHImage(data, affine).to_filename(path)
    return path


@pytest.fixture
def instant_network(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The classes (X, Y, Z) that every segmentation of this test finds at once: a brain of 884 ml."""
    classes = np.zeros((256, 256, 256), np.uint8)
    classes[80:128, 80:176, 80:176] = 19  # right white matter; LIA, so right comes first
    classes[128:176, 80:176, 80:176] = 1
    classes[100:110, 80:176, 80:90] = 35  # caudal middle frontal, of which the network does not know the side

    def aggregate_views(scene, models, progress, *, nan_wins, on_counts, restrict):
        for view in models if on_counts else ():
            on_counts(view, 100, 256, _half_skipped())
        return classes

    segment = importlib.import_module("nansurfer.pipeline.segment")
    monkeypatch.setattr(segment, "aggregate_views", aggregate_views)
    return classes


def _half_skipped() -> SliceCounts:
    """Of one slice, half of a layer a block was skipped."""
    from nansurfer.engine import SliceCounts

    ways = [f"{way}{level}" for way, levels in (("encode", "1234"), ("decode", "4321")) for level in levels]
    blocks = ["inp_block", *ways[:4], "bottleneck", *ways[4:], "outp_block", "classifier"]
    ones = np.ones(len(blocks), np.int64)
    return SliceCounts(
        layers=tuple(f"{block}.conv" for block in blocks),
        macs_per_window=10 * ones,
        windows=100 * ones,
        skipped=50 * ones[:, None],
        mixed=0 * ones[:, None],
        computed=np.ones(1, bool),
        tiles=np.full((1, 16, 16), 0.5, np.float32),
    )
