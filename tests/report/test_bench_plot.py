"""The picture of a benchmark: its bars, figures and files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from PIL import Image

from nansurfer.report.bench import BenchRow
from nansurfer.report.bench_plot import save_bench_plot

DENSE = BenchRow(
    name="dense",
    technique="every slice",
    network_s=80.0,
    network_min_s=79.0,
    network_max_s=82.0,
    total_s=85.0,
    speedup=1.0,
    gflop=9000.0,
    gflop_per_s=112.5,
    mac_skip_ratio=0.0,
    peak_memory_mb=3000,
    dice_whole=1.0,
    dice_mean=1.0,
)
FASTER = replace(DENSE, technique="skipping $x$", network_s=10.0, speedup=8.0, gflop=1500.0, dice_whole=0.99987)
SLOWER = replace(DENSE, technique="slower", network_s=12.5, speedup=6.4)


def texts(path: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


def test_every_figure_is_written(tmp_path: Path) -> None:
    _, svg = save_bench_plot(tmp_path / "bench", [DENSE, FASTER, SLOWER], title="sub-01.mgz, weights $a$_b")
    written = texts(svg)
    for text in ("80.0 s  (1.0x)", "10.0 s  (8.0x)", "12.5 s  (6.4x)", "9.00", "1.50", "3.00"):
        assert text in written
    for text in ("every slice", "Dice 0.99987", "Network time, s", "sub-01.mgz, weights $a$_b"):
        assert text in written


def test_files_grow_with_the_rows(tmp_path: Path) -> None:
    heights = []
    for rows in ([DENSE], [DENSE, FASTER, SLOWER]):
        png, svg = save_bench_plot(tmp_path / "bench", rows)
        assert {path.name for path in tmp_path.iterdir()} == {png.name, svg.name} == {"bench.png", "bench.svg"}
        with Image.open(png) as image:
            heights.append(image.height)
            colors = {color for _, color in image.convert("RGB").getcolors(1 << 20)}
        assert {(0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73), (0xE6, 0x9F, 0x00)} <= colors
    assert heights[0] < heights[1]


def test_what_is_saved_is_pale(tmp_path: Path) -> None:
    shades = []
    for row in (FASTER, SLOWER):
        _, svg = save_bench_plot(tmp_path / "bench", [replace(DENSE, network_s=12.0), row])
        shades.append(re.findall(r"M ([\d.]+) [\d.]+ *\nL ([\d.]+) [^\"]*\"[^>]*fill: #dce9f2", svg.read_text()))
    widths = [{float(right) - float(left) for left, right in shade} for shade in shades]
    assert max(widths[0]) > 0
    assert widths[1] == {0.0}
