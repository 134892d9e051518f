from __future__ import annotations

import numpy as np
import pytest

from nansurfer.volume import VIEWS, from_view, thick_slices, to_view, view_axes

VOLUME = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("view", "shape", "axes", "second_slice"),
    [
        ("coronal", (2, 3, 4), (0, 1, 2), [[1, 5, 9], [13, 17, 21]]),
        ("axial", (4, 2, 3), (2, 0, 1), [[4, 16], [5, 17], [6, 18], [7, 19]]),
        ("sagittal", (4, 3, 2), (2, 1, 0), [[12, 16, 20], [13, 17, 21], [14, 18, 22], [15, 19, 23]]),
    ],
)
def test_to_view_literal(view, shape, axes, second_slice):
    seen = to_view(VOLUME, view)
    assert seen.shape == shape
    assert view_axes(view) == axes
    assert seen[:, :, 1].tolist() == second_slice


@pytest.mark.parametrize(("view", "sources"), [("coronal", [0, 1, 2]), ("axial", [1, 2, 0]), ("sagittal", [2, 1, 0])])
def test_to_view_is_fastsurfers_moveaxis(view, sources):
    assert np.array_equal(to_view(VOLUME, view), np.moveaxis(VOLUME, [0, 1, 2], sources))


@pytest.mark.parametrize("view", VIEWS)
def test_from_view_inverts_without_a_copy(view):
    back = from_view(to_view(VOLUME, view), view)
    assert np.array_equal(back, VOLUME)
    assert np.shares_memory(back, VOLUME)


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 2, [[0, 0, 0, 0, 1, 2, 3], [0, 0, 0, 1, 2, 3, 4]]),
        (4, 5, [[1, 2, 3, 4, 5, 6, 7]]),
        (8, 10, [[5, 6, 7, 8, 9, 9, 9], [6, 7, 8, 9, 9, 9, 9]]),
        (3, 3, []),
    ],
)
def test_thick_slices_repeat_the_end_slices(start, stop, expected):
    volume = np.broadcast_to(np.arange(10, dtype=np.uint8), (2, 3, 10))
    thick = thick_slices(volume, start, stop)
    assert thick.shape == (stop - start, 7, 2, 3)
    assert thick.dtype == np.uint8
    assert thick.flags.c_contiguous
    assert thick[:, :, 1, 2].tolist() == expected


def test_thick_slices_of_a_volume_thinner_than_the_stack():
    volume = np.array([[[5, 9]]], dtype=np.uint8)
    assert thick_slices(volume, 0, 2, thickness=5)[:, :, 0, 0].tolist() == [[5, 5, 5, 9, 9], [5, 5, 9, 9, 9]]


@pytest.mark.parametrize("view", VIEWS)
def test_thick_slices_do_not_depend_on_where_the_range_starts(view):
    volume = np.random.default_rng(0).integers(0, 256, (12, 13, 14), dtype=np.uint8)
    seen = to_view(volume, view)
    whole = thick_slices(seen, 0, seen.shape[2])
    assert np.array_equal(thick_slices(seen, 5, 9), whole[5:9])
    assert np.array_equal(whole[:, 3], np.moveaxis(seen, 2, 0))
