"""Whether segmentation B may stand in for A: tests of equivalence over several subjects.

A test of difference that finds none proves nothing; these tests have to show that the difference is small.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np
import numpy.typing as npt

from nansurfer.errors import ConfigError
from nansurfer.report.comparison import Comparison, by_structure

ALPHA = 0.05
"""Significance level of each one-sided test; the interval that goes with it is that of 1 - 2 ALPHA."""

MIN_PAIRS = 2

Measure = Literal["volume difference", "Dice loss"]
Outcome = Literal["shown", "not shown", "identical", "not testable"]


@dataclass(frozen=True)
class EquivalenceTest:
    """One measure of one region, tested over pairs.

    Parameters
    ----------
    measure
        ``"volume difference"`` (B less A, as a fraction of A) or ``"Dice loss"`` (1 less Dice).
    label, region
        The structure, or a summary over structures, which has no number.
    n_pairs
        Pairs in which either segmentation has it.
    margin
        What the mean has to stay within (volume difference) or below (Dice loss), as a fraction.
    mean
        Over the pairs; nan where it cannot be told.
    low, high
        Ends of the mean's 90 % confidence interval; nan where there is none.
    p
        The larger p of the two one-sided tests (volume difference), or that of the one test (Dice loss); nan
        where there was none.
    outcome
        ``"identical"``: all differences are 0, and nothing is left to test. ``"not testable"``: fewer than two
        pairs, the same difference in every pair, or a structure that A lacks in a pair and B has.
    """

    measure: Measure
    label: int | None
    region: str
    n_pairs: int
    margin: float
    mean: float
    low: float
    high: float
    p: float
    outcome: Outcome

    @property
    def claim(self) -> str:
        """What the test is to show, in words."""
        what = "equivalent within" if self.measure == "volume difference" else "below"
        return f"{what} {100 * self.margin:g} %"

    @property
    def verdict(self) -> str:
        """The outcome in words: the claim, if it was shown."""
        return self.claim if self.outcome == "shown" else self.outcome


def check_testable(margin: float, n_pairs: int) -> None:
    """Check, before anything is computed, that there can be tests.

    Raises
    ------
    ConfigError
        The margin is not between 0 and 1, there are fewer than two pairs, or statsmodels is not installed.
    """
    if not 0 < margin < 1:
        raise ConfigError(f"The margin is {margin:g}; give a fraction between 0 and 1, 0.01 for 1 %.")
    if n_pairs < MIN_PAIRS:
        raise ConfigError(f"A test of equivalence needs at least {MIN_PAIRS} pairs and there is {n_pairs}; add pairs.")
    if find_spec("statsmodels") is None:
        raise ConfigError("Tests of equivalence need statsmodels, which is missing: pip install 'nansurfer[stats]'.")


def equivalence_tests(comparisons: Sequence[Comparison], margin: float) -> list[EquivalenceTest]:
    """Tests that the volumes are equivalent and the overlap is not inferior, over independent pairs.

    Parameters
    ----------
    comparisons
        One a subject: pairs of the same subject are not independent.
    margin
        Fraction, 0.01 for 1 %.

    Returns
    -------
    tests
        Of every structure, volume difference and Dice loss; of the whole volume the same; of the mean over
        structures the Dice loss.

    Raises
    ------
    ConfigError
        As `check_testable`.

    Notes
    -----
    Volume difference: two one-sided t-tests (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987) that the mean
    of (B - A) / A over the pairs lies within ± margin; both must reject, which is when its 90 % interval lies
    inside. Dice loss cannot be negative, so one one-sided t-test that the mean of 1 - Dice lies below the
    margin. All at a level of 0.05, with statsmodels' ``DescrStatsW``. To claim that *all* regions pass needs
    no correction for their number; to single out some does.
    """
    check_testable(margin, len(comparisons))
    return [_test(*series, margin=margin) for series in _series(comparisons)]


def _series(comparisons: Sequence[Comparison]) -> Iterator[tuple[Measure, int | None, str, list[float]]]:
    """Each measure of each region with its values, one a pair that has the region."""
    for regions in [*by_structure(comparisons), [c.whole for c in comparisons]]:
        label, name = regions[0].label, regions[0].name
        yield "volume difference", label, name, [r.volume_difference for r in regions]
        yield "Dice loss", label, name, [1 - r.dice for r in regions]
    yield "Dice loss", None, "mean of structures", [1 - c.mean_dice for c in comparisons]


def _test(measure: Measure, label: int | None, region: str, values: Sequence[float], margin: float) -> EquivalenceTest:
    x = np.array([value for value in values if not math.isnan(value)])
    mean, low, high, p = float(x.mean()) if x.size else math.nan, math.nan, math.nan, math.nan
    outcome: Outcome = "not testable"
    if x.size >= MIN_PAIRS and not x.any():
        outcome = "identical"
    elif x.size >= MIN_PAIRS and np.isfinite(x).all() and np.ptp(x) > 0:
        low, high, p = _t_tests(x, margin, two_sided=measure == "volume difference")
        outcome = "shown" if p < ALPHA else "not shown"
    return EquivalenceTest(measure, label, region, x.size, margin, mean, low, high, p, outcome)


def _t_tests(x: npt.NDArray[np.float64], margin: float, *, two_sided: bool) -> tuple[float, float, float]:
    """Ends of the mean's interval, and the p value: against ± ``margin``, or against ``margin`` from below."""
    from statsmodels.stats.weightstats import DescrStatsW

    sample = DescrStatsW(x)
    low, high = sample.tconfint_mean(alpha=2 * ALPHA)
    p = sample.ttost_mean(-margin, margin)[0] if two_sided else sample.ttest_mean(margin, alternative="smaller")[1]
    return float(low), float(high), float(p)
