"""Shared fixtures: where the real volumes are, if they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT_DATA_DIR = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with the real T1s and labels; tests that need it are skipped where it is absent.

    ``NANSURFER_TEST_DATA`` points to it; without that, ``shared/data`` beside the checkout.
    """
    path = Path(os.environ.get("NANSURFER_TEST_DATA", _DEFAULT_DATA_DIR))
    if not path.is_dir():
        pytest.skip(f"no real volumes at {path} (set NANSURFER_TEST_DATA)")
    return path
