"""What is skipped by which options, and the log of it."""

from __future__ import annotations

import numpy as np
import pytest

from nansurfer.engine import SliceCounts
from nansurfer.errors import ConfigError
from nansurfer.pipeline import make_options
from nansurfer.pipeline.skipping import SkipLog, SkipOptions


def chosen(**options) -> tuple:
    choices = SkipOptions(**options).chosen()
    return tuple(
        choices[name] for name in ("nan", "threshold", "fill", "margin", "pool_margin", "max_ties", "tie_tolerance")
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("background", 0.5, "blank", 3, 2, None, None)),
        ({"threshold": 1.0}, ("background", 1.0, "blank", 2, 2, None, None)),
        ({"threshold": 0.3}, ("background", 0.3, "blank", 8, 2, None, None)),
        ({"threshold": 0.5, "margin": 5, "pool_margin": 0}, ("background", 0.5, "blank", 5, 0, None, None)),
        ({"nan": "background", "fill": "mean"}, ("background", 0.5, "mean", 3, 0, None, None)),
        ({"nan": "aggressive"}, ("aggressive", 0.5, "mean", None, None, 1, 1e-7)),
        ({"nan": "conservative", "threshold": 1.0, "max_ties": 2}, ("conservative", 1.0, "mean", None, None, 2, 1e-7)),
        ({"nan": "off"}, ("off", None, None, None, None, None, None)),
    ],
)
def test_what_is_not_chosen_follows_from_the_rest(options, expected):
    assert chosen(**options) == expected


@pytest.mark.parametrize(("scale", "margin"), [(1.0, 3), (1.25, 6), (1 / 0.7, 7), (0.9, 3)])
def test_smaller_voxels_have_a_wider_margin(scale, margin) -> None:
    assert SkipOptions().chosen(scale)["margin"] == margin
    assert SkipOptions("background", margin=4).chosen(scale)["margin"] == 4


@pytest.mark.parametrize(
    ("options", "finds"),
    [
        ({}, True),
        ({"find_brain": False}, False),
        ({"threshold": 0.5}, True),
        ({"threshold": 0.75}, False),
        ({"threshold": 0.4}, False),
        ({"threshold": 0.75, "find_brain": True}, True),
        ({"paper_compat": True}, False),
        ({"nan": "off", "find_brain": False}, False),
        ({"nan": "off"}, False),
        ({"nan": "background"}, False),
        ({"nan": "background", "find_brain": True}, True),
        ({"nan": "conservative"}, False),
        ({"nan": "aggressive", "find_brain": True}, True),
    ],
)
def test_when_the_brain_is_looked_for(options, finds):
    assert SkipOptions(**options).finds_brain is finds


def test_the_layers_policy():
    policy = SkipOptions(nan="aggressive", tie_tolerance=1e-3, paper_compat=True).policy()
    assert (policy.mode, policy.threshold, policy.fill, policy.rtol) == ("aggressive", 0.5, "mean", 1e-3)
    assert policy.count_include_pad
    assert SkipOptions(nan="off").policy().mode == "off"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nan": "some"}, "nan is 'some'; choose one of auto, off"),
        ({"threshold": 0.0}, "threshold is 0;"),
        ({"threshold": 1.5}, "threshold is 1.5;"),
        ({"threshold": -0.1}, "threshold is -0.1;"),
        ({"threshold": float("nan")}, "threshold is nan;"),
        ({"fill": "noise"}, "noise"),
        ({"margin": -1}, "margin is -1; it must be 0 or more"),
        ({"pool_margin": -1}, "pool_margin is -1; it must be 0 or more"),
        ({"nan": "aggressive", "max_ties": 0}, "max_ties is 0; it must be 1 or more"),
        ({"nan": "aggressive", "tie_tolerance": float("nan")}, "tie_tolerance is nan; it must be 0 or more"),
        ({"nan": "off", "threshold": 0.5}, "threshold has no say when nan is 'off'"),
        ({"nan": "aggressive", "margin": 3}, "margin has no say"),
        ({"fill": "mean", "pool_margin": 3}, "pool margin is 3"),
        ({"max_ties": 2, "tie_tolerance": 0.1}, "max_ties, tie_tolerance has no say when nan is 'auto'"),
        ({"nan": "conservative", "fill": "blank"}, "blank"),
        ({"nan": "off", "find_brain": True}, "find_brain has no say where nothing is to be left out"),
        ({"paper_compat": True, "find_brain": True}, "find_brain has no say where nothing is to be left out"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        SkipOptions(**options)


def test_fastsurfer_compat_skips_nothing_unless_told_to():
    assert make_options(fastsurfer_compat=True).skip == SkipOptions(nan="off")
    told = make_options(fastsurfer_compat=True, nan="aggressive", threshold=1.0)
    assert told.skip == SkipOptions(nan="aggressive", threshold=1.0)


def counts(skipped: list[list[int]], computed: list[bool]) -> SliceCounts:
    n = len(computed)
    return SliceCounts(
        layers=("a.conv", "b.conv"),
        macs_per_window=np.array([10, 1]),
        windows=np.array([8, 4]),
        skipped=np.array(skipped),
        mixed=np.ones((2, n), np.int64),
        computed=np.array(computed),
        tiles=np.full((n, 1, 2), 0.25, np.float32),
        counting_s=0.5,
    )


def test_slices_that_are_never_mentioned_were_skipped_outright():
    log = SkipLog()
    log.add("axial", 1, 5, counts([[2, 3], [0, 4]], [True, True]))
    log.add("axial", 3, 5, counts([[8], [4]], [False]))
    (view,) = log.views
    assert (view.view, view.n_slices) == ("axial", 5)
    assert view.computed.tolist() == [False, True, True, False, False]
    assert view.skipped_windows.tolist() == [[8, 2, 3, 8, 8], [4, 0, 4, 4, 4]]
    assert view.mixed_windows.tolist() == [[0, 1, 1, 0, 0]] * 2
    assert view.skipped_share[:, 0, 0].tolist() == [1, 0.25, 0.25, 1, 1]
    assert log.counting_s == 1.0


def test_a_slice_that_is_computed_again_counts_once():
    log = SkipLog()
    for _ in range(2):
        log.add("coronal", 0, 2, counts([[2], [1]], [True]))
    assert log.views[0].skipped_windows.tolist() == [[2, 8], [1, 4]]
