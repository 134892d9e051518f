"""The picture of a benchmark: a waterfall of time, and the work and memory of each technique. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nansurfer.report.bench import BenchRow
from nansurfer.report.plot import GREY, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_INCHES = 9.6
_ROW_INCHES = 0.62
_REST_INCHES = 1.3  # axis and title
_BAR = 0.62  # height, as a share of a row
# Okabe and Ito's colours, told apart with any colour vision.
_TIME, _WORK, _MEMORY = "#0072B2", "#009E73", "#E69F00"
_SAVED = "#dce9f2"
_ROOM = 0.3  # beyond the longest bar, as a share of it, for its figure


def save_bench_plot(stem: str | Path, rows: Sequence[BenchRow], *, title: str = "") -> list[Path]:
    """Paths of the plot, written as ``stem.png`` and ``stem.svg``.

    A row a technique; pale is what it saves in time against the row above.

    Parameters
    ----------
    stem
        Path without suffix.
    rows
        Dense first.
    title
        What was segmented, and with what.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    return save_figure(stem, lambda: _figure(rows, title))


def _figure(rows: Sequence[BenchRow], title: str) -> Figure:
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and looks for a screen

    size = (_WIDTH_INCHES, _REST_INCHES + _ROW_INCHES * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    time, work, memory = figure.subplots(1, 3, sharey=True, width_ratios=(5, 3, 3))
    seconds = [row.network_s for row in rows]
    saved = [max(before - after, 0) for before, after in pairwise(seconds)]
    time.barh(range(1, len(rows)), saved, _BAR, left=seconds[1:], color=_SAVED)
    _draw(time, seconds, [f"{row.network_s:.1f} s  ({row.speedup:.1f}x)" for row in rows], _TIME)
    _draw(work, [row.gflop / 1e3 for row in rows], [f"{row.gflop / 1e3:.2f}" for row in rows], _WORK)
    gigabytes = [row.peak_memory_mb / 1e3 for row in rows]
    _draw(memory, gigabytes, [f"{value:.2f}" for value in gigabytes], _MEMORY)
    for axes, label in ((time, "Network time, s"), (work, "Work done, TFLOP"), (memory, "Peak memory, GB")):
        axes.set_xlabel(label)
    time.set_yticks(range(len(rows)), [f"{row.technique}\nDice {row.dice_whole:.5f}" for row in rows])
    time.invert_yaxis()
    figure.suptitle(title, fontsize="medium", color=GREY, parse_math=False)
    return figure


def _draw(axes: Axes, values: Sequence[float], figures: Sequence[str], color: str) -> None:
    """Bars with their figures behind them."""
    bars: Any = axes.barh(range(len(values)), values, _BAR, color=color)
    axes.bar_label(bars, figures, padding=4, fontsize="small")
    axes.margins(x=_ROOM)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
