"""One T1 at several thresholds of skipping, each run measured against the dense one."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nansurfer.engine import resolve_device
from nansurfer.errors import ConfigError, NoBrainError
from nansurfer.files import check_writable, sha256
from nansurfer.pipeline.options import SegmentOptions
from nansurfer.pipeline.outputs import alone_in
from nansurfer.pipeline.progress import Progress
from nansurfer.pipeline.record import package_versions
from nansurfer.pipeline.result import SegmentationResult
from nansurfer.pipeline.segment import NETWORK_STAGE, Segmenter
from nansurfer.pipeline.skipping import SkipOptions
from nansurfer.pipeline.sweep_record import SweepRecord
from nansurfer.report.comparison import compare_labels
from nansurfer.report.skips import mac_skip_ratio, mean_skip_ratio
from nansurfer.report.sweep import SETTINGS, SweepRow
from nansurfer.volume import read_image

_RATIO_DIGITS = 6


def sweep_points(modes: Sequence[str], thresholds: Sequence[float], **choices: Any) -> list[SkipOptions]:
    """What each run of a sweep may skip: every mode at every threshold, each once.

    All label the whole head, as ``find_brain=False``: what that saves depends on the first view, not on a threshold.

    Parameters
    ----------
    modes
        Of :class:`SkipOptions`, all but ``"off"``: the dense run is part of any sweep.
    thresholds
        Above 0 and at most 1.
    **choices
        Other fields of :class:`SkipOptions`, each for the modes in which it has a say.

    Raises
    ------
    ConfigError
        A value makes no sense, or has no say in any of the modes.
    """
    if "off" in modes:
        raise ConfigError("nan 'off' is the dense run, which is part of every sweep; leave it out of the list.")
    settings: list[dict[str, Any]] = [{"nan": mode, "find_brain": False} for mode in modes]
    by_default = [SkipOptions(**own).chosen() for own in settings]
    for name, value in choices.items():
        concerned = [own for own, chosen in zip(settings, by_default, strict=True) if chosen.get(name) is not None]
        for own in concerned or settings:  # without any say it is refused below
            own[name] = value
    points = [SkipOptions(**own, threshold=threshold) for own in settings for threshold in thresholds]
    points = [replace(point, margin=point.chosen()["margin"]) for point in points]  # the same at every voxel size
    return list({_key(point): point for point in points}.values())  # "auto" is one of the others


def sweep(
    path: str | Path,
    folder: str | Path,
    points: Iterable[SkipOptions],
    options: SegmentOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Iterator[SweepRow]:
    """Yield what each run skipped, took and changed, as soon as it is on disk; the dense run comes first.

    ``sweep.csv`` and ``sweep.json`` in the folder grow by a row a run, ``dense.mgz`` holds the dense run's labels.
    A sweep of the same image, weights, options, versions and machine goes on there: its rows come first, and what
    they hold is not done again. Times are of one run each.

    Parameters
    ----------
    path
        A T1, as for :func:`nansurfer.segment`.
    folder
        Where the files are written.
    points
        What to skip, run by run, as :func:`sweep_points` gives it.
    options
        All but what to skip.
    overwrite
        Replace the sweep that the folder holds.
    progress
        Told how far each run is.

    Raises
    ------
    NansurferError
        As :func:`nansurfer.segment`. An OutputError where the folder holds another sweep, a BusyError where another
        is at work on it, a NoBrainError only where the dense run finds no brain.
    """
    path, folder, options, progress = Path(path), Path(folder), options or SegmentOptions(), progress or Progress()
    points = list(points)
    read_image(path)  # whatever is wrong with it is told before the work
    check_writable(folder)
    dense = SkipOptions(nan="off", paper_compat=any(point.paper_compat for point in points))
    provenance = _provenance(path, options, paper_compat=dense.paper_compat)
    with alone_in(folder):
        record = SweepRecord(folder, provenance, overwrite=overwrite)
        yield from record.rows
        done = {row.key for row in record.rows}
        todo = [  # all options checked before the work
            replace(options, skip=point, report=True, force=point is not dense)
            for point in (dense, *points)
            if _key(point) not in done
        ]
        for number, run in enumerate(todo, start=1):
            progress.run(f"Run {number} of {len(todo)}: {_description(run.skip)}")
            result = _segment(path, run, progress)
            if run.skip is dense:
                record.start(result)
            record.add(_measured(run.skip, result, record.dense_labels, record.rows[0] if record.rows else None))
            yield record.rows[-1]


def _segment(path: Path, options: SegmentOptions, progress: Progress) -> SegmentationResult:
    try:
        return Segmenter(options).segment(path, progress=progress)
    except NoBrainError as error:
        raise NoBrainError(
            f"The dense run found no brain in {path}, so there is nothing to compare with; look at the image's "
            "orientation and contrast."
        ) from error


def _measured(
    skip: SkipOptions, result: SegmentationResult, dense_labels: npt.NDArray[np.int16], dense: SweepRow | None
) -> SweepRow:
    """A run's row; ``dense`` is None for the dense run itself."""
    assert result.skip_report is not None
    layers, counting_s = result.skip_report.layers, result.skip_report.bookkeeping["counting_s"]
    skipped = mac_skip_ratio(layers)
    network_s = result.timings_s[NETWORK_STAGE] - counting_s
    left_by_dense = 1 - dense.mac_skip_ratio if dense else 1 - skipped
    compared = compare_labels(dense_labels, result.labels, result.conformed.affine)
    return SweepRow(
        **_told(skip),
        engine=result.engine,
        mean_skip_ratio=round(mean_skip_ratio(layers), _RATIO_DIGITS),
        mac_skip_ratio=round(skipped, _RATIO_DIGITS),
        speedup_bound=round(left_by_dense / (1 - skipped), _RATIO_DIGITS) if skipped < 1 else None,
        network_s=round(network_s, 3),
        total_s=round(sum(result.timings_s.values()) - counting_s, 3),
        time_ratio=_time_ratio(network_s, result.engine, dense),
        dice_whole=compared.whole.dice,
        dice_mean=compared.mean_dice,
        voxels_changed=compared.whole.voxels_changed,
    )


