"""What a run leaves behind about itself."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from time import perf_counter
from typing import Any

from nansurfer.pipeline.options import SegmentOptions
from nansurfer.pipeline.progress import Progress
from nansurfer.version import __version__

RECORD_VERSION = 1
_PACKAGES = ("torch", "numpy", "scipy", "nibabel")


class Stopwatch:
    """Durations of a run's stages, told to a :class:`Progress` as they begin."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.timings_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage under ``name``."""
        self._progress.stage(name)
        started = perf_counter()
        yield
        self.timings_s[name] = round(perf_counter() - started, 3)


def run_record(
    options: SegmentOptions, machine: Mapping[str, Any], timings_s: Mapping[str, float], **facts: Any
) -> dict[str, Any]:
    """Contents of ``nansurfer.json``; ``facts`` are what only the caller knows, such as the checksums."""
    return {
        "record_version": RECORD_VERSION,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": package_versions(),
        "options": dataclasses.asdict(options),
        "machine": {"system": platform.platform(), **machine},
        **facts,
        "timings_s": dict(timings_s),
        "elapsed_s": round(sum(timings_s.values()), 3),
        "peak_memory_mb": peak_memory_mb(),
    }


def package_versions() -> dict[str, str]:
    """Versions of nansurfer, Python and the packages that decide about results."""
    own = {"nansurfer": __version__, "python": platform.python_version()}
    return own | {package: version(package) for package in _PACKAGES}


def peak_memory_mb() -> int:
    """Largest resident size of this process so far, in MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6)
