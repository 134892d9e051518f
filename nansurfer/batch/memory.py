"""How much memory a worker needs, and how much there is."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib

from nansurfer.batch.subjects import Subject
from nansurfer.labels import N_CLASSES
from nansurfer.pipeline import SegmentOptions
from nansurfer.pipeline.aggregate import MAX_SHARE
from nansurfer.volume import conformed_size

PROCESS_MB = 350
"""Python, PyTorch and the weights, resident."""

_THREAD_MB = 85  # the activations of a slice at 1 mm; measured 73, and at 0.8 mm, where more maps are needed, 131
_LOGIT_BYTES = 2
_VOLUMES_BYTES = 6  # image, head, classes, labels, mask and aseg, a voxel
_GPU_MB = 1500  # CUDA's libraries and context
_DEFAULT_SIZE = 256
_MAX_HEADERS = 100
"""Headers that are read to know the largest grid; reading all of 100,000 would take minutes."""

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_MEMINFO = Path("/proc/meminfo")

_logger = logging.getLogger("nansurfer")


def memory_per_worker_mb(size: int, options: SegmentOptions, *, threads: int = 1, gpu: bool = False) -> int:
    """What a worker needs at most, in MB (10^6 bytes).

    Parameters
    ----------
    size
        Voxels along each side of the conformed cube.
    options
        Of the segmentations.
    threads
        Of the worker.
    gpu
        Whether it computes on one.

    Notes
    -----
    Most of it is the sum of the logits: 79 classes of 2 bytes for at most 55 % of the voxels. With 256 voxels a side
    and one thread this gives 1.99 GB; measured were 1.2 (skull-stripped) to 1.5 GB (full head). With 320 (0.8 mm) it
    gives 3.53 GB; measured were 2.7 GB (full head).
    """
    share = 1.0 if options.fastsurfer_compat else MAX_SHARE
    voxels = size**3
    slices = threads * _THREAD_MB * (size / _DEFAULT_SIZE) ** 2
    volumes = voxels * (_LOGIT_BYTES * N_CLASSES * share + _VOLUMES_BYTES) / 1e6
    return round(PROCESS_MB + slices + volumes + gpu * _GPU_MB)


def largest_grid(subjects: Sequence[Subject], options: SegmentOptions) -> int:
    """Voxels along each side of the largest conformed cube among (at most 100, evenly chosen) subjects.

    Images that cannot be read count as usual ones: they fail when it is their turn.
    """
    step = max(1, len(subjects) // _MAX_HEADERS)
    return max((_grid(subject.path, options) for subject in subjects[::step]), default=_DEFAULT_SIZE)


def _grid(path: Path, options: SegmentOptions) -> int:
    try:
        return conformed_size(nib.load(path), options.vox_size)  # type: ignore[arg-type]
    except Exception as error:  # whatever a damaged file provokes in nibabel
        _logger.debug("The header of %s cannot be read: %s", path, error)
        return _DEFAULT_SIZE


def available_memory_mb() -> int | None:
    """Memory that new processes may use, in MB (10^6 bytes); None where the system does not tell.

    What is free on the machine, or less: what the control groups of this process (a container, a Slurm job) leave, and
    what Slurm has granted.
    """
    amounts = [*_free(), *_left_by_cgroups(), *_granted_by_slurm()]
    return min(amounts) // 10**6 if amounts else None


def _free() -> Iterator[int]:
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024
    elif "SC_PHYS_PAGES" in os.sysconf_names:  # macOS, which does not tell what is free
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _left_by_cgroups() -> Iterator[int]:
    """Limit less use of each control group with a limit that this process is in, of version 1 or 2."""
    if not _OWN_CGROUPS.is_file():
        return
    for line in _OWN_CGROUPS.read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            root, names = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root, names = _CGROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = root / place.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                yield from _left(group, *names)


def _left(group: Path, limit: str, used: str, reclaimable: str) -> Iterator[int]:
    try:
        allowed = (group / limit).read_text().strip()
        if allowed != "max":
            cache = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield max(0, int(allowed) - int((group / used).read_text()) + int(cache.get(reclaimable, 0)))
    except OSError:  # a container shows its own group at the root and nothing else
        return


def _granted_by_slurm() -> Iterator[int]:
    """Slurm tells in MiB, 0 for all; not every cluster enforces it by control groups."""
    per_node, per_cpu, cpus = (
        int(os.environ.get(f"SLURM_{name}") or 0) for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE")
    )
    if granted := per_node or per_cpu * cpus:
        yield granted << 20
