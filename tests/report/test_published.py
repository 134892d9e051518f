"""Which published figures stand beside a run's own, and what they are compared with."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from nansurfer.report import SkipReport
from nansurfer.report.published import compared_with_published


def with_options(report: SkipReport, **options: Any) -> SkipReport:
    return dataclasses.replace(report, options={**report.options, **options})


def test_only_what_was_computed_is_compared(tiny_report: SkipReport) -> None:
    comparison = compared_with_published(tiny_report)
    assert comparison is not None
    assert comparison.views == {"coronal": {"bottleneck": 1 / 2, "decode1": 6 / 8}}
    assert comparison.mean_skip_ratio == pytest.approx((4 / 8 + 1 / 2 + 6 / 8 + 0) / 4)
    assert comparison.published.views["coronal"]["decode1"] == 0.776


@pytest.mark.parametrize(
    ("mode", "threshold", "views"),
    [
        ("aggressive", 1, ["coronal"]),
        ("aggressive", 0.5, ["axial", "coronal", "sagittal"]),
        ("conservative", 0.5, ["axial", "coronal"]),
    ],
)
def test_published_policies(tiny_report: SkipReport, mode: str, threshold: float, views: list[str]) -> None:
    comparison = compared_with_published(with_options(tiny_report, nan=mode, threshold=threshold))
    assert comparison is not None
    assert list(comparison.published.views) == views
    assert list(comparison.views) == ["coronal"]


@pytest.mark.parametrize(
    ("mode", "threshold"), [("background", 0.5), ("aggressive", 0.75), ("conservative", 1), ("off", None)]
)
def test_unpublished_policies(tiny_report: SkipReport, mode: str, threshold: float | None) -> None:
    assert compared_with_published(with_options(tiny_report, nan=mode, threshold=threshold)) is None


def test_a_view_that_was_not_published_is_left_out(tiny_report: SkipReport) -> None:
    sagittal = dataclasses.replace(tiny_report.views[0], view="sagittal")
    both = compared_with_published(dataclasses.replace(tiny_report, views=(sagittal, *tiny_report.views)))
    assert both is not None
    assert list(both.views) == ["coronal"]
    assert compared_with_published(dataclasses.replace(tiny_report, views=(sagittal,))) is None


def test_nothing_to_compare_where_nothing_was_computed(tiny_report: SkipReport) -> None:
    nothing = dataclasses.replace(tiny_report.views[0], computed=np.zeros(3, bool))
    assert compared_with_published(dataclasses.replace(tiny_report, views=(nothing,))) is None
