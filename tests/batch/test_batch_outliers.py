"""Which values of a batch stand apart, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nansurfer.batch.outliers import usual_range

COUNTED = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9])
"""Median 5; deviations 4, 3, 2, 1, 0, 1, 2, 3, 4, of which 2 is the median."""


def test_literal() -> None:
    usual = usual_range(COUNTED)
    assert usual is not None
    assert (usual.median, usual.mad) == (5, 2)
    assert usual.score(9) == pytest.approx(0.6745 * 4 / 2)
    assert usual.bounds == pytest.approx((5 - 7 / 0.6745, 5 + 7 / 0.6745))


@pytest.mark.parametrize(("value", "held"), [(15.37, True), (15.38, False), (-5.37, True), (-5.38, False)])
def test_bounds_are_where_the_score_is_three_and_a_half(value: float, held: bool) -> None:
    usual = usual_range(COUNTED)
    assert usual is not None
    assert usual.holds(value) is held


def test_an_outlier_hides_neither_itself_nor_another() -> None:
    """As it would with mean and standard deviation."""
    usual = usual_range(np.append(COUNTED, [1000, 1000]))
    assert usual is not None
    assert not usual.holds(1000)


def test_of_normal_values_few_are_marked() -> None:
    """The score of a normal value is its z-score: one in 2,150 is beyond 3.5."""
    values = np.random.default_rng(0).normal(1200, 100, 100_000)
    usual = usual_range(values)
    assert usual is not None
    assert usual.score(1300) == pytest.approx(1, abs=0.02)
    assert np.mean([not usual.holds(value) for value in values]) == pytest.approx(1 / 2150, rel=0.2)


@pytest.mark.parametrize(
    "values",
    [[], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7, math.nan], [3.0] * 6 + [1, 2, 4, 900]],
    ids=["none", "seven", "seven and an unknown", "most are equal"],
)
def test_no_range(values: list[float]) -> None:
    assert usual_range(np.array(values, float)) is None


def test_unknown_values_are_left_out() -> None:
    assert usual_range(np.append(COUNTED, math.nan)) == usual_range(COUNTED)
