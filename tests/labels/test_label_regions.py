"""Components."""

from __future__ import annotations

import numpy as np

from nansurfer.labels.regions import components_and_centres, largest_component


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
