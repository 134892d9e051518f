"""Work in a process of its own: its peak memory is then of that work alone."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from nansurfer.errors import DeviceError, NansurferError

T = TypeVar("T")


def in_fresh_process(function: Callable[..., T], *arguments: Any) -> T:
    """What ``function(*arguments)`` returns in a new Python process, which ends with the caller's interruption.

    Parameters
    ----------
    function
        Of a module that can be imported, as its arguments and result have to be pickled.
    *arguments
        Passed on.

    Raises
    ------
    NansurferError
        As the function raised it.
    DeviceError
        The process ended before the function did: killed for lack of memory, say.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit the caller's memory
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, function, arguments), daemon=True)
    process.start()
    sender.close()  # so that the end of the process ends the pipe
    try:
        result = receiver.recv()
    except EOFError:
        process.join()
        raise DeviceError(
            f"A process ended before its work, with exit code {process.exitcode}; if it was killed for lack of memory, "
            "close other programs."
        ) from None
    finally:
        process.terminate()
        process.join()
        receiver.close()
    if isinstance(result, NansurferError):
        raise result
    return result  # type: ignore[no-any-return]


def _send_result(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Send what the function returns, or its NansurferError; other errors end the process with their traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the caller too, who ends this process
    try:
        result = function(*arguments)
    except NansurferError as error:
        result = error
    sender.send(result)
