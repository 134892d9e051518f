from __future__ import annotations

import logging
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.spatialimages import SpatialImage

from nansurfer.errors import InputFormatError, InputGeometryError, InputIntensityError, InputNotFoundError
from nansurfer.volume import read_image

# nibabel leaves .mgh files for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

DATA = np.random.default_rng(0).integers(0, 100, (20, 21, 22)).astype(np.int16)
AFFINE = np.array([[0, -1.1, 0, 8], [1, 0, 0, -9], [0, 0, 1.2, -10], [0, 0, 0, 1]])
# Offsets of NIfTI-1 header fields.
DIM, DATATYPE, PIXDIM, SCL_SLOPE, QUATERN, SROW_X = 40, 70, 76, 112, 256, 280


def save(image, path):
    nib.save(image, path)
    return path


def nifti(data=DATA, affine=AFFINE):
    return nib.Nifti1Image(data, affine)


def patched(path, image, offset, form, *values):
    """The image's file with some bytes of its header overwritten."""
    content = bytearray(save(image, path).read_bytes())
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)
    return path


class TestFormats:
    @pytest.mark.parametrize("name", ["t1.nii", "t1.nii.gz", "T1.NII.GZ", "t1.mgz", "t1.mgh", "t1.img", "t1.hdr"])
    def test_values_affine_and_type(self, name, tmp_path):
        save(nifti(), tmp_path / name.replace(".hdr", ".img"))
        image = read_image(tmp_path / name)
        assert isinstance(image, SpatialImage)
        assert isinstance(image.dataobj, np.ndarray)
        assert image.dataobj.dtype.isnative
        assert np.array_equal(image.dataobj, DATA)
        assert image.affine == pytest.approx(AFFINE, abs=1e-5)
        assert image.header.get_zooms() == pytest.approx((1, 1.1, 1.2))

    def test_accepts_a_string(self, tmp_path):
        assert read_image(str(save(nifti(), tmp_path / "t1.nii"))).shape == (20, 21, 22)

    @pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">i2", ">f4"])
    def test_numeric_types(self, dtype, tmp_path):
        header = nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
        header.set_data_dtype(dtype)
        image = read_image(save(nib.Nifti1Image(DATA.astype(dtype), AFFINE, header), tmp_path / "t1.nii"))
        assert image.dataobj.dtype == np.dtype(dtype).newbyteorder("=")
        assert image.get_data_dtype() == np.dtype(dtype)
        assert np.array_equal(image.dataobj, DATA)

    def test_scaled_integers_are_read_as_real_values(self, tmp_path):
        image = nifti(DATA * 0.5 - 3)
        image.header.set_data_dtype(np.uint8)
        image = read_image(save(image, tmp_path / "t1.nii.gz"))
        assert image.get_data_dtype() == np.uint8
        assert image.dataobj == pytest.approx(DATA * 0.5 - 3, abs=0.1)

    @pytest.mark.parametrize("extra", [(1,), (1, 1)])
    def test_one_volume_in_more_dimensions_is_squeezed(self, extra, tmp_path):
        image = read_image(save(nifti(DATA.reshape(DATA.shape + extra)), tmp_path / "t1.nii.gz"))
        assert image.shape == DATA.shape
        assert len(image.header.get_zooms()) == 3
        assert np.array_equal(image.dataobj, DATA)

    def test_the_data_do_not_depend_on_the_file_any_more(self, tmp_path):
        path = save(nifti(), tmp_path / "t1.nii")
        image = read_image(path)
        path.write_bytes(bytes(path.stat().st_size))
        assert np.array_equal(image.dataobj, DATA)

    def test_real_volume(self, data_dir):
        path = data_dir / "t1" / "subject-02_T1w.nii.gz"
        image = read_image(path)
        assert np.array_equal(image.dataobj, nib.load(path).dataobj)
        assert np.array_equal(image.affine, nib.load(path).affine)


class TestNotFound:
    def test_missing(self, tmp_path):
        with pytest.raises(InputNotFoundError, match=r"nothing\.nii.*No such file"):
            read_image(tmp_path / "nothing.nii")

    def test_folder(self, tmp_path):
        with pytest.raises(InputNotFoundError, match="directory"):
            read_image(tmp_path)

    def test_no_permission(self, tmp_path, monkeypatch):
        def refuse(*args):
            raise PermissionError(13, "Permission denied")

        path = save(nifti(), tmp_path / "t1.nii")
        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(InputNotFoundError, match="Permission denied"):
            read_image(path)

    @pytest.mark.parametrize(
        ("half", "other"), [("t1.hdr", "t1.img"), ("t1.img", "t1.hdr"), ("T1.HDR", "T1.IMG"), ("T1.IMG", "T1.HDR")]
    )
    def test_half_a_pair(self, half, other, tmp_path):
        save(nifti(), tmp_path / other)
        assert read_image(tmp_path / half).shape == DATA.shape
        (tmp_path / other).unlink()
        with pytest.raises(InputNotFoundError, match=rf"{half} is half an image, and .*{other} is missing; put it"):
            read_image(tmp_path / half)


