"""PyTorch's own settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def set_up(threads: int) -> None:
    """Make PyTorch compute as its engines want it, with so many threads."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.backends.cudnn.allow_tf32 = False  # its 10 bits of mantissa are no float32


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute with one thread for a while, anywhere in the process.

    Small tensors are sooner done than shared, and where processors are busy with something else, a thread waits for
    the others at every one of them: 70 filters took 14 s to load, instead of 0.4.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
