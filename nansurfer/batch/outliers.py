"""Which values stand apart from the others of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_VALUES = 8
"""With fewer, a median and its deviation say too little."""

MAX_SCORE = 3.5
"""Modified z-score beyond which Iglewicz and Hoaglin (*How to Detect and Handle Outliers*, 1993) see an outlier."""

_NORMAL_MAD = 0.6745
"""Median absolute deviation of a normal distribution of standard deviation 1."""


@dataclass(frozen=True)
class UsualRange:
    """Where most values of a batch lie.

    Parameters
    ----------
    median
        Of the values.
    mad
        Median of their absolute deviations from the median, above 0.
    """

    median: float
    mad: float

    def score(self, value: float) -> float:
        """Modified z-score of a value: 0.6745 (value - median) / mad."""
        return _NORMAL_MAD * (value - self.median) / self.mad

    def holds(self, value: float) -> bool:
        """Whether a value is no outlier; NaN, the unknown, is none."""
        return not abs(self.score(value)) > MAX_SCORE

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value that are no outliers."""
        reach = MAX_SCORE * self.mad / _NORMAL_MAD
        return self.median - reach, self.median + reach


def usual_range(values: npt.NDArray[np.float64]) -> UsualRange | None:
    """The range of values (n,), NaN left out; None for fewer than eight, or if more than half are equal.

    Copies of one scan, say, have no spread that another could be measured against.
    """
    known = values[~np.isnan(values)]
    if known.size < MIN_VALUES:
        return None
    median = float(np.median(known))
    mad = float(np.median(np.abs(known - median)))
    return UsualRange(median, mad) if mad > 0 else None
