"""Reading label volumes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.errors import InputGeometryError, InputIntensityError, InputNotFoundError
from nansurfer.volume import read_labels

LABELS = np.arange(16**3).reshape(16, 16, 16)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_whole_numbers_of_any_type(tmp_path: Path, dtype) -> None:
    nib.MGHImage(LABELS.astype(dtype), np.eye(4)).to_filename(tmp_path / "a.mgz")
    data = read_labels(tmp_path / "a.mgz").dataobj
    assert data.dtype == np.int32
    assert (data == LABELS).all()


def test_nifti_scaled_by_its_header(tmp_path: Path) -> None:
    image = nib.Nifti1Image(LABELS.astype(np.int16), np.diag([1, 2, 3, 1]))
    image.header.set_slope_inter(2, 1)
    image.to_filename(tmp_path / "a.nii.gz")
    read = read_labels(tmp_path / "a.nii.gz")
    assert (read.dataobj == np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj)).all()
    assert (read.affine == np.diag([1, 2, 3, 1])).all()


def test_nothing_labelled_is_allowed(tmp_path: Path) -> None:
    nib.MGHImage(np.zeros((16, 16, 16), np.uint8), np.eye(4)).to_filename(tmp_path / "a.mgz")
    assert not np.any(read_labels(tmp_path / "a.mgz").dataobj)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -1, 65536])
def test_values_that_are_no_labels(tmp_path: Path, value) -> None:
    data = LABELS.astype(np.float32)
    data[3, 4, 5] = value
    nib.MGHImage(data, np.eye(4)).to_filename(tmp_path / "a.mgz")
    with pytest.raises(InputIntensityError, match=f"the value {value:g}; give a label volume"):
        read_labels(tmp_path / "a.mgz")


def test_the_checks_of_images_hold(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        read_labels(tmp_path / "none.mgz")
    nib.MGHImage(np.zeros((16, 16, 16, 2), np.uint8), np.eye(4)).to_filename(tmp_path / "a.mgz")
    with pytest.raises(InputGeometryError, match="a single 3D volume"):
        read_labels(tmp_path / "a.mgz")


def test_real_labels_stored_as_floats(data_dir: Path) -> None:
    path = data_dir / "labels" / "fsaverage_aseg.mgz"
    labels = read_labels(path).dataobj
    assert np.count_nonzero(labels == 17) == np.count_nonzero(np.asarray(nib.load(path).dataobj) == 17) > 3000
