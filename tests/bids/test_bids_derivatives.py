"""The derivatives of a subject: names, grid, values, sidecars, and when they are written again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.batch import Subject
from nansurfer.bids import FREESURFER, write_all_derivatives, write_derivatives
from nansurfer.errors import InputNotFoundError
from nansurfer.pipeline.outputs import LABELS, RECORD

Segmented = tuple[Path, Path, list[Subject]]

SECOND = "sub-02/ses-a/anat/sub-02_ses-a_acq-hi_run-1"


def contents(output: Path) -> dict[str, bytes]:
    paths = (path for path in output.glob("sub-*/**/*") if path.is_file())
    return {str(path.relative_to(output)): path.read_bytes() for path in paths}


def test_names(segmented: Segmented) -> None:
    dataset, output, subjects = segmented
    assert write_all_derivatives(subjects, dataset, output, threads=2) == {}
    endings = ("desc-aparcaseg_dseg", "desc-aseg_dseg", "desc-brain_mask")
    assert set(contents(output)) == {
        f"{stem}_{ending}{suffix}"
        for stem in ("sub-01/anat/sub-01", SECOND)
        for ending in endings
        for suffix in (".nii.gz", ".json")
    }


@pytest.mark.parametrize(
    ("ending", "dtype", "inside", "in_front"),
    [
        ("desc-aparcaseg_dseg", np.int16, 2, 1035),
        ("desc-aseg_dseg", np.uint8, 2, 3),
        ("desc-brain_mask", np.uint8, 1, 1),
    ],
)
def test_on_the_grid_of_the_t1(
    segmented: Segmented, ending: str, dtype: type[np.generic], inside: int, in_front: int
) -> None:
    """The cube reaches from -22 to 22 mm: T1 voxels of 3, 4 and 5 mm whose centres lie in it."""
    dataset, output, subjects = segmented
    write_derivatives(subjects[1], dataset, output)
    image = nib.load(output / f"{SECOND}_{ending}.nii.gz")
    t1 = nib.load(subjects[1].path)
    assert image.get_data_dtype() == dtype
    np.testing.assert_array_equal(image.affine, t1.affine)
    expected = np.zeros(t1.shape, int)
    expected[3:18, 5:16, 6:15] = inside
    expected[3:18, 16:, 6:15] = in_front
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected)


def test_sidecars(segmented: Segmented) -> None:
    dataset, output, subjects = segmented
    write_derivatives(subjects[1], dataset, output)
    sources = {"SpatialReference": "orig", "Sources": [f"bids:raw:{SECOND}_T1w.nii.gz"]}
    assert json.loads((output / f"{SECOND}_desc-brain_mask.json").read_text()) == {
        "Description": "Brain, without gaps between its folds.",
        "Type": "Brain",
        **sources,
    }
    assert json.loads((output / f"{SECOND}_desc-aseg_dseg.json").read_text()) == {
        "Description": "Subcortical structures and cortex, FreeSurfer's labels.",
        "Manual": False,
        **sources,
    }


def test_written_again_they_are_the_same_bytes(segmented: Segmented) -> None:
    dataset, output, subjects = segmented
    write_all_derivatives(subjects, dataset, output, threads=1)
    before = contents(output)
    for path in before:
        (output / path).unlink()
    write_all_derivatives(subjects, dataset, output, threads=2)
    assert contents(output) == before


def test_written_again_only_if_the_segmentation_is_newer(segmented: Segmented) -> None:
    dataset, output, subjects = segmented
    mask = output / "sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    write_derivatives(subjects[0], dataset, output)
    mask.write_bytes(b"ours")
    write_derivatives(subjects[0], dataset, output)
    assert mask.read_bytes() == b"ours"
    later = mask.stat().st_mtime + 10
    os.utime(output / FREESURFER / "sub-01" / RECORD, (later, later))
    write_derivatives(subjects[0], dataset, output)
    assert mask.read_bytes() != b"ours"


def test_one_that_fails_does_not_stop_the_others(segmented: Segmented) -> None:
    dataset, output, subjects = segmented
    (output / FREESURFER / "sub-01" / LABELS).unlink()
    failures = write_all_derivatives(subjects, dataset, output, threads=1)
    assert list(failures) == ["sub-01"]
    assert isinstance(failures["sub-01"], InputNotFoundError)
    assert len(contents(output)) == 6
