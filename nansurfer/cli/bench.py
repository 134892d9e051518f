"""``nansurfer bench``: what each technique saves, for one T1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nansurfer.cli.console import figures_table, set_up_logging
from nansurfer.cli.options import (
    COMPUTING,
    OUTPUT,
    Image,
    LogFile,
    NoPlot,
    Quiet,
    Verbose,
    parse_list,
    with_segment_choices,
)

if TYPE_CHECKING:
    from nansurfer.report.bench import BenchRow


@partial(with_segment_choices, only=("weights", "views", "vox_size", "threads"))
def bench(
    image: Image,
    output_dir: Annotated[
        Path,
        typer.Option("--output-dir", "-o", help="Folder for bench.csv, the plot and the rest.", rich_help_panel=OUTPUT),
    ] = Path("bench"),
    rows: Annotated[
        str,
        typer.Option(
            help="Techniques, with commas: cropped, folded, masked, kernels, background, brain; dense comes first.",
            rich_help_panel=COMPUTING,
            show_default="all",
        ),
    ] = "",
    repeats: Annotated[
        int, typer.Option(help="Timed runs of each, of which the median counts.", min=1, rich_help_panel=COMPUTING)
    ] = 3,
    *,
    choices: dict[str, Any],
    no_plot: NoPlot = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Measure what each technique saves, one more a row.

    Segments INPUT on the CPU as FastSurfer computes it, then with one technique more at a time, each run in a process
    of its own, and writes time, work, peak memory, skip ratio and Dice against the dense run as bench.csv, bench.png
    and bench.svg. Those of an earlier benchmark in that folder are replaced.
    """
    console = Console(stderr=True)
    set_up_logging(console, quiet=quiet, verbose=verbose, log_file=log_file)

    from nansurfer.cli.display import LoggedProgress
    from nansurfer.pipeline.bench import bench as run_bench
    from nansurfer.pipeline.bench import find_techniques
    from nansurfer.report.bench_plot import save_bench_plot
    from nansurfer.report.plot import check_plotting

    if not no_plot:
        check_plotting()
    measured = run_bench(
        image,
        output_dir,
        find_techniques(parse_list(rows) if rows else ()),
        repeats=repeats,
        progress=LoggedProgress(),
        **choices,
    )
    if not no_plot:
        save_bench_plot(output_dir / "bench", measured, title=f"{image.name}, weights {Path(choices['weights']).name}")
    if not quiet:
        Console().print(_table(measured, title=escape(str(output_dir))))


def _table(rows: Sequence[BenchRow], title: str) -> Table:
    """A row a technique; the time is the median in the networks, skipped are multiply-adds."""
    columns = ("time s", "total s", "faster", "GFLOP", "GFLOP/s", "skipped %", "MB", "Dice")
    table = figures_table(title, "row", *columns)
    for row in rows:
        table.add_row(
            row.name,
            f"{row.network_s:.2f}",
            f"{row.total_s:.2f}",
            f"{row.speedup:.2f}x",
            f"{row.gflop:.0f}",
            f"{row.gflop_per_s:.0f}",
            f"{100 * row.mac_skip_ratio:.1f}",
            f"{row.peak_memory_mb:.0f}",
            f"{row.dice_whole:.6f}",
        )
    return table
