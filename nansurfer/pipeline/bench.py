"""One T1 with one technique more a run: what each saves in time and memory, and what it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from nansurfer.engine import fast_kernels_available
from nansurfer.errors import ConfigError, DeviceError
from nansurfer.pipeline.fresh_process import in_fresh_process
from nansurfer.pipeline.options import SegmentOptions, make_options
from nansurfer.pipeline.outputs import alone_in
from nansurfer.pipeline.progress import Progress
from nansurfer.pipeline.provenance import provenance
from nansurfer.pipeline.record import peak_memory_mb
from nansurfer.pipeline.segment import NETWORK_STAGE, Segmenter
from nansurfer.report.bench import BenchRow
from nansurfer.report.comparison import compare_labels
from nansurfer.report.table import write_table
from nansurfer.volume import VoxelSize, conform, label_image, read_image, read_labels, save_image

CONFORMED = Path("conformed.mgz")
DENSE_LABELS = Path("dense.mgz")
TABLE = Path("bench.csv")

_CLOCK_S = 1e-3  # stages are timed in whole milliseconds
_FLOP_PER_MAC = 2  # a multiplication and an addition


class Technique(NamedTuple):
    """A row of the benchmark.

    Parameters
    ----------
    name
        By which it is chosen.
    description
        What it adds to the row above; the kernels add to the row ``folded``.
    choices
        Keywords of :func:`nansurfer.pipeline.make_options`: this technique and those it adds to.
    """

    name: str
    description: str
    choices: dict[str, Any]


TECHNIQUES = (
    Technique("dense", "every slice, as FastSurfer", {"engine": "reference", "fastsurfer_compat": True}),
    Technique("cropped", "slices with head only", {"engine": "reference", "nan": "off", "fold": False}),
    Technique("folded", "batch norms folded", {"engine": "reference", "nan": "off"}),
    Technique("masked", "background NaN, without kernels", {"engine": "masked", "nan": "background"}),
    Technique("kernels", "compiled kernels", {"engine": "fast", "nan": "off"}),
    Technique("background", "background NaN", {"engine": "fast", "nan": "background"}),
    Technique("brain", "labels near the brain only", {"engine": "fast", "nan": "background", "find_brain": True}),
)
"""The first is what all are measured against. PyTorch's layers are channels-last in every row, the first included."""


@dataclass(frozen=True)
class _Work:
    """What a run computed and what came out; Dice against the dense run."""

    macs: int
    macs_skipped: int
    dice_whole: float
    dice_mean: float


@dataclass(frozen=True)
class _Cost:
    """What a run took."""

    network_s: float
    total_s: float
    peak_memory_mb: float


def find_techniques(names: Sequence[str] = ()) -> tuple[Technique, ...]:
    """The techniques of these names, in the order of :data:`TECHNIQUES`; all without any name, dense in any case.

    Raises
    ------
    ConfigError
        There is no such technique.
    """
    known = [technique.name for technique in TECHNIQUES]
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"There is no row '{unknown[0]}'; choose from {', '.join(known)}.")
    dense, *others = TECHNIQUES
    return dense, *(technique for technique in others if not names or technique.name in names)


def bench(
    path: str | Path,
    folder: str | Path,
    techniques: Sequence[Technique] = TECHNIQUES,
    *,
    repeats: int = 3,
    progress: Progress | None = None,
    **choices: Any,
) -> list[BenchRow]:
    """What each technique took and changed, on the CPU; written as ``bench.csv`` into the folder as well.

    The T1 is conformed once, and every run gets a process of its own. A first run of each technique counts what it
    computes; those timed after it count nothing, and the techniques take turns, so that whatever else the machine
    does meets all alike.

    Parameters
    ----------
    path
        A T1, as for :func:`nansurfer.segment`.
    folder
        Where the files are written; beside the table the conformed T1 and the dense run's labels. Those of an
        earlier benchmark are replaced.
    techniques
        Dense first, as :func:`find_techniques` gives them.
    repeats
        Timed runs of each technique.
    progress
        Told of every run.
    **choices
        As for :func:`nansurfer.segment`: ``weights``, ``views``, ``vox_size``, ``threads``.

    Raises
    ------
    NansurferError
        As :func:`nansurfer.segment`; a BusyError where another benchmark is at work on the folder.
    """
    path, folder, progress = Path(path), Path(folder), progress or Progress()
    runs = [(technique, make_options(**choices, device="cpu", **technique.choices)) for technique in techniques]
    _check(runs, repeats)
    circumstances = _circumstances(path, runs[0][1], repeats)
    with alone_in(folder):
        in_fresh_process(_conform, path, folder, runs[0][1].vox_size)
        works, costs = _measured(runs, folder, repeats, progress)
        rows = [_row(run[0], work, cost, costs[0]) for run, work, cost in zip(runs, works, costs, strict=True)]
        write_table(folder / TABLE, [asdict(row) | circumstances for row in rows])
    return rows


