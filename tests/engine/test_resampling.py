"""Resampling by the compiled kernels: what comes from where, and that it is PyTorch's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nansurfer.engine import native
from nansurfer.engine.maps import FeatureMap
from nansurfer.engine.packed import Transform
from nansurfer.engine.resampling import Resampling, find_places, find_resamplings
from nansurfer.engine.steps import Target, Zoom
from nansurfer.models.blocks import zoom

BUILT = [name for name, _ in native.suitable_libraries()]
SIZES = [
    (320, 320, 0.8),
    (256, 256, 0.8),
    (366, 300, 0.7),
    (285, 256, 0.9),
    (269, 269, 0.95),
    (256, 262, 0.98),
    (285, 285, 0.7333),
    (300, 512, 0.53),
    (320, 200, 1.0),
]
"""Height and width of slices, voxel size in mm."""


def scale_of(voxel_mm: float) -> float:
    return float(np.float32(1) / np.float32(voxel_mm))


@pytest.mark.parametrize(
    ("size", "target", "scale", "first", "second", "share"),
    [
        (4, 2, 2.0, [0, 2], [1, 3], [0.5, 0.5]),
        (2, 4, 0.5, [0, 0, 0, 1], [1, 1, 1, 1], [0, 0.25, 0.75, 0]),  # read with weight 0 is read all the same
        (3, 3, 1.0, [0, 1, 2], [0, 1, 2], [0, 0, 0]),
        (5, 3, 1.0, [0, 1, 2], [0, 1, 2], [0, 0, 0]),
        (4, 3, 2.0, [0, 2, -1], [1, 3, -1], [0.5, 0.5, 0]),
    ],
    ids=["half", "double", "the same", "cropped", "padded"],
)
def test_places(size, target, scale, first, second, share) -> None:
    places, applied = find_places(size, target, scale)
    assert applied == scale
    assert (places.first.tolist(), places.second.tolist(), places.share.tolist()) == (first, second, share)


def test_pixels_that_read_any_of_a_mask() -> None:
    """Along the columns 0 and 1 make the first, 2 and 3 the second, and the third is padding."""
    rows, columns = find_places(3, 3, 1.0)[0], find_places(4, 3, 2.0)[0]
    mask = np.array([[[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 1]]], bool)
    assert Resampling(rows, columns).readers(mask).astype(int).tolist() == [[[0, 0, 0], [1, 0, 0], [1, 1, 0]]]
    assert Resampling(columns, rows).readers(mask.swapaxes(1, 2))[0].T.astype(int).tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [1, 1, 0],
    ]


@pytest.mark.parametrize("scale", [1.0, 1.0000001, 1.001])
def test_what_changes_nothing(scale) -> None:
    assert find_resamplings((256, 64), (256, 64), scale) is None


@pytest.mark.parametrize(
    ("size", "scale"), [((256, 256), 1.25), ((256, 256), 0.999), ((320, 256), 1.0), ((256, 200), 1.0)]
)
def test_what_changes_something(size, scale) -> None:
    there, back = find_resamplings(size, (256, 256), scale)
    assert (there.size, back.size) == ((256, 256), size)


@pytest.mark.skipif(not BUILT, reason="installed without compiled kernels")
@pytest.mark.parametrize("instruction_set", BUILT)
@pytest.mark.parametrize(("height", "width", "voxel_mm"), SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"])
def test_the_kernel_is_pytorch(instruction_set, height, width, voxel_mm, layout) -> None:
    """There, and what came out of it back again: the same NaN, and values equal but for rounding."""
    scale = scale_of(voxel_mm)
    there, back = find_resamplings((height, width), (256, 256), scale)
    x = torch.randn(1, 3, height, width, generator=torch.manual_seed(0))
    x = x.masked_fill(torch.rand(1, 1, height, width) < 0.02, torch.nan).contiguous(memory_format=layout)
    inner, applied = zoom(x, (256, 256), (scale, scale))
    outer, _ = zoom(inner, (height, width), (1 / applied[0], 1 / applied[1]))
    for given, resampling, expected in ((x, there, inner), (inner, back, outer)):
        found = resampled(given[0].numpy(), resampling, instruction_set)
        np.testing.assert_allclose(found, expected[0].numpy(), rtol=0, atol=2e-6)
    assert 0.01 < np.isnan(found).mean() < 0.5


@pytest.mark.skipif(not BUILT, reason="installed without compiled kernels")
def test_padding_is_transformed_as_any_value() -> None:
    places = [find_places(4, 3, 2.0)[0], find_places(2, 2, 1.0)[0]]
    transform = Transform(*(np.array([value], np.float32) for value in (2, -1, 10)))
    x = np.array([[[1.0, -4], [3, -8], [1, 1], [1, 1]]], np.float32)
    assert resampled(x, Resampling(*places), BUILT[0], transform).tolist() == [[[14.0, 16.0], [12.0, 12.0], [10, 10]]]


def resampled(
    x: np.ndarray, resampling: Resampling, instruction_set: str, transform: Transform | None = None
) -> np.ndarray:
    """An image (channels, height, width) through the step, NaN where its mask says so, garbage where it was NaN."""
    features = FeatureMap(*x.shape, radius=1)
    features.image[:] = np.where(np.isnan(x), 1e9, x)
    target = FeatureMap(len(x), *resampling.size, radius=1)
    mask = (~np.isnan(x[0])).astype(np.uint8)
    shared = SimpleNamespace(kernels=native.open_library(instruction_set))
    step = Zoom(shared, resampling, mask, features, Target(target, transform))
    step.find_masks()
    step.compute()
    return np.where(step.mask.astype(bool), target.image, np.nan)