class TestFormat:
    @pytest.mark.parametrize("name", ["t1.txt", "t1", "t1.dcm", "t1.gz"])
    def test_extension(self, name, tmp_path):
        (tmp_path / name).write_bytes(b"whatever")
        with pytest.raises(InputFormatError, match=r"extensions we read: \.mgz"):
            read_image(tmp_path / name)

    @pytest.mark.parametrize("content", [b"", b"not an image", bytes(1000)])
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz", ".mgh", ".img"])
    def test_no_image_inside(self, suffix, content, tmp_path):
        (tmp_path / f"t1{suffix}").write_bytes(content)
        if suffix == ".img":
            (tmp_path / "t1.hdr").write_bytes(content)
        with pytest.raises(InputFormatError, match="is not an image we can read"):
            read_image(tmp_path / f"t1{suffix}")

    @pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz", ".mgh", ".img"])
    def test_truncated(self, suffix, share, tmp_path):
        path = save(nifti(), tmp_path / f"t1{suffix}")
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputFormatError, match="damaged"):
            read_image(path)

    @pytest.mark.parametrize("suffix", [".nii.gz", ".mgz"])
    def test_a_flipped_bit_fails_the_checksum(self, suffix, tmp_path):
        path = save(nifti(), tmp_path / f"t1{suffix}")
        content = bytearray(path.read_bytes())
        content[-5] ^= 1  # in the CRC itself: the data decompress without complaint
        path.write_bytes(content)
        with pytest.raises(InputFormatError, match="CRC"):
            read_image(path)

    @pytest.mark.parametrize(
        ("written", "named"),
        [(".nii.gz", ".mgz"), (".mgz", ".nii.gz"), (".nii.gz", ".nii"), (".mgh", ".mgz")],
    )
    def test_wrong_name(self, written, named, tmp_path):
        save(nifti(), tmp_path / f"a{written}").rename(tmp_path / f"b{named}")
        with pytest.raises(InputFormatError):
            read_image(tmp_path / f"b{named}")

    @pytest.mark.parametrize(
        ("offset", "form", "values"),
        [
            (DATATYPE, "<h", (9999,)),
            (DIM, "<h", (77,)),
            (DIM + 2, "<3h", (2000, 2000, 20)),
        ],
        ids=["type", "number of dimensions", "shape"],
    )
    def test_impossible_header(self, offset, form, values, tmp_path):
        # Taken for one of swapped bytes, the header's data offset is denormal; which of the two it is depends on
        # whether the process flushes such numbers to zero.
        with pytest.raises((InputFormatError, InputGeometryError)):
            read_image(patched(tmp_path / "t1.nii", nifti(), offset, form, *values))

    def test_impossible_quaternion(self, tmp_path):
        image = nifti()
        image.set_qform(AFFINE, code=1)
        with pytest.raises(InputFormatError):
            read_image(patched(tmp_path / "t1.nii", image, QUATERN, "<3f", 3, 3, 3))

    def test_nibabel_stays_silent(self, tmp_path, capfd, caplog):
        with pytest.raises(InputGeometryError):
            read_image(patched(tmp_path / "t1.nii", nifti(), PIXDIM + 4, "<f", -1.0))
        assert capfd.readouterr() == ("", "")
        assert caplog.records == []


