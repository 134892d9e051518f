"""The ``nansurfer example`` command."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from nansurfer.cli.example import example
from nansurfer.errors import ConfigError, OutputError
from nansurfer.volume import conform, read_image

needs_nilearn = pytest.mark.skipif(
    find_spec("nilearn") is None, reason="nilearn is absent (pip install 'nansurfer[example]')"
)


def run(*arguments: object) -> str:
    app = typer.Typer()
    app.command()(example)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


@needs_nilearn
def test_writes_the_mni_template(tmp_path: Path) -> None:
    path = tmp_path / "mni.nii.gz"
    assert run("-o", path) == f"{path}\n"
    image = nib.load(path)
    assert image.shape == (197, 233, 189)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, nib.affines.from_matvec(np.eye(3), [-98, -134, -72]))
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (4, 4)
    litres = np.count_nonzero(image.dataobj) / 1e6
    assert 1.8 < litres < 2.0  # brain and the fluid around it: no skull


@needs_nilearn
def test_is_an_image_that_we_conform(tmp_path: Path) -> None:
    path = tmp_path / "mni.mgz"
    run("-o", path)
    image = read_image(path)
    conformed = conform(image)
    assert conformed.shape == (256, 256, 256)
    assert np.asarray(conformed.dataobj).sum(dtype=np.int64) == np.asarray(image.dataobj).sum(dtype=np.int64)


@needs_nilearn
def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "mni.nii"
    path.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        run("-o", path)
    assert path.read_text() == "mine"
    run("-o", path, "--overwrite")
    assert nib.load(path).shape == (197, 233, 189)


def test_without_nilearn_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[example.__module__], "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'nansurfer\[example\]'"):
        run("-o", tmp_path / "mni.nii.gz")
    assert list(tmp_path.iterdir()) == []
