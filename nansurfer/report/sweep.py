"""The trade-off that a sweep over thresholds measures: what was skipped, how long it took, what it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nansurfer.report.table import write_table

SETTINGS = ("nan", "threshold", "fill", "margin", "pool_margin", "max_ties", "tie_tolerance")
"""What a run might skip, by which rows are told apart: fields of a row that are options of `segment`."""


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """One run of a sweep, measured against its dense run.

    Parameters
    ----------
    nan, threshold, fill, margin, pool_margin, max_ties, tie_tolerance
        See `nansurfer.pipeline.skipping.SkipOptions`; None where an option has no say. ``"off"`` is the dense run.
    engine
        ``"fast"``, ``"masked"`` or ``"reference"``: times of different engines say little about skipping.
    mean_skip_ratio
        Mean of the convolutions' skip ratios, each counting alike: the NaN papers' measure.
    mac_skip_ratio
        Share of all multiply-adds that was skipped, slices without any head included, as in the skip report.
    speedup_bound
        The dense run's multiply-adds divided by this run's: how many times faster than the dense run the
        convolutions can be at most. None where nothing was computed.
    network_s
        Seconds in the networks, without those spent on counting what is skipped.
    total_s
        Seconds of the whole run but reading and writing files, without those spent on counting.
    time_ratio
        ``network_s`` divided by the dense run's; None where that ran on another engine.
    dice_whole
        Dice overlap of the whole volume with the dense run, where only voxels with the same label count as
        shared.
    dice_mean
        Unweighted mean of the structures' Dice overlaps.
    voxels_changed
        Voxels whose label is not the dense run's.
    """

    nan: str
    threshold: float | None
    fill: str | None
    margin: int | None
    pool_margin: int | None
    max_ties: int | None
    tie_tolerance: float | None
    engine: str
    mean_skip_ratio: float
    mac_skip_ratio: float
    speedup_bound: float | None
    network_s: float
    total_s: float
    time_ratio: float | None
    dice_whole: float
    dice_mean: float
    voxels_changed: int

    @property
    def key(self) -> tuple[object, ...]:
        """What the run might skip."""
        return tuple(getattr(self, name) for name in SETTINGS)

    @property
    def time_percent(self) -> float | None:
        """Time in the networks in % of the dense run's."""
        return None if self.time_ratio is None else 100 * self.time_ratio

    @property
    def is_dense(self) -> bool:
        """Whether this is the run that all others are measured against."""
        return self.nan == "off"


def write_sweep_csv(path: str | Path, rows: Sequence[SweepRow]) -> None:
    """Write one line a run; None stays blank.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_table(path, [asdict(row) for row in rows])