class TestGeometry:
    @pytest.mark.parametrize("shape", [(22,), (21, 22), (20, 20, 20, 2), (20, 20, 20, 1, 2), (20, 20, 5), (20, 20, 1)])
    def test_shapes(self, shape, tmp_path):
        data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        with pytest.raises(InputGeometryError, match="x".join(map(str, shape))):
            read_image(save(nifti(data), tmp_path / "t1.nii"))

    def test_frames_of_an_mgh_file(self, tmp_path):
        image = nib.MGHImage(np.zeros((20, 20, 20, 2), np.uint8), AFFINE)
        with pytest.raises(InputGeometryError, match="20x20x20x2"):
            read_image(save(image, tmp_path / "t1.mgz"))

    @pytest.mark.parametrize("size", [-1.0, 0.0, float("nan"), float("inf"), 0.01, 50.0])
    def test_voxel_sizes(self, size, tmp_path):
        with pytest.raises(InputGeometryError, match=r"voxels of \S+ mm, not 0\.1 to 10"):
            read_image(patched(tmp_path / "t1.nii", nifti(), PIXDIM + 4, "<f", size))
        with pytest.raises(InputGeometryError, match=r"voxels of \S+ mm, not 0\.1 to 10"):
            read_image(patched(tmp_path / "t1.mgh", nib.MGHImage(DATA.astype("i2"), AFFINE), 30, ">f", size))

    def test_header_against_affine(self, tmp_path):
        path = patched(tmp_path / "t1.nii", nifti(), PIXDIM + 4, "<f", 2.0)
        with pytest.raises(InputGeometryError, match=r"2x1\.1x1\.2 mm by its header but of 1x1\.1x1\.2"):
            read_image(path)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_affine_not_finite(self, value, tmp_path):
        with pytest.raises(InputGeometryError, match="NaN or infinity"):
            read_image(patched(tmp_path / "t1.nii", nifti(), SROW_X, "<f", value))

    def test_singular_affine(self, tmp_path):
        rows = [0, -1.1, 0, 8, 1, 0, 1.2, -9, 0, 0, 0, -10]  # the first and third axes both along y
        with pytest.raises(InputGeometryError, match="singular"):
            read_image(patched(tmp_path / "t1.nii", nifti(), SROW_X, "<12f", *rows))

    @pytest.mark.parametrize("dtype", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
    def test_not_one_number_a_voxel(self, dtype, tmp_path):
        with pytest.raises(InputGeometryError, match="one integer or float"):
            read_image(save(nifti(np.zeros((20, 20, 20), dtype)), tmp_path / "t1.nii"))


class TestIntensity:
    def test_nan_and_infinity_are_counted(self, tmp_path):
        data = DATA.astype(np.float32)
        data[0, 0, :3] = np.nan
        data[1, 1, 1] = -np.inf
        with pytest.raises(InputIntensityError, match="NaN or infinity in 4 of 9240 voxels"):
            read_image(save(nifti(data), tmp_path / "t1.nii.gz"))

    @pytest.mark.parametrize(
        "data",
        [
            np.zeros_like(DATA),
            np.full_like(DATA, 7),
            DATA * 1e-40,
            (1e6 + DATA * 1e-2).astype(np.float32),
        ],
        ids=["zero", "constant", "denormal", "less than a float32 resolves"],
    )
    def test_all_the_same(self, data, tmp_path):
        with pytest.raises(InputIntensityError, match="in every voxel"):
            read_image(save(nifti(data), tmp_path / "t1.nii"))

    def test_absurdly_large(self, tmp_path):
        with pytest.raises(InputIntensityError, match=r"to 9\.9e\+37"):
            read_image(save(nifti((DATA * 1e36).astype(np.float32)), tmp_path / "t1.nii"))

    def test_negative_values_are_fine(self, tmp_path):
        assert read_image(save(nifti(DATA - 500), tmp_path / "t1.nii")).dataobj.min() == -500


class TestOrientation:
    def test_agreeing_forms_pass_in_silence(self, tmp_path, caplog):
        image = nifti()
        image.set_qform(AFFINE, code=1)
        read_image(save(image, tmp_path / "t1.nii"))
        assert caplog.records == []

    def test_the_sform_is_used_when_the_qform_disagrees(self, tmp_path, caplog):
        image, other = nifti(), AFFINE + np.eye(4, k=3) * 5
        image.set_sform(other, code=1)
        image.set_qform(AFFINE, code=1)
        with caplog.at_level(logging.WARNING, "nansurfer"):
            read = read_image(save(image, tmp_path / "t1.nii"))
        assert read.affine == pytest.approx(other, abs=1e-5)
        assert "the sform is used" in caplog.text

    def test_one_form_alone_is_used_in_silence(self, tmp_path, caplog):
        image = nifti()
        image.set_sform(None)
        image.set_qform(AFFINE, code=1)
        assert read_image(save(image, tmp_path / "t1.nii")).affine == pytest.approx(AFFINE, abs=1e-5)
        assert caplog.records == []

    def test_without_either_form_it_is_assumed(self, tmp_path, caplog):
        image = nifti()
        image.set_sform(None)
        image.set_qform(None)
        with caplog.at_level(logging.WARNING, "nansurfer"):
            read_image(save(image, tmp_path / "t1.nii"))
        assert "does not say its orientation; LAS is assumed" in caplog.text

    def test_analyze_is_assumed(self, tmp_path, caplog):
        nib.AnalyzeImage(DATA, None).to_filename(tmp_path / "t1.img")
        with caplog.at_level(logging.WARNING, "nansurfer"):
            image = read_image(tmp_path / "t1.img")
        assert np.array_equal(image.dataobj, DATA)
        assert "does not say its orientation; LAS is assumed" in caplog.text

    def test_analyze_with_spms_mat_file_says_it(self, tmp_path, caplog):
        nib.Spm99AnalyzeImage(DATA, AFFINE).to_filename(tmp_path / "t1.img")
        assert read_image(tmp_path / "t1.img").affine == pytest.approx(AFFINE)
        assert caplog.records == []
