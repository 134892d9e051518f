"""Progress bars and log lines of segmentations, and the closing words of ``nansurfer segment``."""

from __future__ import annotations

import logging
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from nansurfer.pipeline import Progress, SegmentationResult
from nansurfer.pipeline.outputs import LABELS, MASK, PICTURE, RECORD, REPORT, STATS, VOLUMES
from nansurfer.report import SKIP_REPORT_FILES

_SHOWN = (2, 41, 4, 43, 17, 53, 16)

_logger = logging.getLogger("nansurfer")


class LoggedProgress(Progress):
    """One log line a stage and a view, for logs and pipes."""

    _view_level = logging.INFO

    def __init__(self) -> None:
        self._view = ""
        self._total = self._done = 0
        self._started = 0.0

    def __enter__(self) -> LoggedProgress:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing to put in order."""

    def run(self, description: str) -> None:
        """Log the run."""
        _logger.info("%s", description)

    def stage(self, description: str) -> None:
        """Log the stage."""
        _logger.info("%s", description)

    def view(self, view: str, slices: int) -> None:
        """Start the view's clock."""
        self._view, self._total, self._done, self._started = view, slices, 0, monotonic()

    def advance(self, slices: int) -> None:
        """Log the view when it is done."""
        self._done += slices
        if self._done == self._total:
            elapsed_s = monotonic() - self._started
            speed = self._done / elapsed_s
            _logger.log(self._view_level, "%s: %d slices, %.1f slices/s", self._view, self._done, speed)


class LiveProgress(LoggedProgress):
    """A bar a view below the log lines, on a terminal."""

    _view_level = logging.DEBUG  # the bar tells

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._bars = Bars(
            TextColumn("{task.description}", justify="left"),
            BarColumn(),
            MofNCompleteColumn(),
            _SpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> LiveProgress:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def run(self, description: str) -> None:
        """Take away the bars of the run before."""
        for task in self._bars.task_ids:
            self._bars.remove_task(task)
        super().run(description)

    def view(self, view: str, slices: int) -> None:
        """A new bar."""
        super().view(view, slices)
        self._task = self._bars.add_task(view, total=slices)

    def advance(self, slices: int) -> None:
        """Move the current bar."""
        super().advance(slices)
        if self._task is not None:
            self._bars.advance(self._task, slices)


def progress_on(console: Console, *, quiet: bool) -> LoggedProgress:
    """Bars on a terminal, log lines elsewhere; to be used as a context manager."""
    return LiveProgress(console) if console.is_terminal and not quiet else LoggedProgress()


class _SpeedColumn(ProgressColumn):
    """Slices per second."""

    def render(self, task: Task) -> Text:
        """The speed so far, once there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} slices/s" if speed else "", style="progress.data.speed")


def show_result(console: Console, result: SegmentationResult) -> None:
    """Print where everything lies, how long it took and the volumes that one looks at first."""
    console.print(str(result.folder), style="italic", markup=False, highlight=False, soft_wrap=True)  # to be copied
    console.print(_closing_table(result))


def _closing_table(result: SegmentationResult) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # paths are there to be copied
    for name, path in (
        ("labels", LABELS),
        ("brain mask", MASK),
        ("picture", PICTURE),
        ("statistics", STATS),
        ("volumes", VOLUMES),
        ("run record", RECORD),
    ):
        table.add_row(name, str(path))
    if result.skip_report:
        table.add_row("skip report", str(REPORT / SKIP_REPORT_FILES[-1]))
    table.add_section()
    table.add_row("brain", f"{result.brain_volume_ml:.1f} ml")
    volumes = {s.label: s for s in result.stats}
    for label in _SHOWN:
        table.add_row(volumes[label].name, f"{volumes[label].volume_mm3 / 1000:.2f} ml")
    table.add_section()
    if result.skip_report:
        table.add_row("multiply-adds skipped", f"{100 * result.skip_report.mac_skip_ratio:.1f} %")
    table.add_row("engine", f"{result.engine}, on {result.device}")
    for stage, seconds in result.timings_s.items():
        table.add_row(stage, f"{seconds:.1f} s")
    table.add_row("total", f"{sum(result.timings_s.values()):.1f} s")
    return table
