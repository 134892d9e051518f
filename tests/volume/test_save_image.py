from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from nansurfer.errors import OutputError
from nansurfer.volume import label_image, read_image, save_image

AFFINE = np.array([[-1, 0, 0, 10], [0, 0, 1, -10], [0, -1, 0, 10], [0, 0, 0, 1.0]])
LABELS = np.arange(20**3).reshape(20, 20, 20) % 2036


def conformed():
    image = nib.MGHImage(np.ones((20, 20, 20), np.uint8), AFFINE)
    image.header["tr"] = 2300
    return image


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_label_image_has_the_conformed_header(dtype):
    image = label_image(LABELS, conformed(), dtype)
    assert image.get_data_dtype().newbyteorder("=") == dtype
    assert image.header["tr"] == 2300
    assert np.array_equal(image.affine, AFFINE)
    assert np.array_equal(image.dataobj, LABELS)


@pytest.mark.parametrize("suffix", [".mgz", ".mgh", ".nii.gz", ".nii"])
# nibabel leaves .mgh files for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_saved_is_read_back(suffix, tmp_path):
    path = tmp_path / "new" / f"labels{suffix}"
    save_image(label_image(LABELS, conformed(), np.int16), path)
    back = read_image(path)
    assert np.array_equal(back.dataobj, LABELS)
    assert back.affine == pytest.approx(AFFINE)
    assert back.dataobj.dtype == np.int16
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("a.mgz", "b.mgz"):
        save_image(label_image(LABELS, conformed(), np.int16), tmp_path / name)
    assert (tmp_path / "a.mgz").read_bytes() == (tmp_path / "b.mgz").read_bytes()


@pytest.mark.parametrize(
    ("dtype", "held_as"),
    [("u1", "u1"), ("i1", "i2"), ("u2", "i4"), ("i4", "i4"), ("f4", "f4"), ("f8", "f4"), ("u4", "f4")],
)
def test_mgh_takes_the_narrowest_type_that_holds_the_values(dtype, held_as, tmp_path):
    data = (np.arange(20**3).reshape(20, 20, 20) % 100).astype(dtype)
    save_image(nib.Nifti1Image(data, AFFINE), tmp_path / "x.mgz")
    back = read_image(tmp_path / "x.mgz")
    assert back.dataobj.dtype == np.dtype(held_as)
    assert np.array_equal(back.dataobj, data)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(OutputError, match=r"x\.txt.*\.mgz"):
        save_image(conformed(), tmp_path / "x.txt")


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(self, filename):
        filename.write_bytes(b"half a fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib.MGHImage, "to_filename", fail)
    with pytest.raises(OutputError, match="disk is full"):
        save_image(conformed(), tmp_path / "x.mgz")
    assert list(tmp_path.iterdir()) == []
