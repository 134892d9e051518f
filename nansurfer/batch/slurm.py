"""A batch on a Slurm cluster, through submitit: chunks of subjects as the tasks of one array job.

Each task is a batch of its own on the machine that Slurm gave it, and appends to the records that all share. Slurm
starts a task again when its machine fails; submitit does when the task is preempted or comes to its time limit. What
has ended by then is left alone.
"""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from nansurfer.batch.array_job import MAX_TASKS, ArrayJob, SlurmOptions
from nansurfer.batch.local import BatchOptions, BatchProgress, not_finished, run_local
from nansurfer.batch.overview import write_overview
from nansurfer.batch.record import Record, RecordFile
from nansurfer.batch.status import LOGS, Submission, batch_status
from nansurfer.batch.subjects import Subject
from nansurfer.errors import ConfigError
from nansurfer.pipeline import SegmentOptions

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission
    from submitit.slurm.slurm import SlurmExecutor

MAX_TIMEOUTS = 10
"""How often a task that comes to its time limit is put back into the queue."""

_TABLES = ArrayJob(chunks=(), workers=1, threads=1, cpus=1, mem="4G", minutes=60)
"""What the job that writes the tables gets; it needs a minute for some thousand subjects."""

_JOB_NAME = "nansurfer"
_logger = logging.getLogger("nansurfer")


def left_to_submit(subjects: Sequence[Subject], folder: Path, *, overwrite: bool) -> list[Subject]:
    """Subjects that are neither finished nor in an array job of this folder that Slurm still has.

    Raises
    ------
    ConfigError
        Slurm cannot be asked here.
    """
    status = batch_status(folder)
    queued = {*status.running, *status.waiting}
    left = [subject for subject in subjects if subject.sid not in queued]
    return not_finished(left, () if overwrite else status.done, folder)


def submit(
    job: ArrayJob, options: SegmentOptions, folder: Path, batch: BatchOptions, slurm: SlurmOptions
) -> Submission:
    """What Slurm took as this array job; it is not waited for.

    A job of its own writes the tables when all tasks have ended. Logs lie in ``folder/logs``.

    Parameters
    ----------
    job
        As `plan_array` gives it for these options: at least one subject.
    options
        Of the segmentations, but for the threads, which are the job's.
    folder
        The batch's folder, where every machine of the cluster sees it.
    batch
        ``jobs`` is how many tasks may run at a time; the rest holds within each task.
    slurm
        What a task gets.

    Raises
    ------
    ConfigError
        submitit or Slurm is not installed here, or Slurm refuses the job.
    OutputError
        The folder cannot be written.
    """
    folder = folder.absolute()
    chunks = [[replace(subject, path=subject.path.absolute()) for subject in chunk] for chunk in job.chunks]
    seen = {record.id: record.of for record in RecordFile(folder).read()}
    options = replace(options, compute=replace(options.compute, threads=job.threads))
    in_task = replace(batch, jobs=job.workers)
    executor = _executor(folder, job, slurm, at_a_time=batch.jobs)
    with _refusal_reported():
        tasks = executor.submit_array([_Chunk(c, options, folder, in_task, _seen_of(c, seen)) for c in chunks])
    submission = Submission(
        tasks={task.job_id: [s.sid for s in chunk] for task, chunk in zip(tasks, chunks, strict=True)},
        before=_seen_of(chain.from_iterable(chunks), seen),
    )
    submission.save(folder)
    try:
        last = _executor(folder, _TABLES, replace(slurm, gpus=0), after=submission.job)
        with _refusal_reported():
            last.submit(write_overview, folder)
    except ConfigError as error:  # the subjects are on their way all the same
        _logger.warning("The tables are not written at the end, but by `nansurfer batch status`: %s", error)
    return submission


@dataclass(frozen=True)
class _Chunk:
    """The subjects of one array task, for submitit to call there."""

    subjects: Sequence[Subject]
    options: SegmentOptions
    folder: Path
    batch: BatchOptions
    before: Mapping[str, str]

    def __call__(self) -> None:
        """Do those that have not ended since the array job was submitted."""
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("submitit").propagate = False  # it has a handler of its own
        records = RecordFile(self.folder).read()
        ended = {record.id for record in records if record.of != self.before.get(record.id)}
        left = [subject for subject in self.subjects if subject.sid not in ended]
        run_local(left, self.options, self.folder, self.batch, _LoggedProgress())

    def checkpoint(self) -> DelayedSubmission:
        """What is to be done when Slurm starts the task again."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self)


class _LoggedProgress(BatchProgress):
    def ended(self, record: Record) -> None:
        _logger.info("%s, %.1f s: %s", record.id, record.seconds, record.error or record.status)


def _seen_of(subjects: Iterable[Subject], seen: Mapping[str, str]) -> dict[str, str]:
    return {subject.sid: seen[subject.sid] for subject in subjects if subject.sid in seen}


def _executor(
    folder: Path, job: ArrayJob, slurm: SlurmOptions, *, at_a_time: int | None = None, after: str | None = None
) -> SlurmExecutor:
    """Submitit's way to Slurm, with what a task of the job gets; without a list of tasks at a time, all of them."""
    try:
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError:
        raise ConfigError("Slurm needs submitit, which is missing: pip install 'nansurfer[slurm]'.") from None
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise ConfigError("Slurm's sbatch and srun are not on the PATH; submit on a machine of the cluster.")
    executor = SlurmExecutor(folder / LOGS, max_num_timeout=MAX_TIMEOUTS)
    executor.update_parameters(
        job_name=_JOB_NAME,
        partition=slurm.partition,
        time=job.minutes,
        cpus_per_task=job.cpus,
        gpus_per_node=slurm.gpus or None,
        mem=job.mem,
        array_parallelism=at_a_time or MAX_TASKS,
        dependency=after and f"afterany:{after}",
        setup=["unset SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU"],  # left by a job in which we submit, srun takes only one
        srun_args=[f"--cpus-per-task={job.cpus}"],  # since Slurm 22.05 srun does not take over sbatch's number
        stderr_to_stdout=True,
        wckey=None,  # submitit's own, which clusters may refuse
        additional_parameters={"requeue": True} | _sbatch_options(slurm.others),
    )
    return executor


def _sbatch_options(others: Mapping[str, str]) -> dict[str, str | bool]:
    """Options as submitit writes them; those without a value are switches."""
    return {name.replace("-", "_"): value or True for name, value in others.items()}


@contextmanager
def _refusal_reported() -> Iterator[None]:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        with redirect_stderr(io.StringIO()):  # submitit prints what it raises
            yield
    except (FailedJobError, FailedSubmissionError) as error:
        said = "; ".join(line.removeprefix("sbatch: error: ") for line in str(error).splitlines())
        raise ConfigError(f"Slurm refused the job ({said}); mend its options.") from error
