"""What each technique takes and changes: a row of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One technique, measured against the dense run.

    Parameters
    ----------
    name, technique
        Its short name, and what it adds to the row above.
    network_s, network_min_s, network_max_s
        Seconds in the networks: median, smallest and largest of the repeats.
    total_s
        Median of the seconds of the whole run but conforming, reading and writing.
    speedup
        The dense run's ``network_s`` divided by this one's.
    gflop
        Billions of floating point operations that the convolutions did: two a multiply-add.
    gflop_per_s
        ``gflop`` divided by ``network_s``.
    mac_skip_ratio
        Share of all slices' multiply-adds that was skipped, as in the skip report.
    peak_memory_mb
        Median of the largest resident sizes of the repeats' processes, in MB (10^6 bytes).
    dice_whole, dice_mean
        Dice overlap with the dense run: of the whole volume, where only voxels with the same label count as
        shared, and the unweighted mean of the structures'.
    """

    name: str
    technique: str
    network_s: float
    network_min_s: float
    network_max_s: float
    total_s: float
    speedup: float
    gflop: float
    gflop_per_s: float
    mac_skip_ratio: float
    peak_memory_mb: float
    dice_whole: float
    dice_mean: float
