"""``nansurfer bids``: the interface of a BIDS App."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from nansurfer.cli.batch import BATCH, DryRun, FailFast, Jobs, MaxRetries, Overwrite, run_batch, show_plan
from nansurfer.cli.console import set_up_logging
from nansurfer.cli.options import LogFile, Quiet, Verbose, with_segment_choices
from nansurfer.errors import BatchError

if TYPE_CHECKING:
    from nansurfer.batch import Subject

_PARTICIPANTS = ("--participant-label", "--participant_label")  # BIDS Apps are called with the one or the other
_SESSIONS = ("--session-label", "--session_label")

logger = logging.getLogger("nansurfer")


class Level(str, Enum):
    """The steps of a BIDS App."""

    PARTICIPANT = "participant"
    GROUP = "group"


_LEVELS = {level.value for level in Level}


class BidsAppCommand(TyperCommand):
    """A command that takes labels in a row, ``... participant --participant-label 01 02``, as BIDS Apps do."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # click's types, of which typer has its own copy
        """Arguments as they are, but each label with its option."""
        return super().parse_args(ctx, _with_option_each(args))


def _with_option_each(args: Sequence[str]) -> list[str]:
    """Labels in a row come after the level: before it, what follows a label may be a folder."""
    spread: list[str] = []
    option = ""  # whose labels may go on
    for arg in args:
        if arg.startswith("-"):
            name = arg.partition("=")[0]
            option = name if name in (*_PARTICIPANTS, *_SESSIONS) and _LEVELS & set(spread) else ""
        elif option and spread[-1] != option:
            spread.append(option)
        spread.append(arg)
    return spread


@with_segment_choices
def bids(
    bids_dir: Annotated[
        Path, typer.Argument(metavar="BIDS_DIR", help="The raw BIDS dataset.", show_default=False, readable=False)
    ],
    output_dir: Annotated[
        Path, typer.Argument(metavar="OUTPUT_DIR", help="Where the derivative dataset is made.", show_default=False)
    ],
    level: Annotated[
        Level,
        typer.Argument(
            metavar="participant|group",
            help="Segment the T1s of participants, or table the volumes of all who are segmented.",
            show_default=False,
        ),
    ],
    participant_label: Annotated[
        list[str],
        typer.Option(
            *_PARTICIPANTS,
            help="Do these participants only: labels with or without sub-.",
            show_default=False,
            rich_help_panel=BATCH,
        ),
    ] = [],  # noqa: B006 -- typer copies it
    session_label: Annotated[
        list[str],
        typer.Option(
            *_SESSIONS,
            help="Do these sessions only: labels with or without ses-.",
            show_default=False,
            rich_help_panel=BATCH,
        ),
    ] = [],  # noqa: B006 -- typer copies it
    jobs: Jobs = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    fail_fast: FailFast = False,
    max_retries: MaxRetries = 1,
    *,
    choices: dict[str, Any],
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Segment the T1s of a BIDS dataset into BIDS derivatives.

    Writes labels and brain masks into OUTPUT_DIR/sub-*/, and FreeSurfer's layout into OUTPUT_DIR/sourcedata/freesurfer.
    One T1's failure is its own; the same command again does what is not finished.
    """
    console = Console(stderr=True)
    set_up_logging(console, quiet=quiet, verbose=verbose, log_file=log_file)
    if level is Level.GROUP:
        if participant_label or session_label:
            raise typer.BadParameter("the group level is over all participants", param_hint="--participant-label")
        _group(bids_dir, output_dir, dry_run=dry_run)
        return

    from nansurfer.batch import BatchOptions
    from nansurfer.bids import FREESURFER, find_t1s, plain_path, write_dataset_files
    from nansurfer.pipeline import make_options

    options = make_options(**choices)
    how = BatchOptions(jobs=jobs, overwrite=overwrite, fail_fast=fail_fast, max_retries=max_retries)
    bids_dir = plain_path(bids_dir)
    subjects, folder = find_t1s(bids_dir, participant_label, session_label), output_dir / FREESURFER
    if dry_run:
        show_plan(subjects, options, folder, how)
        return
    write_dataset_files(bids_dir, output_dir)
    try:
        run_batch(subjects, options, folder, how, console, quiet=quiet)
    except BatchError:
        _derive(subjects, bids_dir, output_dir)  # of those that have a result
        raise
    _derive(subjects, bids_dir, output_dir)


def _derive(subjects: Sequence[Subject], dataset: Path, output: Path) -> None:
    """Write the derivatives of all subjects that are segmented.

    Raises
    ------
    BatchError
        Some could not be written.
    """
    from nansurfer.batch import RecordFile
    from nansurfer.bids import FREESURFER, write_all_derivatives
    from nansurfer.engine import available_cpus

    done = {record.id for record in RecordFile(output / FREESURFER).read() if record.status == "done"}
    segmented = [subject for subject in subjects if subject.sid in done]
    failures = write_all_derivatives(segmented, dataset, output, available_cpus())
    for sid, error in failures.items():
        logger.error("%s is segmented, but has no derivatives: %s", sid, error)
    if failures:
        raise BatchError(
            f"{len(failures)} of {len(segmented)} segmented T1s have no derivatives, as said above; the same command "
            "writes them."
        )


def _group(dataset: Path, output: Path, *, dry_run: bool) -> None:
    if dry_run:
        typer.echo(f"Volumes of all participants in {output} would be tabled.")
        return
    from nansurfer.bids import write_group

    logger.info("Volumes of all participants: %s.", write_group(dataset, output))
