"""Running the command line inside the test's own process, so that it stays fast."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from nansurfer.cli import main


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    exit_code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """Take back what a command does to its process: signals, garbage collection, the logger, PyTorch's settings."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    collected_every = gc.get_threshold()
    logger = logging.getLogger("nansurfer")
    before = logger.level, logger.propagate
    yield
    gc.set_threshold(*collected_every)
    gc.unfreeze()
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.level, logger.propagate = before
    for number, signal_handler in handlers.items():
        signal.signal(number, signal_handler)
    if threads is not None:
        sys.modules["torch"].set_num_threads(threads)
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def nansurfer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Run ``nansurfer ARGUMENTS`` and return its exit code and output."""
    monkeypatch.setenv("COLUMNS", "200")  # so that no sentence is wrapped

    def run(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["nansurfer", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main()
        code = exited.value.code
        return Finished(code if isinstance(code, int) else 0 if code is None else 1, *capsys.readouterr())

    return run