def _time_ratio(network_s: float, engine: str, dense: SweepRow | None) -> float | None:
    """Share of the dense run's time; None where that ran on another engine: it would tell of the engines."""
    if dense is None:
        return 1.0
    return round(network_s / dense.network_s, _RATIO_DIGITS) if engine == dense.engine else None


def _provenance(path: Path, options: SegmentOptions, *, paper_compat: bool) -> dict[str, Any]:
    """What has to be the same for two runs to be rows of one table, beside what their rows tell."""
    segmenter = Segmenter(options)  # checks device and weights before the work
    compute = options.compute
    return {
        "input": sha256(path),
        "weights": segmenter.weights.checksums(),
        "options": {
            "views": options.views,
            "vox_size": options.vox_size,
            "fastsurfer_compat": options.fastsurfer_compat,
            "paper_compat": paper_compat,
            "precision": compute.precision,
            "batch_size": compute.batch_size,
            "engine": compute.engine,
            "fold": compute.fold,
        },
        "versions": package_versions(),
        "machine": {
            "system": platform.platform(),
            "device": resolve_device(compute.device),
            "threads": segmenter.threads,
        },
    }


def _told(skip: SkipOptions) -> dict[str, Any]:
    """What a row tells of what may be skipped: the choices as they are made in the end."""
    chosen = skip.chosen()
    return {name: chosen[name] for name in SETTINGS}


def _key(skip: SkipOptions) -> tuple[Any, ...]:
    return tuple(_told(skip).values())


def _description(skip: SkipOptions) -> str:
    told = _told(skip)
    return "dense" if told["nan"] == "off" else f"{told['nan']} at threshold {told['threshold']:g}"
