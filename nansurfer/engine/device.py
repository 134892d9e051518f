"""Where networks run: device, threads, floating point type."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nansurfer.errors import ConfigError, DeviceError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "float16", "bfloat16")
ENGINES = ("auto", "reference", "masked", "fast")
GPU_BATCH_SIZE = 16
"""Slices that a GPU computes at once unless it is told otherwise: one alone does not fill it."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # names and numbers of glibc's malloc.h
_LARGEST_KEPT_BYTES = 32 << 20  # the most that glibc allows
_KEPT_BYTES = 512 << 20
_GPU_FILES = tuple(map(Path, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")))  # of NVIDIA's, Windows' and AMD's drivers
_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class ComputeOptions:
    """How to compute.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``: CUDA if there is one, else the CPU.
    precision
        ``"float32"``, ``"float16"``, ``"bfloat16"``, or ``"auto"``: float32, at which the labels are FastSurfer's.
        Types of 16 bits move more labels than they are worth, see the README.
    threads
        CPU threads; None for as many as :func:`default_threads` says.
    batch_size
        Slices computed at once; None for :data:`GPU_BATCH_SIZE` on a GPU and 1 on a CPU, where that is usually the
        fastest: caches decide. The fast engine takes several a thread in any case.
    engine
        ``"reference"``: PyTorch's layers and NaN. ``"masked"``: PyTorch's layers on what is not skipped, on any device,
        see :class:`nansurfer.engine.MaskedEngine`. ``"fast"``: compiled kernels, see
        :class:`nansurfer.engine.FastEngine`; on the CPU, in float32 or float16, folded. ``"auto"``: the last of them
        that serves.
    fold
        Fold batch norms into the convolutions before them: faster, equal up to rounding.

    Raises
    ------
    ConfigError
        A value makes no sense, or the fast engine cannot compute so.
    """

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    batch_size: int | None = None
    engine: str = "auto"
    fold: bool = True

    def __post_init__(self) -> None:
        for option, value, known in (
            ("device", self.device, DEVICES),
            ("precision", self.precision, PRECISIONS),
            ("engine", self.engine, ENGINES),
        ):
            if value not in known:
                raise ConfigError(f"{option} is '{value}'; choose one of {', '.join(known)}.")
        for option in ("threads", "batch_size"):
            count = getattr(self, option)
            if count is not None and count < 1:
                raise ConfigError(f"{option} is {count}; it must be at least 1.")
        if self.engine == "fast" and not (self.device in ("auto", "cpu") and self.fast_arithmetic):
            raise ConfigError(
                "The fast engine computes on the CPU, in float32 or float16 and with batch norms folded, not with "
                f"device '{self.device}', precision '{self.precision}' and fold {self.fold}; choose engine 'auto'."
            )

    @property
    def fast_arithmetic(self) -> bool:
        """Whether the arithmetic asked for is the fast engine's."""
        return self.precision != "bfloat16" and self.fold


def resolve_device(name: str) -> str:
    """The device of that name: ``"cpu"``, ``"cuda"`` or ``"mps"``. PyTorch is asked only where there may be a GPU.

    Raises
    ------
    DeviceError
        It was asked for by name and is absent.
    """
    if name == "cpu" or (name == "auto" and not _gpu_is_possible()):
        return "cpu"
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[name]:
        raise DeviceError(
            f"Device '{name}' was asked for, but PyTorch {torch.__version__} finds none; use --device cpu."
        )
    return name


def _gpu_is_possible() -> bool:
    """Whether there may be a GPU that PyTorch calls CUDA: not without a driver."""
    return sys.platform != "darwin" and (sys.platform != "linux" or any(path.exists() for path in _GPU_FILES))


def gpu_count() -> int:
    """GPUs that PyTorch can use by CUDA."""
    if not _gpu_is_possible():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def use_gpu(number: int) -> None:
    """Make one of them what this process calls CUDA."""
    import torch

    torch.cuda.set_device(number)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; outside of CUDA, PyTorch tells by the message of a RuntimeError only."""
    pytorch = sys.modules.get("torch")  # whoever did without it did not raise its errors
    told = isinstance(error, RuntimeError) and ("out of memory" in str(error) or "allocate memory" in str(error))
    return told or isinstance(error, MemoryError if pytorch is None else (MemoryError, pytorch.OutOfMemoryError))


def keep_freed_memory() -> None:
    """Let glibc keep freed memory of the size of activations instead of returning it to the system each time.

    Getting it back means a page fault for every 4 kB of every activation: a sixth of a dense run's time. Larger
    blocks, such as the sum of the logits, are still returned. Elsewhere than on glibc nothing happens.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def available_cpus() -> int:
    """Processors that this process may use: its affinity, and a container's quota where there is one."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if _CGROUP_LIMIT.is_file():
        quota, period = _CGROUP_LIMIT.read_text().split()
        if quota != "max":
            cpus = min(cpus, math.ceil(int(quota) / int(period)))
    return max(1, cpus)


def default_threads(cpus: int | None = None) -> int:
    """Threads of a process that was told no number: one a processor, or ``OMP_NUM_THREADS`` if that is less.

    Clusters and their users set it so that processes keep to their share; more threads than processors would only wait
    for each other. What is no positive number is ignored; of a list (a number for each level of nesting) the first
    counts.

    Parameters
    ----------
    cpus
        Processors it has to itself; None for all that are available.
    """
    cpus = available_cpus() if cpus is None else cpus
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(cpus, int(told)) if told.isdecimal() and int(told) > 0 else cpus
