"""The 95 % Hausdorff distance, against literal answers and the definition by a distance transform."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from nansurfer.errors import InputGeometryError
from nansurfer.labels import hausdorff95


def ball(centre: tuple[int, int, int], radius: float, shape: tuple[int, int, int] = (24, 20, 16)) -> np.ndarray:
    distance = np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - centre, axis=-1)
    return np.where(distance <= radius, 17, 0)


def by_distance_transform(a: np.ndarray, b: np.ndarray, voxel_mm: tuple[float, float, float]) -> float:
    edge_a, edge_b = (mask & ~ndimage.binary_erosion(mask) for mask in (a > 0, b > 0))
    to_a, to_b = (ndimage.distance_transform_edt(~edge, sampling=voxel_mm) for edge in (edge_a, edge_b))
    return max(np.percentile(to_b[edge_a], 95), np.percentile(to_a[edge_b], 95))


def test_two_voxels() -> None:
    a, b = np.zeros((2, 8, 8, 8), int)
    a[1, 2, 3], b[4, 2, 7] = 17, 17
    assert hausdorff95(a, b, [17], np.eye(4)) == {17: 5}
    assert hausdorff95(a, b, [17], np.diag([2, 1, 1, 1])) == {17: math.sqrt(36 + 16)}


def test_a_shifted_slab() -> None:
    a = np.zeros((8, 8, 8), int)
    a[2:4] = 2
    assert hausdorff95(a, np.roll(a, 2, axis=0), [2], np.eye(4)) == {2: 2}


def test_the_far_twentieth_does_not_count() -> None:
    """Of 40 surface voxels of A, the last lies 5 mm from B, the one before 1 mm: the percentile is between."""
    a, b = np.zeros((2, 50, 1, 1), int)
    a[:39], a[43], b[:39] = 5, 5, 5
    # Sorted distances: 39 zeros, then 5. The 95th percentile lies at 0.95 * 39 = 37.05, between zeros.
    assert hausdorff95(a, b, [5], np.eye(4)) == {5: 0}
    a[40:43] = 5  # now 43 voxels with distances 2, 3, 4 and 5: position 0.95 * 42 = 39.9, between 2 and 3
    assert hausdorff95(a, b, [5], np.eye(4)) == {5: pytest.approx(2.9)}


def test_the_larger_direction_counts() -> None:
    a = ball((8, 8, 8), 3)
    b = a.copy()
    b[18:22, 6:12, 6:12] = 17  # far from A, while A is near to B everywhere
    there, back = hausdorff95(a, b, [17], np.eye(4)), hausdorff95(b, a, [17], np.eye(4))
    assert there == back
    assert there[17] > 8


@pytest.mark.parametrize("voxel_mm", [(1, 1, 1), (0.7, 0.8, 1.2)])
def test_as_by_a_distance_transform(voxel_mm) -> None:
    a, b = ball((10, 9, 8), 5.5), ball((12, 10, 7), 6.5)
    assert hausdorff95(a, b, [17], np.diag([*voxel_mm, 1])) == {
        17: pytest.approx(by_distance_transform(a, b, voxel_mm))
    }


def test_orientation_and_place_do_not_matter() -> None:
    a, b = ball((10, 9, 8), 5), ball((12, 10, 7), 6)
    lia = np.array([[-1.0, 0, 0, 128], [0, 0, 1, -128], [0, -1, 0, 128], [0, 0, 0, 1]])
    assert hausdorff95(a, b, [17], lia) == hausdorff95(a, b, [17], np.eye(4))


def test_missing_labels_and_equal_volumes() -> None:
    a = ball((10, 9, 8), 5)
    distances = hausdorff95(a, a * 0, [17, 53], np.eye(4))
    assert list(distances) == [17, 53]
    assert all(map(math.isnan, distances.values()))
    assert hausdorff95(a, a, [17], np.eye(4)) == {17: 0}
    assert hausdorff95(a, a, [], np.eye(4)) == {}


def test_other_shapes() -> None:
    with pytest.raises(InputGeometryError, match="one grid"):
        hausdorff95(np.zeros((4, 4, 4), int), np.zeros((4, 4, 5), int), [17], np.eye(4))
