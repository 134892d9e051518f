"""Work in a process of its own: what comes back, and how it ends when it cannot."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from nansurfer.errors import DeviceError, InputNotFoundError
from nansurfer.pipeline.fresh_process import in_fresh_process
from nansurfer.volume import read_image


def test_it_is_another_process() -> None:
    assert in_fresh_process(os.getpid) != os.getpid()


def test_an_error_of_ours_comes_back() -> None:
    with pytest.raises(InputNotFoundError, match="nobody"):
        in_fresh_process(read_image, "nobody.mgz")


def test_a_process_that_dies() -> None:
    with pytest.raises(DeviceError, match="with exit code 9; if it was killed for lack of memory"):
        in_fresh_process(os._exit, 9)


def test_an_interruption_ends_the_process() -> None:
    def interrupt() -> None:
        while not multiprocessing.active_children():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_fresh_process(time.sleep, 60)
    assert time.monotonic() - started < 30
    assert multiprocessing.active_children() == []
