"""What a worker process does: one subject after the other, with networks loaded once."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import threading
import traceback
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from time import perf_counter

from nansurfer.batch.record import Record
from nansurfer.batch.subjects import Subject
from nansurfer.engine import gpu_count, use_gpu
from nansurfer.errors import BusyError, NansurferError
from nansurfer.pipeline import Segmenter, SegmentOptions, holds_result_of
from nansurfer.pipeline.outputs import RECORD, REPORT
from nansurfer.pipeline.record import peak_memory_mb
from nansurfer.report import SKIP_REPORT_FILES

_BUG_EXIT_CODE = 1  # Python's own after a traceback

_logger = logging.getLogger("nansurfer")


@dataclass(frozen=True)
class Outcome:
    """What became of a subject in a worker.

    Parameters
    ----------
    record
        None where another run has the subject.
    log
        Level and text of what is to be said about it, tracebacks among them.
    """

    record: Record | None
    log: tuple[tuple[int, str], ...] = ()


class _Kept(logging.Handler):
    """Keeps warnings for the process that talks to the user."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.log: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.log.append((record.levelno, record.getMessage()))


def start(started: Synchronized[int]) -> None:
    """Begin a worker's life, which ends with its parent's.

    Parameters
    ----------
    started
        How many workers began before this one: they take the GPUs in turn.
    """
    _logger.propagate = False
    if parent := parent_process():
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if gpus := gpu_count():
        with started.get_lock():
            use_gpu(started.value % gpus)
            started.value += 1


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)  # at once, and even from within a kernel


@cache
def _segmenter(options: SegmentOptions) -> Segmenter:
    """One a process."""
    return Segmenter(options)


def segment_subject(
    subject: Subject, options: SegmentOptions, folder: Path, *, overwrite: bool, attempt: int
) -> Outcome:
    """Segment one subject into ``folder``, unless it is finished, and say what became of it; nothing is raised."""
    kept, began = _Kept(), perf_counter()
    _logger.addHandler(kept)
    try:
        if overwrite or not holds_result_of(folder / subject.sid, subject.path):
            _segmenter(options).segment(subject.path, folder, subject.sid, overwrite=True)
        record = _record_of_finished(subject, folder, attempt)
    except BusyError as error:
        return Outcome(None, (*kept.log, (logging.WARNING, str(error))))
    except Exception as error:
        level = logging.DEBUG if isinstance(error, NansurferError) else logging.ERROR
        kept.log.append((level, traceback.format_exc()))
        record = failure(
            subject,
            kind=type(error).__name__,
            sentence=str(error) if isinstance(error, NansurferError) else f"A fault of nansurfer: {error!r}",
            exit_code=error.exit_code if isinstance(error, NansurferError) else _BUG_EXIT_CODE,
            seconds=perf_counter() - began,
            attempt=attempt,
            peak_mb=peak_memory_mb(),
        )
    finally:
        _logger.removeHandler(kept)
    return Outcome(record, tuple(kept.log))


def _record_of_finished(subject: Subject, folder: Path, attempt: int) -> Record:
    """The record of a subject by what lies in its folder, whoever put it there."""
    content = json.loads((folder / subject.sid / RECORD).read_text(encoding="utf-8"))
    finished = datetime.fromisoformat(content["finished"])
    return Record(
        id=subject.sid,
        input=str(subject.path.absolute()),
        status="done",
        error_kind=None,
        error=None,
        exit_code=0,
        seconds=content["elapsed_s"],
        peak_memory_mb=content["peak_memory_mb"],
        brain_volume_ml=content["brain_volume_ml"],
        skip_ratio=_skip_ratio(folder / subject.sid / REPORT / SKIP_REPORT_FILES[0]),
        attempts=attempt,
        host=platform.node(),
        started=_iso(finished - timedelta(seconds=content["elapsed_s"])),
        finished=_iso(finished),
    )


def _skip_ratio(report: Path) -> float | None:
    if not report.is_file():
        return None
    ratio: float = json.loads(report.read_text(encoding="utf-8"))["mac_skip_ratio"]
    return ratio


def failure(
    subject: Subject,
    *,
    kind: str,
    sentence: str,
    exit_code: int,
    seconds: float,
    attempt: int,
    peak_mb: int | None = None,
) -> Record:
    """The record of a subject that failed just now."""
    now = datetime.now(timezone.utc)
    return Record(
        id=subject.sid,
        input=str(subject.path.absolute()),
        status="failed",
        error_kind=kind,
        error=sentence,
        exit_code=exit_code,
        seconds=round(seconds, 3),
        peak_memory_mb=peak_mb,
        brain_volume_ml=None,
        skip_ratio=None,
        attempts=attempt,
        host=platform.node(),
        started=_iso(now - timedelta(seconds=seconds)),
        finished=_iso(now),
    )


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
