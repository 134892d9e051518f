"""What ``import nansurfer`` offers, and what it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import nansurfer
from nansurfer import errors
from nansurfer.engine import fast_kernels_available

ERRORS = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, errors.NansurferError)]


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import nansurfer", "import nansurfer.cli"])
def test_importing_loads_nothing_heavy(statement) -> None:
    heavy = {"torch", "numpy", "scipy", "nibabel", "requests", "pooch", "nilearn"}
    assert modules_after(statement) & heavy == set()


@pytest.mark.skipif(not fast_kernels_available(), reason="installed without compiled kernels")
def test_the_kernels_do_without_pytorch(blob_path) -> None:
    statement = f"import nansurfer; nansurfer.segment({str(blob_path)!r}, views=('coronal',), device='cpu', force=True)"
    modules = modules_after(statement)
    assert "scipy" in modules
    assert "torch" not in modules


@pytest.mark.parametrize("name", nansurfer.__all__)
def test_every_name_is_there(name) -> None:
    assert getattr(nansurfer, name) is not None


@pytest.mark.parametrize("name", [name for name in nansurfer.__all__ if not name.startswith("_")])
def test_and_documented(name) -> None:
    assert len(inspect.getdoc(getattr(nansurfer, name)) or "") > 20


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'nansurfer' has no attribute 'nonsense'"):
        nansurfer.nonsense  # noqa: B018


def test_each_kind_of_error_has_its_exit_code() -> None:
    codes = {error.__name__: error.exit_code for error in ERRORS}
    assert codes == {
        "NansurferError": 1,
        "InputNotFoundError": 3,
        "InputFormatError": 4,
        "InputGeometryError": 5,
        "InputIntensityError": 6,
        "NoBrainError": 7,
        "OutputError": 8,
        "WeightsError": 9,
        "DownloadError": 10,
        "DeviceError": 11,
        "ConfigError": 12,
        "OccupiedError": 8,
        "BusyError": 8,
        "BatchError": 13,
    }
