"""Tests of equivalence, against the t-tests written out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nansurfer.errors import ConfigError
from nansurfer.report.comparison import Comparison, Region
from nansurfer.report.equivalence import EquivalenceTest, check_testable, equivalence_tests

pytest.importorskip("statsmodels")


def comparison(dice: float, volume_a: float, volume_b: float) -> Comparison:
    """A pair with one structure, which is also the whole."""
    region = Region(17, "Left-Hippocampus", dice, volume_a, volume_b, 0)
    whole = Region(None, "whole volume", dice, volume_a, volume_b, 0)
    paths = {"a": Path("a"), "b": Path("b"), "pair": "1", "notes": ()}
    return Comparison(structures=(region,), whole=whole, foreground=whole, voxels_labelled=1, **paths)


def hippocampus_of(differences: list[float], losses: list[float], margin: float = 0.01) -> dict[str, EquivalenceTest]:
    pairs = [comparison(1 - loss, 1000, 1000 * (1 + d)) for d, loss in zip(differences, losses, strict=True)]
    return {t.measure: t for t in equivalence_tests(pairs, margin) if t.label == 17}


DIFFERENCES = [0.004, -0.002, 0.006, 0.001]
LOSSES = [0.004, 0.006, 0.009, 0.005]


def test_as_written_out() -> None:
    tests = hippocampus_of(DIFFERENCES, LOSSES)
    volume, loss = tests["volume difference"], tests["Dice loss"]
    d, error = np.array(DIFFERENCES), stats.sem(DIFFERENCES)
    p_low, p_high = stats.t.sf((d.mean() + 0.01) / error, 3), stats.t.cdf((d.mean() - 0.01) / error, 3)
    assert (volume.mean, volume.p) == (pytest.approx(0.00225), pytest.approx(max(p_low, p_high)))
    half = stats.t.ppf(0.95, 3) * error
    assert (volume.low, volume.high) == (pytest.approx(d.mean() - half), pytest.approx(d.mean() + half))
    assert (volume.n_pairs, volume.outcome, volume.verdict) == (4, "shown", "equivalent within 1 %")
    expected = stats.ttest_1samp(LOSSES, 0.01, alternative="less").pvalue
    assert (loss.p, loss.verdict) == (pytest.approx(expected), "below 1 %")


@pytest.mark.parametrize("margin", [0.003, 0.005, 0.006, 0.0063, 0.01, 0.02])
def test_shown_is_when_the_interval_lies_inside(margin) -> None:
    volume, loss = hippocampus_of(DIFFERENCES, LOSSES, margin).values()
    assert (volume.outcome == "shown") == (-margin < volume.low and volume.high < margin)
    assert (loss.outcome == "shown") == (loss.high < margin)


def test_absence_of_evidence_is_not_equivalence() -> None:
    """No significant difference, and yet nothing shown: too few and too scattered."""
    volume = hippocampus_of([0.05, -0.06, 0.02], [0.02, 0.03, 0.01])["volume difference"]
    assert stats.ttest_1samp([0.05, -0.06, 0.02], 0).pvalue > 0.5
    assert (volume.outcome, volume.verdict) == ("not shown", "not shown")


def test_a_significant_difference_may_be_equivalent() -> None:
    differences = [0.0020, 0.0021, 0.0019, 0.0020, 0.00205]
    assert stats.ttest_1samp(differences, 0).pvalue < 1e-6
    assert hippocampus_of(differences, [0.001, 0.002, 0, 0, 0.001])["volume difference"].outcome == "shown"


def test_no_variance() -> None:
    equal, lost = hippocampus_of([0, 0, 0], [0.5, 0.5, 0.5]).values()
    assert (equal.outcome, equal.mean) == ("identical", 0)
    assert (lost.outcome, lost.mean) == ("not testable", 0.5)
    assert math.isnan(equal.p)
    assert math.isnan(lost.low)


def test_a_structure_that_a_lacks_is_not_testable() -> None:
    pairs = [comparison(0.99, 1000, 1001), comparison(0.98, 1000, 1003), comparison(0.0, 0, 5)]
    volume = next(iter(equivalence_tests(pairs, 0.01)))
    assert (volume.n_pairs, volume.mean, volume.outcome) == (3, math.inf, "not testable")


def test_pairs_without_the_structure_do_not_count() -> None:
    pairs = [comparison(0.99, 1000, 1001), comparison(math.nan, 0, 0), comparison(0.98, 1000, 1003)]
    volume, loss, *_ = equivalence_tests(pairs, 0.01)
    assert (volume.n_pairs, loss.n_pairs) == (2, 2)
    volume, *_ = equivalence_tests(pairs[:2], 0.01)
    assert (volume.n_pairs, volume.outcome) == (1, "not testable")


def test_the_summaries_come_last() -> None:
    tests = equivalence_tests([comparison(0.99, 10, 10), comparison(0.98, 10, 10)], 0.01)
    assert [(t.measure, t.region) for t in tests[2:]] == [
        ("volume difference", "whole volume"),
        ("Dice loss", "whole volume"),
        ("Dice loss", "mean of structures"),
    ]


@pytest.mark.parametrize("margin", [0, 1, -0.01, math.nan])
def test_margins_that_make_no_sense(margin) -> None:
    with pytest.raises(ConfigError, match=r"fraction between 0 and 1, 0\.01 for 1 %"):
        check_testable(margin, 5)


def test_one_pair_is_too_few() -> None:
    with pytest.raises(ConfigError, match="at least 2 pairs and there is 1"):
        check_testable(0.01, 1)


def test_without_statsmodels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nansurfer.report.equivalence.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'nansurfer\[stats\]'"):
        check_testable(0.01, 5)
