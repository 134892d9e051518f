from __future__ import annotations

import numpy as np
import pytest

from nansurfer.volume.intensity import IntensityWindow, from_zero, robust_window, to_uint8

SHAPE = (10, 20, 25)  # 5000 voxels


@pytest.mark.parametrize(
    ("values", "window"),
    [
        # Expected: FastSurfer's getscale(values, 0, 255) at commit 7c45785.
        (np.arange(5000.0), (0.0, 0.051112426894196476)),
        (np.arange(-100, 4900).astype(np.int16), (-100.0, 0.051112426894196476)),
        (np.r_[np.zeros(4000), np.arange(1, 1001)], (0.0, 0.25551102204408815)),
        (np.r_[np.arange(4999) % 10, 10000].astype(np.int16), (0.0, 0.0255)),
        (np.r_[np.zeros(4999), 7], (0.0, 36.501574577726885)),
    ],
    ids=["ramp", "negative", "mostly zero", "outlier: wraps to the maximum", "a single non-zero voxel"],
)
def test_robust_window_is_fastsurfers(values, window):
    assert robust_window(values.reshape(SHAPE)) == pytest.approx(window, rel=1e-15)


def test_robust_window_does_not_depend_on_the_layout():
    values = np.random.default_rng(0).normal(100, 30, SHAPE).astype(np.float32)
    assert robust_window(np.asfortranarray(values)) == robust_window(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 3, 5], [0, 3, 5]),
        ([2, 3, 5], [2, 3, 5]),
        ([-2, -1, 3], [0, 1, 5]),
        ([-2, 0, 3], [-2, 0, 3]),  # a third of it is 0
        ([-2, 0, *range(1, 9)], [-2, 0, *range(1, 9)]),  # a tenth
        ([-2, 0, *range(1, 10)], [0, 2, *range(3, 12)]),
        ([-32768, 32767], [0, 65535]),
    ],
)
def test_from_zero(values, expected):
    for dtype in (np.int16, np.float32):
        assert from_zero(np.array(values, dtype)).tolist() == expected


def test_to_uint8_windows_clips_and_rounds_half_to_even():
    values = np.array([[[-9.0, 10.0, 10.25, 10.75, 11.25, 1000.0]]])
    assert to_uint8(values, IntensityWindow(10.0, 2.0)).tolist() == [[[0, 0, 0, 2, 2, 255]]]


def test_to_uint8_keeps_zero_zero():
    values = np.array([[[-100, 0, 27]]], np.int16)
    assert to_uint8(values, IntensityWindow(-100.0, 1.0)).tolist() == [[[0, 0, 127]]]


def test_to_uint8_without_a_window_rounds():
    values = np.array([[[-1.0, 0.5, 1.5, 254.6, 300.0]]])
    assert to_uint8(values, None).tolist() == [[[0, 0, 2, 255, 255]]]
