"""A batch on this machine: several worker processes, one record a subject.

The workers segment, this process alone writes the records. A worker that is killed costs the subject it had, which is
tried again; another takes its place.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path
from time import perf_counter

from pebble import CONSTS, ProcessExpired, ProcessPool

from nansurfer.batch.memory import available_memory_mb, largest_grid, memory_per_worker_mb
from nansurfer.batch.record import KILLED, Record, RecordFile
from nansurfer.batch.subjects import Subject
from nansurfer.batch.worker import Outcome, failure, segment_subject, start
from nansurfer.engine import available_cpus, default_threads, gpu_count, resolve_device
from nansurfer.errors import ConfigError, OutputError
from nansurfer.pipeline import Segmenter, SegmentOptions, is_finished, other_choices
from nansurfer.pipeline.outputs import discard_unfinished

WORKERS_PER_GPU = 2
"""One computes while the other reads, conforms or writes."""

_WORTH_RETRYING = (KILLED, "DeviceError", "OutputError")  # of which another attempt may come out differently
_HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # what a terminal and Slurm send to all processes
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # read when NumPy is imported

_logger = logging.getLogger("nansurfer")


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is run, whatever the segmentations are.

    Parameters
    ----------
    jobs
        Worker processes at most; None for as many as there are cores, or two a GPU. Memory may allow fewer.
    overwrite
        Do finished subjects again.
    fail_fast
        Start nothing new after the first failure.
    max_retries
        How often a subject is tried again whose worker was killed, or whose device or disk failed.

    Raises
    ------
    ConfigError
        A number makes no sense.
    """

    jobs: int | None = None
    overwrite: bool = False
    fail_fast: bool = False
    max_retries: int = 1

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"jobs is {self.jobs}; it must be at least 1.")
        if self.max_retries < 0:
            raise ConfigError(f"max_retries is {self.max_retries}; it must be at least 0.")


@dataclass(frozen=True)
class Plan:
    """What a batch is going to do here.

    Parameters
    ----------
    todo
        Subjects that are not finished.
    finished
        How many are.
    jobs, threads
        Worker processes, and threads of each.
    memory_mb
        What each worker needs at most.
    """

    todo: tuple[Subject, ...]
    finished: int
    jobs: int
    threads: int
    memory_mb: int


class BatchProgress:
    """What a batch reports while it goes; this one keeps silent."""

    def begin(self, plan: Plan) -> None:
        """The batch begins."""

    def ended(self, record: Record) -> None:
        """A subject ended, and its record is on disk."""

    def left_out(self, subject: Subject) -> None:
        """Another run is at work on a subject, which is left to it."""


