"""Skip ratios that the NaN papers published, to be shown beside a run's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nansurfer.report.skips import SkipReport, by_block, mean_skip_ratio

SOURCE = (
    '"NaN Pooling and Convolution Accelerate U-Nets" (ICLR 2025 submission 12429) and '
    '"Conservative & Aggressive NaNs Accelerate U-Nets for Neuroimaging" (arXiv 2601.17180)'
)
BLOCKS = ("encode2", "encode3", "encode4", "bottleneck", "decode4", "decode3", "decode2", "decode1", "outp_block")


@dataclass(frozen=True)
class PublishedRun:
    """FastSurferVINN on skull-stripped T1s, every slice computed.

    Parameters
    ----------
    mode, threshold
        NaN policy and the share of NaN from which a window is skipped.
    mean_skip_ratio
        Unweighted mean over all convolutions, None where it was not given.
    views
        View to block to the mean of the block's skip ratios, for the views and blocks that were given.
    """

    mode: str
    threshold: float
    mean_skip_ratio: float | None
    views: dict[str, dict[str, float]]


def _blocks(*ratios: float) -> dict[str, float]:
    return dict(zip(BLOCKS, ratios, strict=True))


_RUNS = (
    PublishedRun(
        "aggressive",
        1.0,
        0.335,
        {"coronal": _blocks(0.775, 0.679, 0.491, 0.211, 0.343, 0.597, 0.734, 0, 0)},
    ),
    PublishedRun(
        "aggressive",
        0.5,
        0.439,
        {
            "axial": _blocks(0.806, 0.762, 0.664, 0.481, 0.666, 0.764, 0.811, 0, 0),
            "coronal": _blocks(0.808, 0.760, 0.660, 0.474, 0.663, 0.762, 0.810, 0, 0),
            "sagittal": _blocks(0.804, 0.755, 0.661, 0.474, 0.663, 0.756, 0.807, 0, 0),
        },
    ),
    PublishedRun(
        "conservative",
        0.5,
        None,
        {
            "axial": _blocks(0, 0, 0, 0, 0.187, 0.436, 0.608, 0.764, 0.788),
            "coronal": _blocks(0, 0, 0, 0, 0.137, 0.412, 0.661, 0.776, 0.797),
        },
    ),
)


@dataclass(frozen=True)
class Comparison:
    """A run's skip ratios beside the published ones of the same policy and threshold.

    Parameters
    ----------
    published
        The papers' figures.
    mean_skip_ratio
        The run's own, of all its layers.
    views
        The run's own, defined alike, for the published views and blocks that the run has.

    Slices skipped outright are left out: the papers computed every slice.
    """

    published: PublishedRun
    mean_skip_ratio: float
    views: dict[str, dict[str, float]]


def compared_with_published(report: SkipReport) -> Comparison | None:
    """The run beside the published figures, None if there are none for its policy, threshold and views."""
    run = _published_run(report.options)
    layers = {v.view: v.layer_skips(computed_only=True) for v in report.views if v.computed.any()}
    if run is None or not layers.keys() & run.views.keys():
        return None
    blocks = {view: by_block(of_view) for view, of_view in layers.items() if view in run.views}
    return Comparison(
        run,
        mean_skip_ratio([layer for of_view in layers.values() for layer in of_view]),
        {view: {b: mean_skip_ratio(ls[b]) for b in BLOCKS if b in ls} for view, ls in blocks.items()},
    )


def _published_run(options: Mapping[str, Any]) -> PublishedRun | None:
    for run in _RUNS:
        if options["nan"] == run.mode and math.isclose(options["threshold"], run.threshold):
            return run
    return None
