"""How far a batch is: what ended, and what became of the subjects that array jobs were given."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nansurfer.batch.record import Record, RecordFile
from nansurfer.errors import ConfigError
from nansurfer.files import atomic_path
from nansurfer.pipeline.outputs import subjects_at_hand

LOGS = Path("logs")
_SUBMISSION = "_subjects.json"  # beside submitit's own files, which begin with the job's number too


@dataclass(frozen=True)
class Submission:
    """What one array job was given to do.

    Parameters
    ----------
    tasks
        Slurm's id of each array task (``"17_0"``) to the names of its subjects.
    before
        Subjects that had a record already, to what it was of: it is not of this job.
    """

    tasks: Mapping[str, Sequence[str]]
    before: Mapping[str, str]

    @property
    def job(self) -> str:
        """Slurm's id of the array job."""
        return next(iter(self.tasks)).split("_")[0]

    def save(self, folder: Path) -> None:
        """Keep it with the logs of a batch's folder."""
        with atomic_path(folder / LOGS / f"{self.job}{_SUBMISSION}") as path:
            path.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class BatchStatus:
    """How far a batch is; each subject stands in one place.

    Parameters
    ----------
    done, failed
        Records of the subjects that ended.
    running, waiting
        Subjects at hand in an array task, and those whose turn is to come.
    lost
        Subjects whose array task has left the queue without ending them, to the id of the task.
    """

    done: Sequence[Record]
    failed: Sequence[Record]
    running: Sequence[str]
    waiting: Sequence[str]
    lost: Mapping[str, str]


def batch_status(folder: Path) -> BatchStatus:
    """How far the batch of a folder is, by its records and by Slurm's queue.

    Raises
    ------
    ConfigError
        Subjects were given to Slurm, and it cannot be asked here.
    """
    records = {record.id: record for record in RecordFile(folder).read()}
    tasks = _unfinished(_read_submissions(folder), records)
    states = _queue({task.split("_")[0] for task in tasks.values()})
    lost = {sid: task for sid, task in tasks.items() if task not in states}
    at_hand = subjects_at_hand(folder) if states else set()
    running = [sid for sid, task in tasks.items() if states.get(task) == "RUNNING" and sid in at_hand]
    waiting = [sid for sid in tasks if sid not in lost and sid not in running]
    ended = [record for record in records.values() if record.id not in tasks]
    return BatchStatus(
        done=[record for record in ended if record.status == "done"],
        failed=[record for record in ended if record.status == "failed"],
        running=running,
        waiting=waiting,
        lost=lost,
    )


def _read_submissions(folder: Path) -> Iterator[Submission]:
    """The array jobs of a batch, the oldest first."""
    paths = (folder / LOGS).glob(f"*{_SUBMISSION}")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns):
        yield Submission(**json.loads(path.read_text(encoding="utf-8")))


def _unfinished(submissions: Iterable[Submission], records: Mapping[str, Record]) -> dict[str, str]:
    """Subjects that have not ended since they were last submitted, to their array tasks."""
    unfinished: dict[str, str] = {}
    for submission in submissions:
        for task, sids in submission.tasks.items():
            for sid in sids:
                unfinished.pop(sid, None)
                if sid not in records or records[sid].of == submission.before.get(sid):
                    unfinished[sid] = task
    return unfinished


def _queue(jobs: Iterable[str]) -> dict[str, str]:
    """Array tasks that Slurm still has, to their states (``"PENDING"``, ``"RUNNING"``, ...)."""
    if not (listed := ",".join(sorted(jobs))):
        return {}
    command = ["squeue", "--noheader", "--array", "--format=%i %T", f"--jobs={listed}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ConfigError("Slurm's squeue is not on the PATH; ask on a machine of the cluster.") from None
    if answer.returncode and "Invalid job id" not in answer.stderr:  # it says so of a job that ended a while ago
        raise ConfigError(f"Slurm's queue cannot be read ({answer.stderr.strip()}); try again later.")
    return {task: state for task, _, state in (line.partition(" ") for line in answer.stdout.splitlines())}
