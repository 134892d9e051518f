"""What the bundled weights make of a real head that they were not trained on."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import nansurfer
from nansurfer.labels import dice
from nansurfer.weights import recorded_checksum, resolve, verify


def test_they_come_with_the_package_and_are_sound() -> None:
    weights = resolve("compact")
    assert verify(weights) == {view: recorded_checksum(path) for view, path in weights.files.items()}


@pytest.mark.slow
def test_a_real_head_is_recognisably_segmented(data_dir: Path) -> None:
    result = nansurfer.segment(data_dir / "t1" / "subject-01_orig.mgz")
    truth = np.asarray(nib.load(data_dir / "labels" / "subject-01_aparc+aseg.mgz").dataobj).astype(np.int16)
    brain, white_matter = (
        dice(part(result.labels).astype(np.int16), part(truth).astype(np.int16), [1])[1]
        for part in (lambda labels: labels > 0, lambda labels: np.isin(labels, (2, 41)))
    )
    structures = dice(result.labels, truth, [4, 43, 10, 49, 11, 50, 12, 51, 8, 47])
    assert brain >= 0.90
    assert white_matter >= 0.80
    assert min(structures.values()) >= 0.60
