"""The command ``nansurfer``. Nothing here imports PyTorch before a command needs it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from nansurfer.cli import weights
from nansurfer.cli.batch import batch, status
from nansurfer.cli.bench import bench
from nansurfer.cli.bids import BidsAppCommand, bids
from nansurfer.cli.compare import compare
from nansurfer.cli.example import example
from nansurfer.cli.segment import segment
from nansurfer.cli.sweep import sweep
from nansurfer.errors import NansurferError, OutputError
from nansurfer.files import DISK_FULL, write_failure
from nansurfer.version import __version__

INTERRUPTED = 130

_COLLECTED_EVERY = 100_000
"""New objects between two searches for garbage; by Python's 700 or 2000, imports alone mean hundreds of searches."""


class _Commands(TyperGroup):
    """Commands whose names may have two words: ``batch``, which takes arguments, and ``batch status``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # click's types, of which typer has its own copy
        """Name, command and its arguments."""
        name = " ".join(args[:2])
        if name in self.commands:
            return name, self.commands[name], args[2:]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="nansurfer",
    cls=_Commands,
    help="Whole-brain segmentation of T1 MRI, without computing irrelevant voxels.",
    epilog="Exit codes: 0 done, 1 a fault of nansurfer, 2 wrong use, 3-13 see README, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(segment)
app.command()(batch)
app.command("batch status")(status)
app.command(cls=BidsAppCommand)(bids)
app.command()(compare)
app.command()(sweep)
app.command()(bench)
app.command()(example)
app.add_typer(weights.app, name="weights")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nansurfer {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """The options of ``nansurfer`` itself."""


class _InterruptionError(BaseException):
    """Ctrl-C or SIGTERM; not a KeyboardInterrupt, of which typer would make an exit without a word."""


def main() -> None:
    """Run the command line and exit: a NansurferError as one sentence and its exit code.

    Little that a command imports is ever garbage, yet Python searches it all during the imports and again at exit:
    0.6 s with PyTorch, most of which is saved here.
    """
    gc.set_threshold(_COLLECTED_EVERY)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except NansurferError as error:
        logging.getLogger("nansurfer").debug("", exc_info=error)
        typer.echo(f"nansurfer: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # the library's own are NansurferErrors: this one is of what is printed
        if error.errno not in DISK_FULL:
            raise
        typer.echo(f"nansurfer: {write_failure(error.filename or 'standard output', error)}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try once more at its end, and fail
        sys.exit(OutputError.exit_code)
    except _InterruptionError:
        typer.echo("nansurfer: interrupted; nothing unfinished was written.", err=True)
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()  # at exit nothing is searched that is frozen


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise _InterruptionError
