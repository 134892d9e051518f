"""Options of a segmentation."""

from __future__ import annotations

import pytest

from nansurfer.engine import ComputeOptions
from nansurfer.errors import ConfigError
from nansurfer.pipeline import SegmentOptions, make_options


def test_defaults() -> None:
    assert make_options() == SegmentOptions(
        weights="compact",
        views=("axial", "coronal", "sagittal"),
        vox_size="min",
        compute=ComputeOptions(device="auto", precision="auto", threads=None, batch_size=None),
    )


def test_keywords_find_their_place() -> None:
    options = make_options(weights="official", native=True, threads=3, device="cpu")
    assert (options.weights, options.native) == ("official", True)
    assert options.compute == ComputeOptions(device="cpu", threads=3)


def test_a_whole_compute_is_taken_too() -> None:
    compute = ComputeOptions(threads=2)
    assert make_options(compute=compute).compute is compute


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"views": ()}, "views are none; choose from axial,coronal,sagittal, each once"),
        ({"views": ("axial", "oblique")}, "views are axial,oblique; choose"),
        ({"views": ("axial", "axial")}, "views are axial,axial; choose"),
        ({"views": ("",)}, "views are none; choose"),
        ({"vox_size": 0.0}, "Voxel size 0.0 makes no sense"),
        ({"vox_size": 0.01}, r'Voxel size 0.01 makes no sense; give "min" or a size in mm, 0\.1 to 1'),
        ({"vox_size": 2.0}, "Voxel size 2.0 makes no sense"),
        ({"vox_size": float("nan")}, "Voxel size nan makes no sense"),
        ({"vox_size": "max"}, "Voxel size 'max' makes no sense"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"engine": "fast", "device": "cuda"}, "The fast engine computes on the CPU.* device 'cuda'"),
        ({"engine": "fast", "precision": "bfloat16"}, "The fast engine .* precision 'bfloat16'"),
        ({"engine": "fast", "fold": False}, "The fast engine .* fold False"),
        ({"engine": "fast", "fastsurfer_compat": True}, "The fast engine cannot compute as FastSurfer"),
        ({"engine": "fast", "paper_compat": True}, "The fast engine cannot compute as .* the NaN papers"),
        ({"engine": "masked", "paper_compat": True}, "The masked engine cannot compute as .* the NaN papers"),
        ({"engine": "masked", "nan": "off"}, 'The masked engine serves the NaN mode "background"'),
        ({"engine": "fast", "nan": "aggressive"}, 'The fast engine serves the NaN mode "background"'),
        ({"find_brain": True, "fastsurfer_compat": True}, "find_brain has no say when everything is computed"),
        ({"colour": 1, "size": 2}, "Unknown options: colour, size; known are batch_size, compute, device"),
    ],
)
def test_senseless_choices(choices, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make_options(**choices)
