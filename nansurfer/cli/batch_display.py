"""A bar, or a log line a subject, for `nansurfer batch`."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from nansurfer.batch import BatchProgress, Plan, Record, Subject

_SPEED_OVER_S = 3600.0  # subjects take half a minute: rich's half a minute would see one of them

_logger = logging.getLogger("nansurfer")


class LoggedBatch(BatchProgress):
    """One log line a subject, for logs and pipes."""

    _done_level = logging.INFO

    def __enter__(self) -> LoggedBatch:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing to put in order."""

    def begin(self, plan: Plan) -> None:
        """Log what is to be done."""
        _logger.info("%s", plan_in_words(plan))

    def ended(self, record: Record) -> None:
        """Log how."""
        if record.status == "failed":
            _logger.error("%s failed after %.1f s: %s", record.id, record.seconds, record.error)
        else:
            ml = record.brain_volume_ml or 0.0
            _logger.log(self._done_level, "%s done in %.1f s, brain %.0f ml", record.id, record.seconds, ml)

    def left_out(self, subject: Subject) -> None:
        """The warning that came with it has said so."""


class LiveBatch(LoggedBatch):
    """A bar over all subjects below the log lines, on a terminal."""

    _done_level = logging.DEBUG  # the bar tells

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("subjects"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=_SPEED_OVER_S,
        )
        self._task = self._bars.add_task("", total=None, failed=0)
        self._failed = 0

    def __enter__(self) -> LiveBatch:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def begin(self, plan: Plan) -> None:
        """The bar's length is what is to be done."""
        super().begin(plan)
        self._bars.update(self._task, total=len(plan.todo))

    def ended(self, record: Record) -> None:
        """Move the bar."""
        super().ended(record)
        self._failed += record.status == "failed"
        self._bars.update(self._task, advance=1, failed=self._failed)

    def left_out(self, subject: Subject) -> None:
        """Move the bar: it is another run's."""
        self._bars.advance(self._task)


def batch_progress_on(console: Console, *, quiet: bool) -> LoggedBatch:
    """A bar on a terminal, log lines elsewhere; to be used as a context manager."""
    return LiveBatch(console) if console.is_terminal and not quiet else LoggedBatch()


def plan_in_words(plan: Plan) -> str:
    """What is to be done, and with what, in a line."""
    workers = f"{plan.jobs} at a time" if plan.jobs > 1 else "one at a time"
    threads = f"{plan.threads} threads" if plan.threads > 1 else "one thread"
    subjects = "1 subject" if len(plan.todo) == 1 else f"{len(plan.todo)} subjects"
    return (
        f"{subjects} to do, {plan.finished} finished; {workers}, each with {threads} and at most {plan.memory_mb} MB."
    )
