"""``nansurfer segment``: one T1 in, one subject folder out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nansurfer.cli.console import set_up_logging

_COMPUTING = "Computing"
_OUTPUT = "Output"
_SKIPPING = "Skipping"

logger = logging.getLogger("nansurfer")


def segment(
    image: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="T1 volume: .mgz, .mgh, .nii, .nii.gz or .img/.hdr.", show_default=False),
    ],
    output_dir: Annotated[
        Path,
        typer.Option("--output-dir", "-o", help="Where the subject's folder is made.", rich_help_panel=_OUTPUT),
    ] = Path(),
    sid: Annotated[
        str | None,
        typer.Option(help="Name of the subject's folder.", show_default="the file's name", rich_help_panel=_OUTPUT),
    ] = None,
    weights: Annotated[str, typer.Option(help="Name of a set of weights, or a folder of them.")] = "compact",
    views: Annotated[str, typer.Option(help="Views to run, separated by commas.")] = "axial,coronal,sagittal",
    vox_size: Annotated[
        str, typer.Option(help="Voxel size in mm (0.1 to 1), or 'min': the image's own, at most 1.")
    ] = "min",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=_COMPUTING)] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.", rich_help_panel=_COMPUTING)] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads.", show_default="all", rich_help_panel=_COMPUTING)
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Slices computed at once; on a CPU, 1 is fastest.", rich_help_panel=_COMPUTING)
    ] = 1,
    nan: Annotated[
        str,
        typer.Option(
            help="What is skipped: auto, off, aggressive, conservative or background.", rich_help_panel=_SKIPPING
        ),
    ] = "auto",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Share of NaN in a window, 0 to 1, from which its convolution is skipped.",
            show_default="1, or 0.5 for aggressive and conservative",
            rich_help_panel=_SKIPPING,
        ),
    ] = None,
    fill: Annotated[
        str | None,
        typer.Option(
            help="What stands for NaN in other windows: the window's mean, or blank, an empty slice's values.",
            show_default="blank, or mean for aggressive and conservative",
            rich_help_panel=_SKIPPING,
        ),
    ] = None,
    margin: Annotated[
        int | None,
        typer.Option(
            help="Voxels around the head that are computed (background).",
            show_default="by threshold",
            rich_help_panel=_SKIPPING,
        ),
    ] = None,
    max_ties: Annotated[
        int | None,
        typer.Option(
            help="Equal values that a maximum may have (aggressive, conservative).",
            show_default="1",
            rich_help_panel=_SKIPPING,
        ),
    ] = None,
    tie_tolerance: Annotated[
        float | None,
        typer.Option(
            help="Relative difference of equal values (aggressive, conservative).",
            show_default="1e-7",
            rich_help_panel=_SKIPPING,
        ),
    ] = None,
    paper_compat: Annotated[
        bool,
        typer.Option(
            "--paper-compat",
            help="Compute every slice, count padding, and let NaN in any view win, as the NaN papers do.",
            rich_help_panel=_SKIPPING,
        ),
    ] = False,
    no_report: Annotated[
        bool,
        typer.Option("--no-report", help="Neither count skips nor write report/.", rich_help_panel=_SKIPPING),
    ] = False,
    native: Annotated[
        bool,
        typer.Option("--native", help="Also write the labels on the input's own grid.", rich_help_panel=_OUTPUT),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do a finished subject again.", rich_help_panel=_OUTPUT)
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write the result even if no brain was found.", rich_help_panel=_OUTPUT),
    ] = False,
    fastsurfer_compat: Annotated[
        bool,
        typer.Option("--fastsurfer-compat", help="Conform and compute exactly as FastSurfer, faults included."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show more, and the traceback of an error.")] = False,
    log_file: Annotated[Path | None, typer.Option(help="Append everything that happens to this file.")] = None,
) -> None:
    """Segment a T1 volume into FreeSurfer's labels.

    Writes mri/, stats/, report/, qc/segmentation.png and nansurfer.json into OUTPUT_DIR/SID.
    """
    console = Console(stderr=True)
    set_up_logging(console, quiet=quiet, verbose=verbose, log_file=log_file)

    from nansurfer.cli.display import LiveProgress, LoggedProgress, closing_table
    from nansurfer.pipeline import Segmenter, holds_result_of, make_options, subject_folder

    options = make_options(
        weights=weights,
        views=tuple(view.strip() for view in views.split(",")),
        vox_size=vox_size if vox_size == "min" else _millimetres(vox_size),
        device=device,
        precision=precision,
        threads=threads,
        batch_size=batch_size,
        native=native,
        force=force,
        fastsurfer_compat=fastsurfer_compat,
        report=not no_report,
        nan=nan,
        threshold=threshold,
        fill=fill,
        margin=margin,
        max_ties=max_ties,
        tie_tolerance=tie_tolerance,
        paper_compat=paper_compat,
    )
    folder = subject_folder(output_dir, sid, image)
    if not overwrite and holds_result_of(folder, image):
        logger.info("%s is finished already; use --overwrite to do it again.", folder)
        return
    live = console.is_terminal and not quiet
    with LiveProgress(console) if live else LoggedProgress() as progress:
        result = Segmenter(options).segment(image, output_dir, folder.name, overwrite=overwrite, progress=progress)
    if not quiet:
        Console().print(closing_table(result))


def _millimetres(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is neither 'min' nor a number of mm", param_hint="--vox-size") from None
