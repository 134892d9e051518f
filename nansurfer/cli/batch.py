"""``nansurfer batch``: many T1s in, a folder of subjects and what became of each out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from nansurfer.cli.console import set_up_logging
from nansurfer.cli.options import OUTPUT, LogFile, Quiet, Verbose, with_segment_choices
from nansurfer.cli.slurm import Chunk, Cpus, Gpus, Mem, Partition, Sbatch, Time, parse_sbatch, show_status, submit_batch
from nansurfer.errors import BatchError

if TYPE_CHECKING:
    from nansurfer.batch import BatchOptions, Record, Subject
    from nansurfer.pipeline import SegmentOptions

BATCH = "Batch"

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        help="Subjects at a time, if memory allows.",
        show_default="one for --threads cores, two a GPU",
        rich_help_panel=BATCH,
    ),
]
ParticipantLabel = Annotated[
    list[str],
    typer.Option(
        "--participant-label",
        help="Do this subject only, with or without sub-; repeat it for several.",
        show_default=False,
        rich_help_panel=BATCH,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done; write nothing.", rich_help_panel=BATCH)
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite/--resume", help="Do finished subjects again, or leave them.", rich_help_panel=BATCH),
]
FailFast = Annotated[
    bool, typer.Option("--fail-fast", help="Start nothing new after the first failure.", rich_help_panel=BATCH)
]
MaxRetries = Annotated[
    int,
    typer.Option(
        help="Further attempts where the worker was killed, or the device or the disk failed.", rich_help_panel=BATCH
    ),
]

logger = logging.getLogger("nansurfer")


class Executor(str, Enum):
    """Where the subjects are segmented."""

    LOCAL = "local"
    SLURM = "slurm"


@with_segment_choices
def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Images, folders of them, globs, lists (path,id a line, .txt or .csv), BIDS datasets, FreeSurfer "
            "subjects folders.",
            show_default=False,
        ),
    ],
    output_dir: Annotated[
        Path,
        typer.Option(
            "--output-dir",
            "-o",
            help="Where the subjects' folders and the tables are made.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ],
    executor: Annotated[
        Executor, typer.Option(help="This machine, or a Slurm cluster, where --jobs are tasks.", rich_help_panel=BATCH)
    ] = Executor.LOCAL,
    jobs: Jobs = None,
    participant_label: ParticipantLabel = [],  # noqa: B006 -- typer copies it
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    fail_fast: FailFast = False,
    max_retries: MaxRetries = 1,
    partition: Partition = None,
    time: Time = None,
    gpus: Gpus = 0,
    cpus: Cpus = None,
    mem: Mem = None,
    chunk: Chunk = None,
    slurm: Sbatch = [],  # noqa: B006 -- typer copies it
    *,
    choices: dict[str, Any],
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Segment many T1 volumes, several at a time.

    Writes a folder a subject into OUTPUT_DIR, and batch.jsonl, batch.csv, volumes.csv and batch.html over all of them.
    One subject's failure is its own; the same command again does what is not finished.
    """
    console = Console(stderr=True)
    set_up_logging(console, quiet=quiet, verbose=verbose, log_file=log_file)

    from nansurfer.batch import BatchOptions, find_subjects
    from nansurfer.pipeline import make_options

    options = make_options(**choices)
    how = BatchOptions(jobs=jobs, overwrite=overwrite, fail_fast=fail_fast, max_retries=max_retries)
    subjects = find_subjects(inputs, participant_label)
    if executor is Executor.SLURM:
        task = {"partition": partition, "time": time, "gpus": gpus, "cpus": cpus, "mem": mem, "chunk": chunk}
        task_options = task | {"others": parse_sbatch(slurm)}
        submit_batch(subjects, options, output_dir, how, task_options, dry_run=dry_run)
    elif dry_run:
        show_plan(subjects, options, output_dir, how)
    else:
        run_batch(subjects, options, output_dir, how, console, quiet=quiet)


def status(
    output_dir: Annotated[Path, typer.Argument(metavar="DIR", help="The batch's folder.", show_default=False)],
) -> None:
    """Show how far a batch is: finished and failed subjects; of Slurm jobs also running, waiting and lost ones.

    Writes the tables and the page over what there is.
    """
    show_status(output_dir)


def show_plan(subjects: Sequence[Subject], options: SegmentOptions, folder: Path, how: BatchOptions) -> None:
    """Print what a batch would do here."""
    from nansurfer.batch import plan_batch
    from nansurfer.cli.batch_display import plan_in_words

    plan = plan_batch(subjects, options, folder, how)
    todo = {subject.sid for subject in plan.todo}
    for subject in subjects:
        typer.echo(f"{'to do' if subject.sid in todo else 'finished':10}{subject.sid}  {subject.path}")
    typer.echo(plan_in_words(plan))


def run_batch(
    subjects: Sequence[Subject],
    options: SegmentOptions,
    folder: Path,
    how: BatchOptions,
    console: Console,
    *,
    quiet: bool,
) -> None:
    """Run a batch here and write its tables and its page, however it ends.

    Raises
    ------
    BatchError
        Subjects have no result.
    """
    from nansurfer.batch import run_local, write_overview
    from nansurfer.cli.batch_display import batch_progress_on

    try:
        with batch_progress_on(console, quiet=quiet) as progress:
            records = run_local(subjects, options, folder, how, progress)
    finally:
        if folder.is_dir():  # otherwise nothing was started
            write_overview(folder)
    _close(records, len(subjects), folder)


def _close(records: Sequence[Record], total: int, folder: Path) -> None:
    done = sum(record.status == "done" for record in records)
    failed = len(records) - done
    left = total - len(records)
    ended = f"{done} done, {failed} failed" + (f", {left} not done" if left else "")
    logger.info("%s: see %s, and volumes.csv beside it.", ended, folder / "batch.html")
    reasons = [f"{folder / 'batch.csv'} says why"] if failed else []
    if left:
        reasons.append(f"{left} not started, or at hand in another run")
    if reasons:
        said = f"{failed + left} of {total} subjects have no result: {', '.join(reasons)}"
        raise BatchError(f"{said}; the same command does them again.")
