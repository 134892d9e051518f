"""Small BIDS datasets: raw ones of any files, and one whose T1s are segmented."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.batch import Subject
from nansurfer.bids import FREESURFER, find_t1s
from nansurfer.pipeline.outputs import ASEG, LABELS, MASK, RECORD

CONFORMED = np.array([[-4.0, 0, 0, 64], [0, 0, 4, -64], [0, -4, 0, 64], [0, 0, 0, 1]])  # LIA, 32 voxels of 4 mm
T1_AFFINE = np.array([[3.0, 0, 0, -30], [0, 4, 0, -40], [0, 0, 5, -50], [0, 0, 0, 1]])


@pytest.fixture(scope="session", autouse=True)
def library() -> None:
    """What finds the T1s; an extra."""
    pytest.importorskip("ancpbids")


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., Path]:
    """Make a raw dataset of empty files with these paths; its folder."""

    def make(*paths: str, **description: str) -> Path:
        dataset = tmp_path / "raw"
        dataset.mkdir(exist_ok=True)
        text = json.dumps({"Name": "Demo", "BIDSVersion": "1.9.0", **description})
        (dataset / "dataset_description.json").write_text(text)
        for path in paths:
            (dataset / path).parent.mkdir(parents=True, exist_ok=True)
            (dataset / path).touch()
        return dataset

    return make


def segment_as(folder: Path, labels: np.ndarray) -> None:
    """A subject's folder as if it had been segmented: all that becomes derivatives."""
    volumes = {
        LABELS: labels.astype(np.int16),
        ASEG: np.where(labels > 1000, 3, labels).astype(np.uint8),
        MASK: (labels > 0).astype(np.uint8),
    }
    for path, volume in volumes.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        nib.MGHImage(volume, CONFORMED).to_filename(folder / path)
    (folder / RECORD).write_text("{}")


@pytest.fixture
def segmented(raw: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path, list[Subject]]:
    """A raw dataset, a derivative dataset in which its two T1s are segmented, and these T1s.

    Each T1 has 20 x 20 x 20 voxels of 3 x 4 x 5 mm, RAS. Around the world's origin lies a cube of left white matter,
    in front of which everything is left insula.
    """
    paths = "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/ses-a/anat/sub-02_ses-a_acq-hi_run-1_T1w.nii.gz"
    dataset, output = raw(*paths), tmp_path / "out"
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (20, 20, 20), np.uint8), T1_AFFINE)
    for path in paths:
        image.to_filename(dataset / path)
        (dataset / path.replace(".nii.gz", ".json")).write_text("{}")
    labels = np.zeros((32, 32, 32), int)
    labels[11:22, 11:22, 11:22] = 2
    labels[11:22, 11:22, 22:] = 1035
    subjects = find_t1s(dataset)
    for subject in subjects:
        segment_as(output / FREESURFER / subject.sid, labels)
    return dataset, output, subjects
