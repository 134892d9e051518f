"""Writing comparisons: CSV for spreadsheets and statistics, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nansurfer.files import atomic_path
from nansurfer.report.comparison import Comparison, Region
from nansurfer.report.equivalence import ALPHA, EquivalenceTest
from nansurfer.report.table import write_table
from nansurfer.version import __version__

SCHEMA_VERSION = 1
"""Of the JSON file; rises when a field changes its meaning or goes."""


def write_comparison_csv(path: str | Path, comparisons: Sequence[Comparison]) -> None:
    """Write one line a structure and pair, and two a pair for whole volume and foreground, without a label.

    What is not a finite number (a distance that was not asked for, say) stays blank.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_table(path, [row for comparison in comparisons for row in _rows(comparison)])


def write_comparison_json(
    path: str | Path, comparisons: Sequence[Comparison], tests: Sequence[EquivalenceTest] | None = None
) -> None:
    """Write all comparisons and the tests of equivalence; what is not a finite number is null.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        "nansurfer_version": __version__,
        "pairs": [_pair_fields(comparison) for comparison in comparisons],
        "equivalence": None if tests is None else {"alpha": ALPHA, "tests": [_test_fields(test) for test in tests]},
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    pair = {"pair": comparison.pair, "a": str(comparison.a), "b": str(comparison.b)}
    for region in (*comparison.structures, comparison.whole, comparison.foreground):
        yield pair | _region_fields(region)


def _pair_fields(comparison: Comparison) -> dict[str, Any]:
    return {
        "pair": comparison.pair,
        "a": str(comparison.a),
        "b": str(comparison.b),
        "notes": list(comparison.notes),
        "mean_dice": _finite(comparison.mean_dice),
        "voxels_labelled": comparison.voxels_labelled,
        "whole_volume": _region_fields(comparison.whole),
        "foreground": _region_fields(comparison.foreground),
        "structures": [_region_fields(region) for region in comparison.structures],
    }


def _region_fields(region: Region) -> dict[str, Any]:
    return {
        "label": region.label,
        "name": region.name,
        "dice": _finite(region.dice),
        "volume_a_mm3": region.volume_a_mm3,
        "volume_b_mm3": region.volume_b_mm3,
        "volume_difference_percent": _finite(100 * region.volume_difference),
        "voxels_changed": region.voxels_changed,
        "hd95_mm": _finite(region.hd95_mm),
    }


def _test_fields(test: EquivalenceTest) -> dict[str, Any]:
    return {
        "measure": test.measure,
        "label": test.label,
        "name": test.region,
        "n_pairs": test.n_pairs,
        "margin_percent": 100 * test.margin,
        "mean_percent": _finite(100 * test.mean),
        "interval_90_low_percent": _finite(100 * test.low),
        "interval_90_high_percent": _finite(100 * test.high),
        "p": _finite(test.p),
        "outcome": test.outcome,
        "verdict": test.verdict,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
