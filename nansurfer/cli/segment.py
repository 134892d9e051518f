"""``nansurfer segment``: one T1 in, one subject folder out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nansurfer.cli.console import set_up_logging
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
    PaperCompat,
    PoolMargin,
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

logger = logging.getLogger("nansurfer")


def segment(
    image: Image,
    output_dir: Annotated[
        Path,
        typer.Option("--output-dir", "-o", help="Where the subject's folder is made.", rich_help_panel=OUTPUT),
    ] = Path(),
    sid: Annotated[
        str | None,
        typer.Option(help="Name of the subject's folder.", show_default="the file's name", rich_help_panel=OUTPUT),
    ] = None,
    weights: Weights = "compact",
    views: Views = "axial,coronal,sagittal",
    vox_size: VoxSize = "min",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    batch_size: BatchSize = 1,
    engine: Engine = "auto",
    nan: Annotated[
        str,
        typer.Option(
            help="What is skipped: auto, off, aggressive, conservative or background.", rich_help_panel=SKIPPING
        ),
    ] = "auto",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Share of NaN in a window, 0 to 1, from which its convolution is skipped.",
            show_default="0.5",
            rich_help_panel=SKIPPING,
        ),
    ] = None,
    fill: Fill = None,
    margin: Margin = None,
    pool_margin: PoolMargin = None,
    max_ties: Annotated[
        int | None,
        typer.Option(
            help="Equal values that a maximum may have (aggressive, conservative).",
            show_default="1",
            rich_help_panel=SKIPPING,
        ),
    ] = None,
    tie_tolerance: Annotated[
        float | None,
        typer.Option(
            help="Relative difference of equal values (aggressive, conservative).",
            show_default="1e-7",
            rich_help_panel=SKIPPING,
        ),
    ] = None,
    paper_compat: PaperCompat = False,
    no_report: Annotated[
        bool,
        typer.Option("--no-report", help="Neither count skips nor write report/.", rich_help_panel=SKIPPING),
    ] = False,
    native: Annotated[
        bool,
        typer.Option("--native", help="Also write the labels on the input's own grid.", rich_help_panel=OUTPUT),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do a finished subject again.", rich_help_panel=OUTPUT)
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write the result even if no brain was found.", rich_help_panel=OUTPUT),
    ] = False,
    fastsurfer_compat: Annotated[
        bool,
        typer.Option("--fastsurfer-compat", help="Conform and compute exactly as FastSurfer, faults included."),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Segment a T1 volume into FreeSurfer's labels.

    Writes mri/, stats/, report/, qc/segmentation.png and nansurfer.json into OUTPUT_DIR/SID.
    """
    console = Console(stderr=True)
    set_up_logging(console, quiet=quiet, verbose=verbose, log_file=log_file)

    from nansurfer.cli.display import closing_table, progress_on
    from nansurfer.pipeline import Segmenter, holds_result_of, make_options, subject_folder

    options = make_options(
        weights=weights,
        views=parse_list(views),
        vox_size=parse_vox_size(vox_size),
        device=device,
        precision=precision,
        threads=threads,
        batch_size=batch_size,
        engine=engine,
        native=native,
        force=force,
        fastsurfer_compat=fastsurfer_compat,
        report=not no_report,
        nan=nan,
        threshold=threshold,
        fill=fill,
        margin=margin,
        pool_margin=pool_margin,
        max_ties=max_ties,
        tie_tolerance=tie_tolerance,
        paper_compat=paper_compat,
    )
    folder = subject_folder(output_dir, sid, image)
    if not overwrite and holds_result_of(folder, image):
        logger.info("%s is finished already; use --overwrite to do it again.", folder)
        return
    with progress_on(console, quiet=quiet) as progress:
        result = Segmenter(options).segment(image, output_dir, folder.name, overwrite=overwrite, progress=progress)
    if not quiet:
        Console().print(closing_table(result))
