"""Time of a slice against the share of it that is active: does it cost what is computed, and from where on does it pay?

    python scripts/benchmarks/scaling.py --threads 1,2 --repeats 5 -o scaling

Synthetic heads, a growing disc and scattered blobs, cover 0 to 100 % of a slice of noise. The fast engine computes them
with the default policy, the dense engine (PyTorch, batch norms folded) all of the slice. Quote ratios of medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from nansurfer.engine import ComputeOptions, DenseEngine, Engine, FastEngine, LogitSum, keep_freed_memory
from nansurfer.engine.pytorch import set_up
from nansurfer.models import Network
from nansurfer.pipeline.provenance import provenance
from nansurfer.pipeline.record import peak_memory_mb
from nansurfer.pipeline.skipping import SkipOptions
from nansurfer.report.plot import GREY, check_plotting, save_figure
from nansurfer.report.table import write_table
from nansurfer.volume import VIEWS
from nansurfer.weights import load_network, resolve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 256  # pixels of a slice, as the networks' base size
BLOB_SIGMA = 8.0  # pixels: blobs about as wide as a gyrus with its neighbours
LEAST_SHARE = 0.1  # below, what every slice costs outweighs what its pixels cost
SLICES_PER_THREAD = 4  # timed together, as a run takes many at a time
LOOKS = {"disc": ("#0072B2", "o"), "blobs": ("#D55E00", "s")}

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Point:
    """Medians at one mask; ``active_share`` is the share of the slice's multiply-adds that is computed."""

    mask: str
    threads: int
    head_share: float
    active_share: float
    fast_ms: float
    dense_ms: float


def main() -> None:
    """Measure, print the table and two figures a curve, write CSV and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output-dir", type=Path, default=Path("scaling"))
    parser.add_argument("--weights", default="compact", help="name of a set of weights, or a folder of them")
    parser.add_argument("--view", choices=VIEWS, default="coronal")
    parser.add_argument("--threads", type=_numbers, default=(1,), help="numbers with commas")
    parser.add_argument("--step", type=int, default=5, help="percent of the slice between masks")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    check_plotting()

    circumstances: dict[str, object] = {
        "weights": args.weights,
        "view": args.view,
        "repeats": args.repeats,
        "device": "cpu",
        **provenance(),
    }
    config, network = load_network(resolve(args.weights, views=(args.view,)), args.view)
    slices = np.random.default_rng(1).integers(0, 256, (1, config.slices, SIDE, SIDE), np.uint8)
    shares = [percent / 100 for percent in range(0, 101, args.step)]
    points = [point for threads in args.threads for point in measured(network, slices, shares, threads, args.repeats)]
    circumstances["peak_memory_mb"] = peak_memory_mb()
    write_table(args.output_dir / "scaling.csv", [asdict(point) | circumstances for point in points])
    title = f"{args.view} view, weights {Path(args.weights).name}"
    save_figure(args.output_dir / "scaling", lambda: figure(points, title))
    report(Console(), points)


def masks(shares: Sequence[float]) -> Iterator[tuple[str, float, BoolArray]]:
    """Name, share and mask (SIDE, SIDE) of a disc around the middle and of scattered blobs, at every share."""
    offset = np.arange(SIDE) - (SIDE - 1) / 2
    noise = np.random.default_rng(0).standard_normal((SIDE, SIDE))
    heights = {
        "disc": -np.hypot(offset[:, None], offset),
        "blobs": ndimage.gaussian_filter(noise, BLOB_SIGMA, mode="wrap"),
    }
    for name, height in heights.items():
        rank = height.ravel().argsort(kind="stable")[::-1].argsort().reshape(height.shape)
        for share in shares:
            yield name, share, rank < round(share * rank.size)


def measured(
    network: Network, slices: npt.NDArray[np.uint8], shares: Sequence[float], threads: int, repeats: int
) -> Iterator[Point]:
    """The points of both curves, with copies of a thick slice (1, C, SIDE, SIDE) for so many threads.

    Masks take turns, so that whatever else the machine does meets all alike.
    """
    set_up(threads)
    keep_freed_memory()
    compute, policy = ComputeOptions(device="cpu", threads=threads), SkipOptions(nan="background").policy()
    fast, dense = FastEngine(network, compute, policy, counting=False), DenseEngine(network, compute)
    counter = FastEngine(network, compute, policy)
    n_slices = SLICES_PER_THREAD * threads
    slices = slices.repeat(n_slices, axis=0)
    zeros = np.zeros((n_slices, SIDE, SIDE, network.classifier.conv.out_channels), np.float16)
    sums = LogitSum(zeros, 1.0, (slice(0, SIDE), slice(0, SIDE)))

    def run_ms(engine: Engine, head: BoolArray | None) -> float:
        started = perf_counter()
        heads = None if head is None else np.broadcast_to(head, (n_slices, SIDE, SIDE)).copy()
        engine.accumulate(slices, 1.0, heads, sums)
        return 1e3 * (perf_counter() - started) / n_slices

    chosen = list(masks(shares))
    active = [active_share(counter, slices, sums, head) for *_, head in chosen]
    run_ms(fast, chosen[-1][2]), run_ms(dense, None)  # the first time, memory is taken
    turns = [([run_ms(fast, head) for *_, head in chosen], run_ms(dense, None)) for _ in range(repeats)]
    dense_ms = median(dense for _, dense in turns)
    for (name, share, _), computed, *fast_ms in zip(chosen, active, *(times for times, _ in turns), strict=True):
        yield Point(name, threads, share, round(computed, 6), round(median(fast_ms), 3), round(dense_ms, 3))


def active_share(engine: FastEngine, slices: npt.NDArray[np.uint8], sums: LogitSum, head: BoolArray) -> float:
    """Share of a slice's multiply-adds that the engine computes."""
    if not head.any():
        return 0.0  # not computed at all
    engine.accumulate(slices[:1], 1.0, head[None], LogitSum(sums.total[:1], sums.weight, sums.part))
    counts = engine.take_counts()
    return float(1 - counts.macs_per_window @ counts.skipped[:, 0] / (counts.macs_per_window @ counts.windows))


