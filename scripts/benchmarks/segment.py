"""Time whole runs of ``nansurfer segment`` and write one CSV row a run.

    python scripts/benchmarks/segment.py subj.mgz --repeats 5 --csv results.csv -- --weights compact --threads 2

Everything after ``--`` goes to ``nansurfer segment``. Quote medians and ratios: machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nansurfer.pipeline.provenance import commit, processor
from nansurfer.pipeline.segment import NETWORK_STAGE
from nansurfer.report.table import write_table

RECORD = "nansurfer.json"
SUMMARISED = ("wall_s", "cpu_s", "network_s", "peak_memory_mb")


def measured(command: Sequence[str], env: Mapping[str, str] | None = None) -> dict[str, object]:
    """Time and memory of a process, measured from outside; its failure ends the benchmark."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(command)} failed with exit code {os.waitstatus_to_exitcode(status)}")
    return {
        "wall_s": round(wall_s, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_memory_mb": round(usage.ru_maxrss * 1024 / 1e6),
    }


def run_once(image: Path, options: list[str]) -> dict[str, object]:
    """One run in a process of its own, measured from outside."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "nansurfer",
            "segment",
            str(image),
            "-o",
            folder,
            "--sid",
            "run",
            "-q",
            *options,
        ]
        figures = measured(command)
        record = json.loads((Path(folder) / "run" / RECORD).read_text(encoding="utf-8"))
    return figures | {
        "network_s": record["timings_s"][NETWORK_STAGE],
        "device": record["machine"]["device"],
        "threads": record["machine"]["threads"],
        **{f"{name}_version": version for name, version in record["versions"].items()},
    }


def main() -> None:
    """Measure, print a table of minimum, median and maximum, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, metavar="T1")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--csv", type=Path, default=Path("benchmark-segment.csv"))
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    args = parser.parse_args(own)

    rows = [
        {
            "commit": commit(),
            "processor": processor(),
            "image": image.name,
            "repeat": repeat,
            "options": " ".join(options),
        }
        | run_once(image, options)
        for image in args.images
        for repeat in range(args.repeats)
    ]
    write_table(args.csv, rows)
    Console().print(summary(rows))


def summary(rows: list[dict[str, object]]) -> Table:
    """Minimum, median and maximum of each figure for each image."""
    table = Table("image", "figure", "min", "median", "max")
    for image in dict.fromkeys(row["image"] for row in rows):
        for figure in SUMMARISED:
            values = [float(str(row[figure])) for row in rows if row["image"] == image]
            table.add_row(str(image), figure, *(f"{f(values):.1f}" for f in (min, statistics.median, max)))
    return table


if __name__ == "__main__":
    main()
