"""What is asked of Slurm for a batch: how many subjects a task has, how many cores, how much memory and time."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nansurfer.batch.memory import PROCESS_MB, largest_grid, memory_per_worker_mb
from nansurfer.batch.subjects import Subject
from nansurfer.errors import ConfigError
from nansurfer.pipeline import SegmentOptions

SUBJECTS_PER_TASK = 20
"""Eight minutes of one core: starting Python and reading the weights, 5 s, do not count."""

MAX_TASKS = 1000
"""Slurm takes array indices below ``MaxArraySize``, by default 1001."""

MINUTES_PER_SUBJECT = 5
MINUTES_TO_START = 10
CPUS_PER_GPU = 4
WORKERS_PER_GPU = 2

_TIME = re.compile(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}")
_OURS = {"array", "dependency", "error", "nodes", "ntasks", "ntasks_per_node", "open_mode", "output", "signal"}
_NAMED = {name: f"--{name}" for name in ("partition", "time", "mem", "gpus")} | {"cpus_per_task": "--cpus"}


@dataclass(frozen=True)
class SlurmOptions:
    """What is asked of Slurm for each array task.

    Parameters
    ----------
    partition
        None for the cluster's default.
    time
        Limit in one of Slurm's forms (``"90"`` minutes, ``"2:00:00"``, ``"1-12"``); None for one by the number of
        subjects.
    gpus
        GPUs of a task.
    cpus
        Cores of a task; None for those of one worker, or 4 a GPU. A worker is a process with as many cores as it has
        threads, one unless told otherwise; a GPU has two.
    mem
        Memory in Slurm's form (``"8G"``); None for what the workers need.
    chunk
        Subjects of a task; None for 20 a worker, and more where that would make more than 1,000 tasks.
    others
        More options of ``sbatch``, without the dashes: ``{"account": "lab", "exclusive": ""}``.

    Raises
    ------
    ConfigError
        A value makes no sense.
    """

    partition: str | None = None
    time: str | None = None
    gpus: int = 0
    cpus: int | None = None
    mem: str | None = None
    chunk: int | None = None
    others: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, least in (("gpus", self.gpus, 0), ("cpus", self.cpus, 1), ("chunk", self.chunk, 1)):
            if value is not None and value < least:
                raise ConfigError(f"--{name} is {value}; give {least} or more.")
        if self.time is not None:
            minutes(self.time)
        for name in self.others:
            key = name.replace("-", "_")
            if key in _NAMED:
                raise ConfigError(f"--slurm {name} is an option of its own here; give {_NAMED[key]}.")
            if key in _OURS:
                raise ConfigError(f"--slurm {name} cannot be chosen: the batch depends on what it sets itself.")


@dataclass(frozen=True)
class ArrayJob:
    """One array job: the subjects of each task, and what a task gets.

    Parameters
    ----------
    chunks
        The subjects of each task.
    workers
        Processes of a task.
    threads
        Threads of a process.
    cpus, mem, minutes
        Cores, memory (in Slurm's form) and time limit of a task.
    """

    chunks: Sequence[Sequence[Subject]]
    workers: int
    threads: int
    cpus: int
    mem: str
    minutes: int


def minutes(time: str) -> int:
    """Minutes, rounded up, of a time in one of Slurm's forms: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Raises
    ------
    ConfigError
        It has none of these forms, or is nothing.
    """
    if not _TIME.fullmatch(time):
        raise ConfigError(f"--time is '{time}'; give minutes, H:MM:SS or D-HH:MM:SS.")
    days, dash, clock = time.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if not dash and len(parts) < 3:
        parts.insert(0, 0)
    hours, mins, seconds = (*parts, 0, 0)[:3]
    total_s = ((int(days or 0) * 24 + hours) * 60 + mins) * 60 + seconds
    if total_s == 0:
        raise ConfigError(f"--time is '{time}'; no work is done in that.")
    return math.ceil(total_s / 60)


def plan_array(subjects: Sequence[Subject], options: SegmentOptions, slurm: SlurmOptions) -> ArrayJob:
    """The array job that does these subjects."""
    threads = options.compute.threads or (CPUS_PER_GPU // WORKERS_PER_GPU if slurm.gpus else 1)
    cpus = slurm.cpus or slurm.gpus * CPUS_PER_GPU or threads
    workers = slurm.gpus * WORKERS_PER_GPU or max(1, cpus // threads)
    chunk = slurm.chunk or max(workers * SUBJECTS_PER_TASK, math.ceil(len(subjects) / MAX_TASKS))
    return ArrayJob(
        chunks=[subjects[start : start + chunk] for start in range(0, len(subjects), chunk)],
        workers=workers,
        threads=threads,
        cpus=cpus,
        mem=slurm.mem or f"{_memory_mb(subjects, options, workers, threads, gpu=slurm.gpus > 0)}M",
        minutes=minutes(slurm.time or str(MINUTES_TO_START + MINUTES_PER_SUBJECT * math.ceil(chunk / workers))),
    )


def _memory_mb(subjects: Sequence[Subject], options: SegmentOptions, workers: int, threads: int, *, gpu: bool) -> int:
    each = memory_per_worker_mb(largest_grid(subjects, options), options, threads=threads, gpu=gpu)
    return PROCESS_MB + workers * each  # the task's own process too
