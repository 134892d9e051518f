"""``nansurfer batch`` on a Slurm cluster: its options, what is said when a batch is submitted, and its status."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nansurfer.errors import BatchError, InputNotFoundError

if TYPE_CHECKING:
    from nansurfer.batch import Subject
    from nansurfer.batch.local import BatchOptions
    from nansurfer.batch.status import BatchStatus
    from nansurfer.pipeline import SegmentOptions

SLURM = "Slurm"
_LISTED = 20  # subjects named of those that failed, and of those that were lost

Partition = Annotated[str | None, typer.Option(help="Partition.", show_default="the cluster's", rich_help_panel=SLURM)]
Time = Annotated[
    str | None,
    typer.Option(
        help="Time limit of a task, as sbatch takes it.", show_default="by its subjects", rich_help_panel=SLURM
    ),
]
Gpus = Annotated[int, typer.Option(help="GPUs of a task.", rich_help_panel=SLURM)]
Cpus = Annotated[
    int | None, typer.Option(help="Cores of a task.", show_default="--threads, or 4 a GPU", rich_help_panel=SLURM)
]
Mem = Annotated[
    str | None,
    typer.Option(help="Memory of a task, as sbatch takes it.", show_default="what it needs", rich_help_panel=SLURM),
]
Chunk = Annotated[
    int | None, typer.Option(help="Subjects of a task.", show_default="20 a process", rich_help_panel=SLURM)
]
Sbatch = Annotated[
    list[str],
    typer.Option(
        "--slurm",
        metavar="KEY[=VALUE]",
        help="Another option of sbatch, such as account=lab; repeat it for several.",
        show_default=False,
        rich_help_panel=SLURM,
    ),
]

logger = logging.getLogger("nansurfer")


def parse_sbatch(pairs: Sequence[str]) -> dict[str, str]:
    """Names and values of ``KEY=VALUE``; of ``KEY`` alone, an empty value."""
    split = (pair.removeprefix("--").partition("=") for pair in pairs)
    return {name: value for name, _, value in split}


def submit_batch(
    subjects: Sequence[Subject],
    options: SegmentOptions,
    folder: Path,
    batch: BatchOptions,
    choices: Mapping[str, object],
    *,
    dry_run: bool,
) -> None:
    """Give the subjects that are left to Slurm, or only say how; ``choices`` are the fields of `SlurmOptions`."""
    from nansurfer.batch.array_job import SlurmOptions, plan_array
    from nansurfer.batch.local import warn_of_other_choices
    from nansurfer.batch.slurm import left_to_submit, submit

    slurm = SlurmOptions(**choices)  # type: ignore[arg-type]
    left = left_to_submit(subjects, folder, overwrite=batch.overwrite)
    warn_of_other_choices(subjects, left, options, folder)
    logger.info("%d subjects, %d of them finished or with Slurm already.", len(subjects), len(subjects) - len(left))
    if not left:
        return
    job = plan_array(left, options, slurm)
    logger.info(
        "%d tasks of up to %d subjects, each with %d cores, %s of memory, %d minutes, %d workers.",
        len(job.chunks),
        len(job.chunks[0]),
        job.cpus,
        job.mem,
        job.minutes,
        job.workers,
    )
    if dry_run:
        return
    submission = submit(job, options, folder, batch, slurm)
    logger.info(
        "Slurm has them as job %s: `nansurfer batch status %s` says how far it is, `scancel %s` ends it.",
        submission.job,
        folder,
        submission.job,
    )


def show_status(folder: Path) -> None:
    """Print how far a batch is, and write its tables and its page.

    Raises
    ------
    InputNotFoundError
        There is no batch in that folder.
    BatchError
        Subjects failed or were lost.
    """
    from nansurfer.batch.overview import write_overview
    from nansurfer.batch.record import RECORDS
    from nansurfer.batch.status import LOGS, batch_status

    if not (folder / RECORDS).is_file() and not (folder / LOGS).is_dir():
        raise InputNotFoundError(f"{folder} holds no batch; give the folder that `nansurfer batch` wrote into.")
    status = batch_status(folder)
    for line in _status_lines(status, folder / LOGS):
        typer.echo(line)
    write_overview(folder)
    if status.failed or status.lost:
        raise BatchError(
            f"{len(status.failed) + len(status.lost)} subjects have no result; the same `nansurfer batch` command does "
            "them again."
        )


def _status_lines(status: BatchStatus, logs: Path) -> Iterator[str]:
    for name in ("done", "failed", "running", "waiting", "lost"):
        yield f"{name:8}{len(getattr(status, name)):7}"
    failed = [f"failed  {r.id}: {r.error_kind}, {r.error}" for r in status.failed]
    lost = [
        f"lost    {sid}: task {task} ended without it, see {logs / task}_0_log.out" for sid, task in status.lost.items()
    ]
    for lines in (failed, lost):
        yield from lines[:_LISTED]
        if len(lines) > _LISTED:
            yield f"        and {len(lines) - _LISTED} more"
