"""Bad input, bad options, bad places: one sentence, its exit code, and nothing written."""

from __future__ import annotations

import errno
import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from nansurfer.weights import record_checksum

SHAPE = (32, 32, 32)
NOISE = np.random.default_rng(0).integers(1, 200, SHAPE).astype(np.float32)


def nifti(data: np.ndarray = NOISE, affine: np.ndarray | None = None, **header: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image = nib.Nifti1Image(data, np.diag([-1.0, 1, 1, 1]) if affine is None else affine)
        content = bytearray(image.to_bytes())
        fixed = nib.Nifti1Header.from_fileobj(io.BytesIO(content), check=False)
        for key, value in header.items():
            fixed[key] = value
        content[:348] = fixed.binaryblock
        path.write_bytes(content)

    return write


def noise_with(value: float) -> np.ndarray:
    data = NOISE.copy()
    data[3, 3, 3] = value
    return data


def truncated(path: Path) -> None:
    whole = gzip.compress(nib.Nifti1Image(NOISE, np.eye(4)).to_bytes())
    path.write_bytes(whole[: len(whole) // 2])


def text(path: Path) -> None:
    path.write_text("Dear all, please find the scan attached.")


def absent(path: Path) -> None:
    pass


def folder(path: Path) -> None:
    path.mkdir()


FLAT = np.diag([1.0, 1, 1, 1])
FLAT[:3, 1] = [1, 0, 0]  # two axes in the same direction

BAD_INPUTS = {
    # name of the case: file name, how it is made, exit code, what the sentence says
    "missing": ("a.mgz", absent, 3, "cannot be read (No such file or directory); check the path"),
    "folder": ("a.nii", folder, 3, "cannot be read (Is a directory)"),
    "no image": ("a.nii", text, 4, "is not an image we can read, or it is damaged"),
    "no image, zipped": ("a.nii.gz", text, 4, "is not an image we can read, or it is damaged"),
    "no mgz": ("a.mgz", text, 4, "is not an image we can read, or it is damaged"),
    "extension": ("a.jpg", text, 4, "has none of the extensions we read"),
    "truncated": ("a.nii.gz", truncated, 4, "is damaged"),
    "4D": ("a.nii", nifti(np.stack([NOISE, NOISE], 3)), 5, "has shape 32x32x32x2; give an image with a single"),
    "2D": ("a.nii", nifti(NOISE[0]), 5, "has shape 32x32"),
    "one slice": ("a.nii", nifti(NOISE[:1]), 5, "has 1x32x32 voxels"),
    "zero voxel size": ("a.nii", nifti(pixdim=[1, 0, 1, 1, 0, 0, 0, 0]), 5, "has voxels of 0x1x1 mm"),
    "huge voxel size": ("a.nii", nifti(affine=np.diag([99.0, 1, 1, 1])), 5, "has voxels of 99x1x1 mm"),
    "singular affine": ("a.nii", nifti(affine=FLAT), 5, "singular"),
    "NaN affine": ("a.nii", nifti(srow_x=[np.nan, 0, 0, 0]), 5, "holds NaN or infinity"),
    "NaN": ("a.nii", nifti(noise_with(np.nan)), 6, "holds NaN or infinity in 1 of 32768 voxels"),
    "Inf": ("a.nii", nifti(noise_with(np.inf)), 6, "holds NaN or infinity in 1 of 32768 voxels"),
    "constant": ("a.nii", nifti(np.full(SHAPE, 7.0, np.float32)), 6, "holds the value 7 in every voxel"),
    "zero": ("a.nii", nifti(np.zeros(SHAPE, np.float32)), 6, "holds the value 0 in every voxel"),
}


@pytest.fixture
def segment(nansurfer, tiny_weights: Path, tmp_path: Path):
    """Run ``nansurfer segment`` into ``tmp_path / "out"`` with small weights."""

    def run(path: Path, *arguments: object):
        return nansurfer("segment", path, "-o", tmp_path / "out", "--weights", tiny_weights, *arguments)

    return run


def assert_refused(done, exit_code: int, sentence: str, out: Path) -> None:
    last = done.err.splitlines()[-1]
    assert last.startswith("nansurfer: ")
    assert sentence in last
    assert "Traceback" not in done.err
    assert done.exit_code == exit_code
    assert done.out == ""
    assert list(out.rglob("*")) == []


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input(segment, tmp_path: Path, case) -> None:
    name, write, exit_code, sentence = BAD_INPUTS[case]
    write(tmp_path / name)
    assert_refused(segment(tmp_path / name), exit_code, sentence, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (["--sid", "a/b"], 12, "The subject's name is 'a/b'; give --sid a plain name, without slashes."),
        (["--sid", ".."], 12, "The subject's name is '..'"),
        (["--sid", ""], 12, "The subject's name is ''"),
        (["--vox-size", "0"], 12, 'Voxel size 0.0 makes no sense; give "min" or a size in mm, 0.1 to 1.'),
        (["--vox-size", "2"], 12, "Voxel size 2.0 makes no sense"),
        (["--vox-size", "-1"], 12, "Voxel size -1.0 makes no sense"),
        (["--vox-size", "nan"], 12, "Voxel size nan makes no sense"),
        (["--views", "oblique"], 12, "views are oblique; choose from axial,coronal,sagittal, each once."),
        (["--views", ""], 12, "views are none; choose from axial,coronal,sagittal, each once."),
        (["--views", "axial,axial"], 12, "views are axial,axial; choose"),
        (["--device", "gpu"], 12, "device is 'gpu'; choose one of auto, cpu, cuda, mps."),
        (["--precision", "half"], 12, "precision is 'half'; choose one of auto, float32, float16, bfloat16."),
        (["--threads", "0"], 12, "threads is 0; it must be at least 1."),
        (["--batch-size", "0"], 12, "batch_size is 0; it must be at least 1."),
        (["--weights", "nonsense"], 9, "'nonsense' is neither a known set of weights (compact, official) nor a"),
        (["--log-file", "/proc/nansurfer/log"], 8, "The log file /proc/nansurfer/log cannot be written"),
    ],
)
def test_bad_options(segment, blob_path: Path, tmp_path: Path, arguments, exit_code, sentence) -> None:
    assert_refused(segment(blob_path, *arguments), exit_code, sentence, tmp_path / "out")


@pytest.mark.parametrize("arguments", [["--vox-size", "big"], ["--threads", "many"], ["--batch-size", "1.5"]])
def test_what_is_no_number(segment, blob_path: Path, arguments) -> None:
    done = segment(blob_path, *arguments)
    assert done.exit_code == 2
    assert arguments[0] in done.err


def test_absent_cuda(segment, blob_path: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = segment(blob_path, "--device", "cuda")
    assert_refused(done, 11, "Device 'cuda' was asked for, but PyTorch", tmp_path / "out")


@pytest.mark.parametrize("finished", [False, True])
def test_an_input_that_may_not_be_read(
    segment, instant_network, blob_path: Path, tmp_path: Path, monkeypatch, finished
) -> None:
    may_open, may_access = Path.open, os.access

    def opened(self: Path, *arguments: object, **options: object) -> object:
        if self == blob_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return may_open(self, *arguments, **options)

    if finished:
        assert segment(blob_path, "-q").exit_code == 0
    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr("os.access", lambda path, mode: str(path) != str(blob_path) and may_access(path, mode))
    done = segment(blob_path)
    monkeypatch.undo()
    assert done.exit_code == 3
    assert done.err.endswith(f"nansurfer: {blob_path} cannot be read (Permission denied); check the path.\n")


def test_no_brain(segment, instant_network: np.ndarray, blob_path: Path, tmp_path: Path) -> None:
    instant_network[:] = 0
    assert_refused(segment(blob_path), 7, "No brain was found (0 ml labelled", tmp_path / "out")


def test_wrong_weights(nansurfer, tiny_weights: Path, blob_path: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for view, source in (("axial", "coronal"), ("coronal", "axial"), ("sagittal", "sagittal")):
        (weights / f"{view}.safetensors").write_bytes((tiny_weights / f"{source}.safetensors").read_bytes())
    done = nansurfer("segment", blob_path, "-o", tmp_path / "out", "--weights", weights)
    assert_refused(done, 9, "use the file of that view", tmp_path / "out")


def test_tampered_weights(nansurfer, tiny_weights: Path, blob_path: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for source in tiny_weights.glob("*.safetensors"):
        (weights / source.name).write_bytes(source.read_bytes())
        record_checksum(weights / source.name)
    content = bytearray((weights / "axial.safetensors").read_bytes())
    content[-1] ^= 1
    (weights / "axial.safetensors").write_bytes(content)
    done = nansurfer("segment", blob_path, "-o", tmp_path / "out", "--weights", weights)
    assert_refused(done, 9, "axial.safetensors is damaged or was changed", tmp_path / "out")


def test_a_file_where_the_output_folder_should_be(segment, blob_path: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    done = segment(blob_path)
    assert done.exit_code == 8
    assert f"nansurfer: The output folder {tmp_path / 'out'} cannot be written (File exists)" in done.err
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk(segment, instant_network, blob_path: Path, tmp_path: Path, monkeypatch) -> None:
    def fill_the_disk(self, path, **options) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nib.MGHImage, "to_filename", fill_the_disk)
    assert_refused(segment(blob_path), 8, "The disk is full: ", tmp_path / "out")


def test_another_image_of_the_same_name(segment, instant_network, blob_path: Path, tmp_path: Path) -> None:
    assert segment(blob_path, "-q", "--sid", "s1").exit_code == 0
    other = tmp_path / "other.mgz"
    other.write_bytes(blob_path.read_bytes() + b"\0")
    done = segment(other, "--sid", "s1")
    assert done.exit_code == 8
    assert f"s1 holds the segmentation of another image, {blob_path}; choose another subject name" in done.err


def test_forms_that_disagree_are_a_warning(segment, instant_network, tmp_path: Path) -> None:
    image = nib.Nifti1Image(NOISE, np.diag([-1.0, 1, 1, 1]))
    image.set_sform(np.diag([-1.0, 1, 1, 1]), 1)
    image.set_qform(np.diag([1.0, 1, 1, 1]), 1)
    image.to_filename(tmp_path / "a.nii")
    done = segment(tmp_path / "a.nii", "-q")
    assert done.exit_code == 0
    assert f"WARNING The qform and the sform of {tmp_path / 'a.nii'} disagree; the sform is used." in done.err


def test_the_networks_memory_runs_out(segment, blob_path: Path, tmp_path: Path, monkeypatch) -> None:
    """Batches shrink, then a single slice does not fit either."""

    def exhaust(self, slices, scale, head, wanted) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("nansurfer.engine.dense.DenseEngine._run", exhaust)
    done = segment(blob_path, "--nan", "off", "--engine", "reference", "--batch-size", "2", "--device", "cpu")
    assert "WARNING The memory is exhausted; going on with --batch-size 1." in done.err
    assert_refused(done, 11, "The memory does not suffice for a single slice", tmp_path / "out")


def test_verbose_shows_the_traceback(segment, tmp_path: Path) -> None:
    done = segment(tmp_path / "a.mgz", "--verbose")
    assert done.exit_code == 3
    assert "Traceback (most recent call last)" in done.err
    assert "FileNotFoundError" in done.err
