"""``nansurfer segment``: one T1 in, one subject folder out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from nansurfer.cli.console import set_up_logging
from nansurfer.cli.options import OUTPUT, Image, LogFile, Quiet, Verbose, with_segment_choices

logger = logging.getLogger("nansurfer")


@with_segment_choices
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do a finished subject again.", rich_help_panel=OUTPUT)
    ] = False,
    *,
    choices: dict[str, Any],
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Segment a T1 volume into FreeSurfer's labels.

    Writes mri/, stats/, report/, qc/ and nansurfer.json into OUTPUT_DIR/SID.
    """
    console = Console(stderr=True)
    set_up_logging(console, quiet=quiet, verbose=verbose, log_file=log_file)

    from nansurfer.cli.display import progress_on, show_result
    from nansurfer.pipeline import Segmenter, holds_result_of, make_options, other_choices, subject_folder

    options = make_options(**choices)
    folder = subject_folder(output_dir, sid, image)
    if not overwrite and holds_result_of(folder, image):
        if other := other_choices(folder, options):
            logger.warning("%s is finished already, but with %s; use --overwrite to do it again.", folder, other)
        else:
            logger.info("%s is finished already; use --overwrite to do it again.", folder)
        return
    with progress_on(console, quiet=quiet) as progress:
        result = Segmenter(options).segment(image, output_dir, folder.name, overwrite=overwrite, progress=progress)
    if not quiet:
        show_result(Console(), result)
