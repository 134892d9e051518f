"""The picture of a sweep: what skipping costs in agreement and saves in time. Needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import compress, cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nansurfer.report.plot import GREY, save_figure
from nansurfer.report.sweep import SETTINGS, SweepRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_INCHES = (6.4, 7.0)
_DENSE: dict[str, Any] = {"color": "black", "marker": "D", "markersize": 9, "fillstyle": "none", "linestyle": "none"}
_DICE_TICKS = (0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 1)
_ROOM = 0.06  # above and below, as a share of the Dice axis
_LEAST_RANGE = 0.99  # the Dice axis begins there or below
_RESOLUTION = 1e-6  # about one of a brain's voxels; keeps a Dice of 1 on a logarithmic axis
_POINTS_PER_INCH = 72
_NEAR_POINTS = 12  # distance below which runs share one label for their thresholds
_MARKER_POINTS = 6  # width of a marker
_LABEL_PLACES = (((5, 4), "left"), ((-5, -11), "right"), ((-5, 4), "right"), ((5, -11), "left"))
"""Where a label may stand, in points from its run, and which of its ends is there; the first that is free is taken."""


class _Look(NamedTuple):
    """How a mode is drawn."""

    color: str
    marker: str


# Okabe and Ito's colours, told apart with any colour vision; and a shape each, for print without colour.
_LOOKS = {
    "background": _Look("#0072B2", "o"),
    "aggressive": _Look("#D55E00", "s"),
    "conservative": _Look("#009E73", "^"),
}
_OF_A_LINE = tuple(name for name in SETTINGS if name not in ("nan", "threshold"))  # the others make a line each
_LINES = (("-", "full"), ("--", "none"), (":", "left"), ("-.", "right"))
"""Line and filling of each setting of a mode."""


class _Series(NamedTuple):
    """Runs that differ in their threshold only, ascending."""

    label: str
    look: _Look
    line: str
    filling: str
    rows: list[SweepRow]


def save_sweep_plot(stem: str | Path, rows: Sequence[SweepRow], *, title: str = "") -> list[Path]:
    """Paths of the plot, written as ``stem.png`` and ``stem.svg``.

    Two panels over the share of multiply-adds that was skipped: Dice, and time, each against the dense run.

    Parameters
    ----------
    stem
        Path without suffix.
    rows
        The dense run's first, and at least one other.
    title
        What was segmented, and with what.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    return save_figure(stem, lambda: _figure(rows, title))


def _figure(rows: Sequence[SweepRow], title: str) -> Figure:
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and looks for a screen

    dense, *others = rows
    series = list(_series(others))
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    _draw_dice(upper, dense, series)
    _draw_time(lower, dense, series)
    figure.align_ylabels()
    figure.suptitle(title, fontsize="medium", color=GREY, parse_math=False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, title="Numbers in the upper panel: thresholds")
    figure.draw_without_rendering()  # settles the places from which the distances of the labels follow
    _label_thresholds(upper, series)
    return figure


def _series(rows: Sequence[SweepRow]) -> Iterator[_Series]:
    """A line a mode; several where the fill, say, differs, for these are other settings, not other thresholds."""
    by_threshold = sorted(rows, key=lambda row: row.threshold or 0)
    for mode in dict.fromkeys(row.nan for row in rows):
        settings: dict[tuple[str, ...], list[SweepRow]] = {}
        for row in by_threshold:
            if row.nan == mode:
                setting = tuple(f"{name.replace('_', ' ')} {getattr(row, name)}" for name in _OF_A_LINE)
                settings.setdefault(setting, []).append(row)
        differs = [len(set(values)) > 1 for values in zip(*settings, strict=True)]
        for (setting, members), (line, filling) in zip(settings.items(), cycle(_LINES), strict=False):
            label = ", ".join((mode, *compress(setting, differs)))
            yield _Series(label, _LOOKS[mode], line, filling, members)