def deviation(curve: Sequence[Point]) -> float:
    """The time's largest relative deviation from a share of that of the whole slice, where at least 10 % is active."""
    whole = max(curve, key=lambda point: point.active_share)
    per_share = whole.fast_ms / whole.active_share
    deviations = [p.fast_ms / (per_share * p.active_share) - 1 for p in curve if p.active_share >= LEAST_SHARE]
    return max(deviations, key=abs)


def break_even(curve: Sequence[Point]) -> float | None:
    """Active share from which on the dense engine is as fast; None where it is slower throughout."""
    ordered = sorted(curve, key=lambda point: point.active_share)
    over = [point.fast_ms >= point.dense_ms for point in ordered]
    if not any(over):
        return None
    after = over.index(True)
    if after == 0:
        return 0.0
    low, high = ordered[after - 1], ordered[after]
    rise = (low.dense_ms - low.fast_ms) / (high.fast_ms - low.fast_ms)
    return low.active_share + rise * (high.active_share - low.active_share)


def curves(points: Sequence[Point]) -> dict[tuple[int, str], list[Point]]:
    """The points by threads and mask."""
    found: dict[tuple[int, str], list[Point]] = {}
    for point in points:
        found.setdefault((point.threads, point.mask), []).append(point)
    return found


def report(console: Console, points: Sequence[Point]) -> None:
    """Print every point, then of each curve how far from proportional it is and where it breaks even."""
    table = Table("threads", "mask", "head %", "active %", "fast ms", "dense ms")
    for p in points:
        shares = f"{100 * p.head_share:.0f}", f"{100 * p.active_share:.1f}"
        table.add_row(str(p.threads), p.mask, *shares, f"{p.fast_ms:.2f}", f"{p.dense_ms:.2f}")
    console.print(table)
    for (threads, mask), curve in curves(points).items():
        even, whole = break_even(curve), max(curve, key=lambda point: point.active_share)
        pays = (
            f"at every share, {whole.dense_ms / whole.fast_ms:.2f} times faster with all of it"
            if even is None
            else f"below {100 * even:.1f} % active"
        )
        console.print(
            f"threads {threads}, {mask}: at most {100 * deviation(curve):+.1f} % from proportional between "
            f"{100 * LEAST_SHARE:.0f} and 100 % active; faster than dense {pays}"
        )


def figure(points: Sequence[Point], title: str) -> Figure:
    """Time against active share, a panel a number of threads."""
    from matplotlib.figure import Figure

    threads = sorted({point.threads for point in points})
    drawn = Figure(figsize=(1.2 + 4.6 * len(threads), 4.8), layout="constrained")
    panels: Any = drawn.subplots(1, len(threads), squeeze=False)[0]
    for axes, number in zip(panels, threads, strict=True):
        draw(axes, [point for point in points if point.threads == number])
        axes.set_title(f"{number} thread" + "s" * (number > 1), fontsize="medium")
    panels[0].set_ylabel("Time, ms a slice")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    drawn.suptitle(title, fontsize="medium", color=GREY, parse_math=False)
    return drawn


def draw(axes: Axes, points: Sequence[Point]) -> None:
    """Both curves, the line that they would follow if time were proportional, and the dense engine's."""
    whole = max(points, key=lambda point: point.active_share)
    dashed: dict[str, Any] = {"color": GREY, "linewidth": 1, "linestyle": (0, (6, 3))}
    axes.plot((0, 100), (0, whole.fast_ms / whole.active_share), label="proportional to what is computed", **dashed)
    axes.axhline(whole.dense_ms, color="black", linewidth=1, label="dense engine (PyTorch)")
    for (_, mask), curve in curves(points).items():
        color, marker = LOOKS[mask]
        ordered = sorted(curve, key=lambda point: point.active_share)
        shares, times = [100 * p.active_share for p in ordered], [p.fast_ms for p in ordered]
        axes.plot(shares, times, color=color, marker=marker, markersize=4, label=f"fast engine, {mask}")
    axes.set_xlabel("Multiply-adds computed, %")
    axes.set_ylim(bottom=0)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
