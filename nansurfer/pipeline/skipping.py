"""What may be left out of the networks' computation, and the log of what was."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Literal, get_args

import numpy as np

from nansurfer.engine import SliceCounts
from nansurfer.errors import ConfigError
from nansurfer.nn import Fill, NaNPolicy
from nansurfer.report import ViewSkips
from nansurfer.volume import View

NaNMode = Literal["auto", "off", "aggressive", "conservative", "background"]

_PAPERS = {"threshold": 0.5, "fill": "mean", "max_ties": 1, "tie_tolerance": 1e-7}
_BACKGROUND = {"threshold": 0.5, "fill": "blank"}
_MARGINS = ((0.7, 2), (0.5, 3))
_WIDEST_MARGIN = 8
"""From a threshold on, the margin, and that below them all. Where windows that are NaN in part are skipped, what is
computed loses its corners with every convolution: the margin is what it may lose."""
_POOL_MARGIN = 2
_RESAMPLED = 2
"""Voxels of margin that resampling to 1 mm and back costs: each time, NaN spreads by one."""
_LEAST = {"margin": 0, "pool_margin": 0, "max_ties": 1, "tie_tolerance": 0}  # the threshold is the policy's to check
_FINDING_BRAIN_PAYS = (None, 0.5)
"""Thresholds. Above, the last block is computed for all of the head; below, what is computed loses its border."""


@dataclass(frozen=True)
class SkipOptions:
    """What may be skipped; None leaves a choice to the mode.

    Parameters
    ----------
    nan
        ``"off"``: nothing. ``"aggressive"``: what follows from NaN for the tied maxima of poolings.
        ``"conservative"``: the same, but from the unpoolings on. ``"background"``: what follows from NaN for the
        background around the head. ``"auto"``: the best of these by measurement, which is background.
    threshold
        Share of NaN in a convolution's window, above 0 and at most 1, from which it is skipped.
    fill
        What stands for NaN in the other windows: the ``"mean"`` of their values, as in the papers, ``"zero"``, or
        ``"blank"``, what the layer sees of an empty slice (background only).
    margin
        Voxels of background around the head that are computed all the same (background only). By default, the higher
        the threshold, the fewer; and the smaller the voxels, the more.
    pool_margin
        Pixels around what is kept that every pooling keeps as well (background with blank fill only).
    max_ties
        Equal values that a maximum may have without being NaN (aggressive and conservative only).
    tie_tolerance
        Relative difference up to which values are equal (aggressive and conservative only).
    paper_compat
        As the papers: every slice is computed, padding counts as values, and a voxel that is NaN in any view is
        background.
    find_brain
        Whether the first view tells where the brain is, and the others label only what is near it
        (:mod:`nansurfer.pipeline.brain`); None: in mode ``"auto"`` at its own threshold.

    Raises
    ------
    ConfigError
        A value makes no sense, or has no say in this mode.
    """

    nan: NaNMode = "auto"
    threshold: float | None = None
    fill: Fill | None = None
    margin: int | None = None
    pool_margin: int | None = None
    max_ties: int | None = None
    tie_tolerance: float | None = None
    paper_compat: bool = False
    find_brain: bool | None = None

    def __post_init__(self) -> None:
        if self.nan not in get_args(NaNMode):
            raise ConfigError(f"nan is '{self.nan}'; choose one of {', '.join(get_args(NaNMode))}.")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ConfigError(f"{name} is {value}; it must be {least} or more.")
        meaningless = [name for name in self._without_say if getattr(self, name) is not None]
        if meaningless:
            raise ConfigError(f"{', '.join(meaningless)} has no say when nan is '{self.nan}'; leave it out.")
        if self.find_brain and (self.nan == "off" or self.paper_compat):
            raise ConfigError(
                "find_brain has no say where nothing is to be left out (nan 'off', paper_compat); leave it out."
            )
        self.policy()

    @property
    def _without_say(self) -> tuple[str, ...]:
        if self.nan == "off":
            return "threshold", "fill", "margin", "pool_margin", "max_ties", "tie_tolerance"
        return ("max_ties", "tie_tolerance") if self.marks_background else ("margin", "pool_margin")

    @property
    def marks_background(self) -> bool:
        """Whether NaN enters at the input."""
        return self.nan in ("auto", "background")

    @property
    def finds_brain(self) -> bool:
        """Whether the brain is looked for."""
        if self.find_brain is not None:
            return self.find_brain
        return self.nan == "auto" and self.threshold in _FINDING_BRAIN_PAYS and not self.paper_compat

    def chosen(self, scale: float = 1.0) -> dict[str, Any]:
        """Every choice by its name, None where it has no say; for voxels of 1 mm / ``scale``."""
        given = asdict(self)
        if self.nan != "off":
            given["find_brain"] = self.finds_brain
            defaults = _BACKGROUND if self.marks_background else _PAPERS
            given |= {name: value for name, value in defaults.items() if given[name] is None}
        if self.marks_background:
            given["nan"] = "background"
            if self.margin is None:
                margins = (margin for least, margin in _MARGINS if given["threshold"] >= least)
                margin = next(margins, _WIDEST_MARGIN)
                given["margin"] = ceil(margin * scale) + _RESAMPLED if scale > 1 else margin
            if self.pool_margin is None:
                given["pool_margin"] = _POOL_MARGIN if given["fill"] == "blank" else 0
        return given

    def policy(self) -> NaNPolicy:
        """What the networks' layers need to know."""
        chosen = self.chosen()
        names = ("threshold", "fill", "pool_margin", "max_ties")
        choices = {name: chosen[name] for name in names if chosen[name] is not None}
        if chosen["tie_tolerance"] is not None:
            choices["rtol"] = chosen["tie_tolerance"]
        return NaNPolicy(chosen["nan"], count_include_pad=self.paper_compat, **choices)


class SkipLog:
    """Collects what the engines skipped, and where; slices never mentioned were skipped outright."""

    def __init__(self) -> None:
        self._views: dict[View, ViewSkips] = {}
        self.counting_s = 0.0

    def add(self, view: View, start: int, n_slices: int, counts: SliceCounts) -> None:
        """Counts of the slices of a view from ``start`` on; ``n_slices`` are all of the volume."""
        if view not in self._views:
            self._views[view] = _nothing_computed(view, n_slices, counts)
        skips = self._views[view]
        part = slice(start, start + len(counts.computed))
        skips.skipped[:, part], skips.mixed[:, part] = counts.skipped, counts.mixed
        skips.computed[part], skips.tiles[part] = counts.computed, counts.tiles
        self.counting_s += counts.counting_s

    @property
    def views(self) -> tuple[ViewSkips, ...]:
        """What each view skipped, in the order in which they were computed."""
        return tuple(self._views.values())


def _nothing_computed(view: View, n_slices: int, counts: SliceCounts) -> ViewSkips:
    n_layers = len(counts.layers)
    return ViewSkips(
        view=view,
        layers=counts.layers,
        macs_per_window=counts.macs_per_window,
        windows=counts.windows,
        skipped=np.repeat(counts.windows[:, None], n_slices, axis=1),
        mixed=np.zeros((n_layers, n_slices), np.int64),
        computed=np.zeros(n_slices, bool),
        tiles=np.ones((n_slices, *counts.tiles.shape[1:]), np.float32),
    )