def _draw_dice(axes: Axes, dense: SweepRow, series: Sequence[_Series]) -> None:
    """Dice as a number of nines, so that 0.999 and 0.9999 lie as far apart as 0.9 and 0.99."""
    for one in series:
        _draw(axes, one, [_nines(row.dice_whole) for row in one.rows], label=one.label)
    axes.plot(100 * dense.mac_skip_ratio, _nines(1), label="dense run", **_DENSE)
    worst = min(row.dice_whole for one in series for row in one.rows)
    lowest = max(tick for tick in _DICE_TICKS if tick <= min(worst, _LEAST_RANGE))
    ticks = [tick for tick in _DICE_TICKS if tick >= lowest]
    axes.set_yticks([_nines(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    room = _ROOM * (_nines(1) - _nines(lowest))
    axes.set_ylim(_nines(lowest) - room, _nines(1) + room)
    axes.set_ylabel("Dice against dense run")


def _draw_time(axes: Axes, dense: SweepRow, series: Sequence[_Series]) -> None:
    """Time in the networks, where comparable, and the line that it would follow if all multiply-adds took the same."""
    skipped = [row.mac_skip_ratio for row in (dense, *(row for one in series for row in one.rows))]
    ends = np.array([min(skipped), max(skipped)])
    bound = (1 - ends) / (1 - dense.mac_skip_ratio)
    line: dict[str, Any] = {"color": GREY, "linewidth": 1, "linestyle": (0, (6, 3))}
    axes.plot(100 * ends, 100 * bound, label="if time followed multiply-adds", **line)
    for one in series:
        _draw(axes, one, [row.time_percent for row in one.rows])
    axes.plot(100 * dense.mac_skip_ratio, 100, **_DENSE)
    axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
    axes.set_ylabel("Network time, % of dense run")
    axes.set_xlabel("Multiply-adds skipped, %")


def _draw(axes: Axes, one: _Series, values: Sequence[float | None], **options: Any) -> None:
    skipped = [100 * row.mac_skip_ratio for row in one.rows]
    options |= {"color": one.look.color, "marker": one.look.marker}
    axes.plot(skipped, np.array(values, float), linestyle=one.line, fillstyle=one.filling, **options)


def _label_thresholds(axes: Axes, series: Sequence[_Series]) -> None:
    """Write thresholds beside their points, where they hide neither a point nor each other as long as there is room."""
    from matplotlib.transforms import Bbox

    pixels_per_point = axes.figure.dpi / _POINTS_PER_INCH
    places = [axes.transData.transform(_points(one)) for one in series]
    half = _MARKER_POINTS / 2 * pixels_per_point
    taken = [Bbox([place - half, place + half]) for place in np.concatenate(places)]
    for one, own in zip(series, places, strict=True):
        for first, last in _near(own / pixels_per_point):
            ends = (f"{one.rows[i].threshold:g}" for i in (first, last))
            text, point = "–".join(dict.fromkeys(ends)), _points(one)[last]
            label = axes.annotate(
                text, point, (0, 0), textcoords="offset points", color=one.look.color, fontsize="small"
            )
            for offset, align in (*_LABEL_PLACES, _LABEL_PLACES[0]):
                label.set(position=offset, horizontalalignment=align)
                box = label.get_window_extent()
                if not box.count_overlaps(taken):
                    break
            taken.append(box)


def _points(one: _Series) -> list[tuple[float, float]]:
    """Where runs lie in the upper panel."""
    return [(100 * row.mac_skip_ratio, _nines(row.dice_whole)) for row in one.rows]


def _near(places: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """First and last of each stretch of places (N, 2) in which each is near the one before."""
    apart = np.linalg.norm(np.diff(places, axis=0), axis=1) >= _NEAR_POINTS
    edges = [0, *(np.flatnonzero(apart) + 1).tolist(), len(places)]
    for first, end in pairwise(edges):
        yield first, end - 1


def _nines(dice: float) -> float:
    """How many nines a Dice overlap has: 2 for 0.99, and 6 for 1."""
    return -math.log10(1 - dice + _RESOLUTION)