def _circumstances(path: Path, options: SegmentOptions, repeats: int) -> dict[str, object]:
    """What all rows share, as it is before the work; the weights are checked on the way."""
    segmenter = Segmenter(options)
    return {
        "image": path.name,
        "weights": segmenter.weights.name,
        "views": " ".join(options.views),
        "repeats": repeats,
        "device": options.compute.device,
        "threads": segmenter.threads,
        **provenance(),
    }


def _check(runs: Sequence[tuple[Technique, SegmentOptions]], repeats: int) -> None:
    if repeats < 1:
        raise ConfigError(f"repeats is {repeats}; it must be at least 1.")
    fast = [technique.name for technique, options in runs if options.compute.engine == "fast"]
    if fast and not fast_kernels_available():
        raise DeviceError(
            f"There are no compiled kernels for this processor, which {', '.join(fast)} need; choose other rows."
        )


def _measured(
    runs: Sequence[tuple[Technique, SegmentOptions]], folder: Path, repeats: int, progress: Progress
) -> tuple[list[_Work], list[list[_Cost]]]:
    """What each run computed, and what it took each time."""

    def fresh(what: str, measure: Callable[[Path, SegmentOptions], Any]) -> list[Any]:
        measures = []
        for technique, options in runs:
            progress.run(f"{what}: {technique.name}")
            measures.append(in_fresh_process(measure, folder, options))
        return measures

    works = fresh("Counting", _count)
    turns = [fresh(f"Repeat {number} of {repeats}", _time) for number in range(1, repeats + 1)]
    return works, [list(costs) for costs in zip(*turns, strict=True)]


def _conform(path: Path, folder: Path, vox_size: VoxelSize) -> None:
    save_image(conform(read_image(path), vox_size), folder / CONFORMED)


def _count(folder: Path, options: SegmentOptions) -> _Work:
    """What a run computes, and its agreement with the dense run, which leaves its labels for those after it."""
    is_dense = options.fastsurfer_compat
    result = Segmenter(replace(options, report=True, force=not is_dense)).segment(folder / CONFORMED)
    assert result.skip_report is not None
    if is_dense:
        save_image(label_image(result.labels, result.conformed, np.int16), folder / DENSE_LABELS)
    dense_labels = np.asarray(read_labels(folder / DENSE_LABELS).dataobj, np.int16)
    compared = compare_labels(dense_labels, result.labels, result.conformed.affine)
    layers = result.skip_report.layers
    return _Work(
        macs=sum(layer.macs for layer in layers),
        macs_skipped=sum(layer.macs_skipped for layer in layers),
        dice_whole=compared.whole.dice,
        dice_mean=compared.mean_dice,
    )


def _time(folder: Path, options: SegmentOptions) -> _Cost:
    """What a run takes that does not count."""
    timings_s = Segmenter(replace(options, report=False, force=True)).segment(folder / CONFORMED).timings_s
    return _Cost(max(timings_s[NETWORK_STAGE], _CLOCK_S), sum(timings_s.values()), peak_memory_mb())


def _row(technique: Technique, work: _Work, costs: Sequence[_Cost], dense: Sequence[_Cost]) -> BenchRow:
    network_s = [cost.network_s for cost in costs]
    gflop = _FLOP_PER_MAC * (work.macs - work.macs_skipped) / 1e9
    return BenchRow(
        name=technique.name,
        technique=technique.description,
        network_s=round(median(network_s), 3),
        network_min_s=min(network_s),
        network_max_s=max(network_s),
        total_s=round(median(cost.total_s for cost in costs), 3),
        speedup=round(median(cost.network_s for cost in dense) / median(network_s), 3),
        gflop=round(gflop, 1),
        gflop_per_s=round(gflop / median(network_s), 1),
        mac_skip_ratio=round(work.macs_skipped / work.macs, 6),
        peak_memory_mb=median(cost.peak_memory_mb for cost in costs),
        dice_whole=work.dice_whole,
        dice_mean=work.dice_mean,
    )