def plan_batch(subjects: Sequence[Subject], options: SegmentOptions, folder: Path, batch: BatchOptions) -> Plan:
    """What `run_local` would do; nothing is written.

    A subject is finished when its record says so, of the same input, and its folder is complete.

    Raises
    ------
    WeightsError, DeviceError
        Every subject would fail for it.
    """
    Segmenter(options)
    done = () if batch.overwrite else RecordFile(folder).read()
    todo = tuple(not_finished(subjects, done, folder))
    warn_of_other_choices(subjects, todo, options, folder)
    on_gpu = resolve_device(options.compute.device) == "cuda"
    cpus, threads = available_cpus(), options.compute.threads
    most = WORKERS_PER_GPU * gpu_count() if on_gpu else max(1, cpus // (threads or 1))
    asked = batch.jobs or most
    if threads is None:
        asked = min(asked, cpus)
    size, available_mb = largest_grid(todo, options), available_memory_mb()

    def plan(jobs: int) -> Plan:
        each = threads or default_threads(cpus // jobs)
        memory_mb = memory_per_worker_mb(size, options, threads=each, gpu=on_gpu)
        return Plan(todo, len(subjects) - len(todo), jobs, each, memory_mb)

    plans = map(plan, range(max(1, min(asked, len(todo))), 0, -1))
    return next(p for p in plans if p.jobs == 1 or available_mb is None or p.jobs * p.memory_mb <= available_mb)


def not_finished(subjects: Sequence[Subject], records: Iterable[Record], folder: Path) -> list[Subject]:
    """The subjects but for those whose record says done, of the same input, and whose folder is complete."""
    inputs = {record.id: Path(record.input) for record in records if record.status == "done"}
    return [s for s in subjects if inputs.get(s.sid) != s.path.absolute() or not is_finished(folder / s.sid)]


def warn_of_other_choices(
    subjects: Sequence[Subject], todo: Sequence[Subject], options: SegmentOptions, folder: Path
) -> None:
    """Warn if what is left as it is has other labels than these options give, by the first subject that is finished.

    To read the records of all would take minutes in a large batch.
    """
    done_again = {subject.sid for subject in todo}
    left = (subject.sid for subject in subjects if subject.sid not in done_again)
    finished = next((sid for sid in left if is_finished(folder / sid)), None)
    with suppress(OutputError):  # a damaged record: it does not tell
        if finished and (other := other_choices(folder / finished, options)):
            _logger.warning(
                "%s and perhaps others are finished, but with %s; use --overwrite to do them again.", finished, other
            )


def run_local(
    subjects: Sequence[Subject],
    options: SegmentOptions,
    folder: Path,
    batch: BatchOptions | None = None,
    progress: BatchProgress | None = None,
) -> list[Record]:
    """The records of those subjects that have one in the end; finished ones are left as they are.

    Subjects without a record are those that were not started (``fail_fast``) and those that another run has at hand.

    Parameters
    ----------
    subjects
        Each name once.
    options
        Of the segmentations.
    folder
        Gets a folder for each subject, and ``batch.jsonl``.
    batch
        How many at a time, what is done again.
    progress
        Told of every subject that ends.

    Raises
    ------
    WeightsError, DeviceError
        Every subject would fail for it; nothing was started.
    OutputError
        The records cannot be written; what was finished by then is found when the batch is run again.

    Notes
    -----
    Whatever a signal handler raises ends the workers and drops the subjects they have at hand: they leave no record and
    nothing half-written. The workers do not see SIGINT, SIGTERM and SIGUSR2.
    """
    batch, progress = batch or BatchOptions(), progress or BatchProgress()
    plan = plan_batch(subjects, options, folder, batch)
    records = RecordFile(folder)
    records.drop(subject.sid for subject in plan.todo)
    progress.begin(plan)
    if plan.todo:
        options = replace(options, compute=replace(options.compute, threads=plan.threads))
        with _thread_limits(plan.threads):
            _Run(plan, options, folder, batch, progress, records).run()
    names = {subject.sid for subject in subjects}
    return [record for record in records.read() if record.id in names]


@contextmanager
def _thread_limits(threads: int) -> Iterator[None]:
    """Processes that start meanwhile have so many threads in NumPy's and PyTorch's libraries too."""
    before = {name: os.environ.get(name) for name in _THREAD_LIMITS}
    os.environ.update(dict.fromkeys(_THREAD_LIMITS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@dataclass(frozen=True)
class _Attempt:
    subject: Subject
    number: int
    began: float = 0.0


class _Run:
    """The work of `run_local`: as many attempts at a time as there are workers."""

    def __init__(
        self,
        plan: Plan,
        options: SegmentOptions,
        folder: Path,
        batch: BatchOptions,
        progress: BatchProgress,
        records: RecordFile,
    ) -> None:
        self._jobs, self._options, self._folder = plan.jobs, options, folder
        self._batch, self._progress, self._records = batch, progress, records
        self._waiting = deque(_Attempt(subject, 1) for subject in plan.todo)
        self._running: dict[Future[Outcome], _Attempt] = {}
        self._failed = False
        self._pool = _new_pool(plan.jobs)

    def run(self) -> None:
        """Until all subjects have ended."""
        try:
            while self._fill():
                for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                    self._end(self._running.pop(future), future)
        finally:
            _end_pool(self._pool)
            for attempt in self._running.values():
                discard_unfinished(self._folder / attempt.subject.sid)

    def _fill(self) -> bool:
        """Give each worker a subject; whether any has one."""
        while self._waiting and len(self._running) < self._jobs and not (self._failed and self._batch.fail_fast):
            attempt = replace(self._waiting.popleft(), began=perf_counter())
            self._running[self._schedule(attempt)] = attempt
        return bool(self._running)

    def _schedule(self, attempt: _Attempt) -> Future[Outcome]:
        arguments = attempt.subject, self._options, self._folder
        how = {"overwrite": self._batch.overwrite, "attempt": attempt.number}
        with _signals_held_back():  # a new pool starts its workers here, and they inherit that
            if not self._pool.active:  # it breaks when workers are killed before they are at work
                _end_pool(self._pool)
                self._pool = _new_pool(self._jobs)
            return self._pool.schedule(segment_subject, args=arguments, kwargs=how)

    def _end(self, attempt: _Attempt, future: Future[Outcome]) -> None:
        outcome = self._outcome(attempt, future)
        record = outcome.record
        for level, text in outcome.log:
            _logger.log(level, "%s: %s", attempt.subject.sid, text)
        if record is None:
            self._progress.left_out(attempt.subject)
        elif record.error_kind in _WORTH_RETRYING and attempt.number <= self._batch.max_retries:
            _logger.warning("%s is tried again: %s", record.id, record.error)
            self._waiting.append(_Attempt(attempt.subject, attempt.number + 1))
        else:
            self._failed |= record.status == "failed"
            self._records.append(record)
            self._progress.ended(record)

    def _outcome(self, attempt: _Attempt, future: Future[Outcome]) -> Outcome:
        try:
            return future.result()
        except (ProcessExpired, BrokenProcessPool) as error:
            discard_unfinished(self._folder / attempt.subject.sid)
            return Outcome(_killed(attempt, getattr(error, "exitcode", None)))


def _killed(attempt: _Attempt, exitcode: int | None) -> Record:
    """The record of a subject whose worker ended before it, with a process's exit code (-9 for signal 9), if known."""
    if exitcode is not None and exitcode < 0:
        how, exit_code = f"was killed by {signal.Signals(-exitcode).name}", 128 - exitcode
    else:
        how, exit_code = "ended before it did", exitcode or 1
    return failure(
        attempt.subject,
        kind=KILLED,
        sentence=f"The worker {how}, perhaps for lack of memory; if so, give fewer --jobs.",
        exit_code=exit_code,
        seconds=perf_counter() - attempt.began,
        attempt=attempt.number,
    )


def _new_pool(jobs: int) -> ProcessPool:
    context = multiprocessing.get_context("spawn")  # a fork would inherit memory and threads
    return ProcessPool(max_workers=jobs, initializer=start, initargs=(context.Value("i", 0),), context=context)


def _end_pool(pool: ProcessPool) -> None:
    """End the workers at once, whatever they are at."""
    CONSTS.term_timeout = 0  # SIGTERM is held back from them: there is nothing to wait for before SIGKILL
    pool.stop()
    pool.join()


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Processes and threads that start meanwhile never see these signals: only this process decides about an end."""
    resource_tracker.ensure_running()  # when started by the first worker, it would let the signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
