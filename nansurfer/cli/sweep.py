"""``nansurfer sweep``: what each threshold skips, saves and changes, for one T1."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nansurfer.cli.console import figures_table, set_up_logging
from nansurfer.cli.options import (
    OUTPUT,
    SKIPPING,
    Image,
    LogFile,
    NoPlot,
    Quiet,
    Verbose,
    parse_list,
    with_segment_choices,
)

if TYPE_CHECKING:
    from nansurfer.report.sweep import SweepRow

_OF_ALL_RUNS = ("weights", "views", "vox_size", "device", "precision", "threads", "batch_size", "engine")
_OF_POINTS = ("fill", "margin", "pool_margin", "max_ties", "tie_tolerance", "paper_compat")
_MAX_THRESHOLDS = 100  # a run takes minutes: more is a slip in the step


@partial(with_segment_choices, only=_OF_ALL_RUNS + _OF_POINTS)
def sweep(
    image: Image,
    output_dir: Annotated[
        Path,
        typer.Option("--output-dir", "-o", help="Folder for sweep.csv, the plot and the rest.", rich_help_panel=OUTPUT),
    ] = Path("sweep"),
    thresholds: Annotated[
        str,
        typer.Option(
            help="Shares of NaN in a window from which its convolution is skipped: START:STOP:STEP, with STOP, or "
            "numbers with commas.",
            rich_help_panel=SKIPPING,
        ),
    ] = "0.3:1.0:0.1",
    nan: Annotated[
        str,
        typer.Option(
            help="Modes, with commas: auto, aggressive, conservative, background. The dense run, off, always comes "
            "first.",
            rich_help_panel=SKIPPING,
        ),
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the sweep in that folder.", rich_help_panel=OUTPUT)
    ] = False,
    *,
    choices: dict[str, Any],
    no_plot: NoPlot = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Measure what skipping costs and saves, threshold by threshold.

    Segments INPUT densely, then in each mode at each threshold, and writes skip ratio, time and Dice against the
    dense run as sweep.csv, sweep.png and sweep.svg. Each row is on disk as soon as it is known: the same command
    goes on where it was interrupted, and further thresholds and modes join those that are there.
    """
    console = Console(stderr=True)
    set_up_logging(console, quiet=quiet, verbose=verbose, log_file=log_file)
    values = parse_thresholds(thresholds)

    from nansurfer.cli.display import progress_on
    from nansurfer.pipeline import make_options
    from nansurfer.pipeline.sweep import sweep as run_sweep
    from nansurfer.pipeline.sweep import sweep_points
    from nansurfer.report.plot import check_plotting
    from nansurfer.report.sweep_plot import save_sweep_plot

    points = sweep_points(parse_list(nan), values, **{name: choices[name] for name in _OF_POINTS})
    options = make_options(**{name: choices[name] for name in _OF_ALL_RUNS})
    if not no_plot:
        check_plotting()
    with progress_on(console, quiet=quiet) as progress:
        rows = list(run_sweep(image, output_dir, points, options, overwrite=overwrite, progress=progress))
    if not no_plot:
        save_sweep_plot(output_dir / "sweep", rows, title=f"{image.name}, weights {Path(choices['weights']).name}")
    if not quiet:
        Console().print(_table(rows, title=escape(str(output_dir))))


def parse_thresholds(text: str) -> tuple[float, ...]:
    """The thresholds that numbers and ranges START:STOP:STEP, with commas between, stand for: ascending, each once.

    Decimal arithmetic: ``0.3:1.0:0.1`` holds 0.8 and ends with 1, which sums of binary fractions miss.

    Raises
    ------
    typer.BadParameter
        A part is neither, a range is empty or very long, or a threshold is not above 0 and at most 1.
    """
    return tuple(map(float, sorted({value for part in parse_list(text) for value in _values(part)})))


def _values(part: str) -> list[Decimal]:
    """A number, or those of a range."""
    try:
        numbers = [Decimal(number) for number in part.split(":")]
    except InvalidOperation:
        numbers = []
    if len(numbers) not in (1, 3) or not all(number.is_finite() for number in numbers):
        raise _bad(f"'{part}' is neither a number nor START:STOP:STEP, such as 0.3:1.0:0.1")
    if outside := [number for number in numbers[:2] if not 0 < number <= 1]:
        raise _bad(f"{outside[0]} cannot be a threshold; these lie above 0 and at most at 1")
    if len(numbers) == 1:
        return numbers
    start, stop, step = numbers
    if step <= 0 or stop < start:
        raise _bad(f"the range '{part}' is empty; STEP must be above 0, and STOP not below START")
    if stop - start >= _MAX_THRESHOLDS * step:
        raise _bad(f"the range '{part}' holds more than {_MAX_THRESHOLDS} thresholds; choose a larger STEP")
    return [start + i * step for i in range(int((stop - start) / step) + 1)]


def _bad(sentence: str) -> typer.BadParameter:
    return typer.BadParameter(sentence, param_hint="--thresholds")


def _table(rows: Sequence[SweepRow], title: str) -> Table:
    """A row a run; skipped are multiply-adds, and the time is that in the networks."""
    columns = ("threshold", "fill", "margin", "skipped %", "time s", "time %", "Dice")
    table = figures_table(title, "mode", *columns)
    for row in rows:
        table.add_row(
            "dense" if row.is_dense else row.nan,
            _text(row.threshold, "g"),
            row.fill or "-",
            _text(row.margin, "d"),
            f"{100 * row.mac_skip_ratio:.1f}",
            f"{row.network_s:.1f}",
            _text(row.time_percent, ".1f"),
            f"{row.dice_whole:.6f}",
        )
    if len({row.engine for row in rows}) > 1:
        table.caption = "The runs used different engines (see sweep.csv), so their times cannot all be compared."
    return table


def _text(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)
