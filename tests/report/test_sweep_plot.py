"""The picture of a sweep: two files, with every threshold and setting in them."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from nansurfer.errors import ConfigError, OutputError
from nansurfer.report import plot
from nansurfer.report.plot import check_plotting
from nansurfer.report.sweep import SweepRow
from nansurfer.report.sweep_plot import _figure, save_sweep_plot

DENSE = SweepRow(
    nan="off",
    threshold=None,
    fill=None,
    margin=None,
    pool_margin=None,
    max_ties=None,
    tie_tolerance=None,
    engine="fast",
    mean_skip_ratio=0.3,
    mac_skip_ratio=0.35,
    speedup_bound=1.0,
    network_s=50.0,
    total_s=60.0,
    time_ratio=1.0,
    dice_whole=1.0,
    dice_mean=1.0,
    voxels_changed=0,
)


def run(nan: str, threshold: float, skipped: float, dice: float, **others: object) -> SweepRow:
    return replace(
        DENSE,
        nan=nan,
        threshold=threshold,
        fill="mean",
        mac_skip_ratio=skipped,
        time_ratio=1.2 - skipped,
        dice_whole=dice,
        **others,
    )


APART = [run("aggressive", 0.5, 0.7, 0.9), run("aggressive", 0.75, 0.6, 0.99), run("aggressive", 1.0, 0.5, 0.999)]


def texts(tmp_path: Path, *rows: SweepRow, title: str = "") -> list[str]:
    """What is written in the plot of a dense run and these."""
    _, svg = save_sweep_plot(tmp_path / "sweep", [DENSE, *rows], title=title)
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text(encoding="utf-8"))


def test_files(tmp_path: Path) -> None:
    png, svg = save_sweep_plot(tmp_path / "sweep", [DENSE, *APART])
    assert {path.name for path in tmp_path.iterdir()} == {"sweep.png", "sweep.svg"} == {png.name, svg.name}
    with Image.open(png) as image:
        assert image.size == (1280, 1400)
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 20)}
    assert (0xD5, 0x5E, 0x00) in colors


def test_thresholds_labels_and_axes_are_named(tmp_path: Path) -> None:
    written = texts(tmp_path, *APART, title="sub-01.mgz, weights $a$_b")
    for text in ("0.5", "0.75", "aggressive", "dense run", "Dice against dense run", "sub-01.mgz, weights $a$_b"):
        assert text in written
    assert written.count("1") == 2  # the tick, and the threshold


def test_near_thresholds_share_a_label(tmp_path: Path) -> None:
    near = [run("background", threshold, 0.6, 0.9999) for threshold in (0.25, 0.35, 0.45)]
    written = texts(tmp_path, *near, run("background", 0.55, 0.5, 0.9999))
    assert {"0.25–0.45", "0.55"} < set(written)
    assert "0.35" not in written


def test_labels_of_runs_that_nearly_coincide_stand_apart() -> None:
    at = {"skipped": 0.6, "dice": 0.9999}
    rows = [run("background", threshold, margin=margin, **at) for threshold, margin in ((0.5, 3), (0.75, 2), (1, 2))]
    figure = _figure([DENSE, *rows, run("aggressive", 0.4, 0.602, 0.9999)], "")
    labels = [text for text in figure.axes[0].texts if text.get_text() in {"0.5", "0.75–1", "0.4"}]
    assert len(labels) == 3
    for one, other in itertools.combinations(labels, 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent())


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ([{"margin": 0}, {"margin": 0}], {"background"}),
        ([{"margin": 0}, {"margin": 12}], {"background, margin 0", "background, margin 12"}),
        ([{"pool_margin": 0}, {"pool_margin": 2}], {"background, pool margin 0", "background, pool margin 2"}),
        ([{"margin": 0}, {"margin": 0, "fill": "blank"}], {"background, fill mean", "background, fill blank"}),
    ],
)
def test_a_line_a_setting(tmp_path: Path, settings, labels) -> None:
    first = replace(run("background", 0.5, 0.6, 0.99), **settings[0])
    second = replace(run("background", 0.75, 0.55, 0.999), **settings[1])
    written = texts(tmp_path, first, second)
    assert {text for text in written if text.startswith("background")} == labels


def test_times_of_another_engine_are_left_out() -> None:
    rows = [replace(run("aggressive", 0.5, 0.5, 0.99), time_ratio=None), run("aggressive", 1.0, 0.4, 0.99)]
    line = next(line for line in _figure([DENSE, *rows], "").axes[1].lines if line.get_color() == "#D55E00")
    assert line.get_ydata().tolist() == pytest.approx([math.nan, 80.0], nan_ok=True)


@pytest.mark.parametrize("dice", [0.0, 0.4, 0.97, 0.9999999, 1.0])
def test_the_dice_axis_reaches_the_worst(tmp_path: Path, dice) -> None:
    written = texts(tmp_path, run("aggressive", 0.3, 0.6, dice))
    ticks = [float(text) for text in written if text in {"0", "0.5", "0.9", "0.99", "0.999", "0.9999", "0.99999"}]
    assert min(ticks) <= min(dice, 0.99)


def test_the_same_figures_give_the_same_file(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        _, svg = save_sweep_plot(tmp_path / name, [DENSE, *APART])
        contents.append(svg.read_bytes())
    assert contents[0] == contents[1]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not be written"):
        save_sweep_plot(tmp_path / "file" / "sweep", [DENSE, *APART])


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    check_plotting()
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'nansurfer\[plot\]', or do without by --no-plot"):
        check_plotting()
