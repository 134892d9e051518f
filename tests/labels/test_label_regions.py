"""Boxes and components."""

from __future__ import annotations

import numpy as np

from nansurfer.labels.regions import components_and_centres, content_box, largest_component


def test_box_grows_and_stops_at_the_border() -> None:
    mask = np.zeros((10, 10, 10), bool)
    mask[1, 4:6, 9] = True
    assert content_box(mask) == (slice(1, 2), slice(4, 6), slice(9, 10))
    assert content_box(mask, margin=2) == (slice(0, 4), slice(2, 8), slice(7, 10))


def test_box_of_nothing_is_everything() -> None:
    assert content_box(np.zeros((2, 3, 4), bool), margin=5) == (slice(0, 2), slice(0, 3), slice(0, 4))


def test_corners_connect() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    assert np.argwhere(largest_component(mask)).tolist() == [[0, 0, 0], [1, 1, 1]]


def test_of_equal_components_the_first_is_largest() -> None:
    mask = np.array([[[True, False, True]]])
    assert largest_component(mask).tolist() == [[[True, False, False]]]


def test_no_component() -> None:
    assert not largest_component(np.zeros((3, 3, 3), bool)).any()


def test_centres_are_in_the_larger_volume() -> None:
    mask = np.zeros((3, 3, 5), bool)
    mask[0, 0, 0:2] = mask[2, 2, 4] = True
    components, sizes, centres = components_and_centres(mask, origin=(10, 20, 30))
    assert components[2, 2, 4] == 2
    assert sizes.tolist() == [2, 1]
    assert centres.tolist() == [[10.0, 20.0, 30.5], [12.0, 22.0, 34.0]]
