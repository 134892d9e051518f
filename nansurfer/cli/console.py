"""How commands talk: rich output on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from rich import box
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from nansurfer.errors import OutputError

_PLAIN_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def set_up_logging(console: Console, *, quiet: bool, verbose: bool, log_file: Path | None) -> None:
    """Send the library's log to the console, and to a file if one is given.

    Raises
    ------
    OutputError
        The log file cannot be written.
    """
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logger = logging.getLogger("nansurfer")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(_console_handler(console, level))
    if log_file is not None:
        logger.addHandler(_file_handler(log_file))


def _console_handler(console: Console, level: int) -> logging.Handler:
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, show_time=False, markup=False)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(_PLAIN_FORMAT))
    handler.setLevel(level)
    return handler


def _file_handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The log file {path} cannot be written ({error.strerror}); choose another.") from error
    handler.setFormatter(logging.Formatter(_PLAIN_FORMAT))
    return handler


def figures_table(title: str, first: str, *columns: str) -> Table:
    """An empty table of figures: a name in the first column, numbers on the right of the others."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
