"""The figures of the skip report, against a report worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from nansurfer.report import SkipReport, ViewSkips
from nansurfer.report.skips import LayerSkips, by_block


def test_a_slice_skipped_outright_is_skipped_in_every_window(coronal_skips: ViewSkips) -> None:
    np.testing.assert_array_equal(coronal_skips.skipped_windows, [[1, 4, 3], [0, 1, 1], [2, 4, 4], [0, 4, 0]])
    np.testing.assert_array_equal(coronal_skips.mixed_windows, [[2, 0, 1], [1, 0, 0], [1, 0, 0], [0, 0, 0]])
    assert (coronal_skips.skipped_share[1] == 1).all()
    np.testing.assert_array_equal(coronal_skips.skipped_share[[0, 2]], coronal_skips.tiles[[0, 2]])


def test_multiply_adds_of_slices(coronal_skips: ViewSkips) -> None:
    assert coronal_skips.macs_per_slice == 4 * 10 + 1 * 6 + 4 * 20 + 4 * 5
    np.testing.assert_array_equal(coronal_skips.macs_skipped_per_slice, [10 + 2 * 20, 146, 3 * 10 + 6 + 4 * 20])


def test_totals_of_layers(coronal_skips: ViewSkips) -> None:
    assert coronal_skips.layer_skips() == (
        LayerSkips("coronal", "encode1.conv0", 12, 8, 3, 120, 80),
        LayerSkips("coronal", "bottleneck.conv0", 3, 2, 1, 18, 12),
        LayerSkips("coronal", "decode1.conv0", 12, 10, 1, 240, 200),
        LayerSkips("coronal", "classifier.conv", 12, 4, 0, 60, 20),
    )


def test_totals_over_the_computed_slices(coronal_skips: ViewSkips) -> None:
    first, *_ = coronal_skips.layer_skips(computed_only=True)
    assert first == LayerSkips("coronal", "encode1.conv0", 8, 4, 3, 80, 40)


def test_ratios_of_a_layer() -> None:
    layer = LayerSkips("axial", "encode1.conv0", 12, 9, 3, 120, 90)
    assert (layer.block, layer.skip_ratio, layer.mixed_ratio) == ("encode1", 0.75, 0.25)


def test_ratios_of_a_run(tiny_report: SkipReport) -> None:
    assert tiny_report.mean_skip_ratio == pytest.approx((8 / 12 + 2 / 3 + 10 / 12 + 4 / 12) / 4)
    assert tiny_report.mac_skip_ratio == pytest.approx(312 / 438)
    assert tiny_report.speedup_bound == pytest.approx(438 / 126)


def test_views_count_by_their_work(tiny_report: SkipReport, coronal_skips: ViewSkips) -> None:
    axial = dataclasses.replace(coronal_skips, view="axial", computed=np.zeros(3, bool))
    report = dataclasses.replace(tiny_report, views=(coronal_skips, axial))
    assert report.mac_skip_ratio == pytest.approx((312 + 438) / (2 * 438))
    assert report.mean_skip_ratio == pytest.approx((0.625 + 1) / 2)
    assert [len(layers) for layers in by_block(report.layers).values()] == [2, 2, 2, 2]


def test_no_bound_if_all_is_skipped(tiny_report: SkipReport, coronal_skips: ViewSkips) -> None:
    nothing = dataclasses.replace(coronal_skips, computed=np.zeros(3, bool))
    report = dataclasses.replace(tiny_report, views=(nothing,))
    assert (report.mac_skip_ratio, report.speedup_bound) == (1, math.inf)


def test_counts_may_be_narrow_integers() -> None:
    """65,536 windows of 45,000 multiply-adds are more than 32 bits hold."""
    one = np.array([65536], np.int32)
    view = ViewSkips(
        "axial",
        ("encode1.conv0",),
        macs_per_window=np.array([45_000], np.int32),
        windows=one,
        skipped=one[None],
        mixed=np.zeros((1, 1), np.int32),
        computed=np.array([True]),
        tiles=np.ones((1, 2, 2), np.float32),
    )
    assert view.macs_per_slice == view.macs_skipped_per_slice[0] == 65536 * 45_000
