"""``nansurfer sweep``: what each threshold skips, saves and changes, for one T1."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nansurfer.cli.console import figures_table, set_up_logging
from nansurfer.cli.options import (
    OUTPUT,
    SKIPPING,
    BatchSize,
    Device,
    Engine,
    Fill,
    Image,
    LogFile,
    Margin,
    NoPlot,
    PaperCompat,
    Precision,
    Quiet,
    Threads,
    Verbose,
    Views,
    VoxSize,
    Weights,
    parse_list,
    parse_vox_size,
)

if TYPE_CHECKING:
    from nansurfer.report.sweep import SweepRow

_MAX_THRESHOLDS = 100  # a run takes minutes: more is a slip in the step


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
    fill: Fill = None,
    margin: Margin = None,
    paper_compat: PaperCompat = False,
    weights: Weights = "compact",
    views: Views = "axial,coronal,sagittal",
    vox_size: VoxSize = "min",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    batch_size: BatchSize = 1,
    engine: Engine = "auto",
    no_plot: NoPlot = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the sweep in that folder.", rich_help_panel=OUTPUT)
    ] = False,
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

    points = sweep_points(parse_list(nan), values, fill=fill, margin=margin, paper_compat=paper_compat)
    options = make_options(
        weights=weights,
        views=parse_list(views),
        vox_size=parse_vox_size(vox_size),
        device=device,
        precision=precision,
        threads=threads,
        batch_size=batch_size,
        engine=engine,
    )
    if not no_plot:
        check_plotting()
    with progress_on(console, quiet=quiet) as progress:
        rows = list(run_sweep(image, output_dir, points, options, overwrite=overwrite, progress=progress))
    if not no_plot:
        save_sweep_plot(output_dir / "sweep", rows, title=f"{image.name}, weights {Path(weights).name}")
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
            f"{100 * row.time_ratio:.1f}",
            f"{row.dice_whole:.6f}",
        )
    if len({row.engine for row in rows}) > 1:
        table.caption = "The runs used different engines (see sweep.csv), so their times differ for that as well."
    return table


def _text(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)
