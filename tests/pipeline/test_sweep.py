"""A sweep over thresholds: which runs it makes, what it measures, and how it goes on."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.errors import BusyError, ConfigError, InputNotFoundError, NoBrainError, OutputError
from nansurfer.pipeline import Progress, SegmentationResult, Segmenter, SegmentOptions, make_options
from nansurfer.pipeline.skipping import SkipOptions
from nansurfer.pipeline.sweep import sweep, sweep_points
from nansurfer.report import SkipReport, ViewSkips
from nansurfer.report.sweep import SweepRow

CUBE = (16, 16, 16)


class Machine:
    """What a segmentation finds at once in these tests, and how long it claims to take.

    The dense run labels a block of 12 slices of 16 voxels. Where something may be skipped, ``lost`` of these slices
    have no label.
    """

    def __init__(self) -> None:
        self.lost = 3
        self.skipped_windows = 60
        self.runs = 0
        self.engine = "fast"
        self.brain_is_found = True

    def segment(self, path: Path, options: SegmentOptions) -> SegmentationResult:
        self.runs += 1
        if not self.brain_is_found and not options.force:
            raise NoBrainError("No brain was found; keep the result with --force.")
        dense = options.skip.nan == "off"
        labels = np.zeros(CUBE, np.int16)
        labels[2:6, 2:6, 0 if dense else self.lost : 12] = 2
        return SegmentationResult(
            conformed=nib.MGHImage(np.zeros(CUBE, np.uint8), np.eye(4)),
            labels=labels,
            mask=np.zeros(CUBE, np.uint8),
            aseg=np.zeros(CUBE, np.uint8),
            stats=[],
            brain_volume_ml=0.0,
            folder=None,
            engine="fast" if dense else self.engine,
            timings_s={"Conforming": 2.0, "Running the network": 4.5 if dense else 1.5},
            skip_report=SkipReport(
                sid="",
                versions={},
                options={},
                views=(view_skips(20 if dense else self.skipped_windows),),
                bookkeeping={"counting_s": 0.5},
                left_dense=(),
                engine="fast",
            ),
        )


def view_skips(skipped_windows: int) -> ViewSkips:
    """Of two slices with 100 windows, so many of the first were skipped; of the second, none was computed."""
    return ViewSkips(
        view="axial",
        layers=("inp_block.conv0",),
        macs_per_window=np.array([10]),
        windows=np.array([100]),
        skipped=np.array([[skipped_windows, 0]]),
        mixed=np.array([[0, 0]]),
        computed=np.array([True, False]),
        tiles=np.zeros((2, 1, 1), np.float32),
    )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()

    def segment(self: Segmenter, path: Path, *, progress: Progress) -> SegmentationResult:
        return machine.segment(path, self.options)

    monkeypatch.setattr(Segmenter, "segment", segment)
    return machine


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "t1.mgz"
    nib.MGHImage(np.arange(16**3, dtype=np.float32).reshape(CUBE), np.eye(4)).to_filename(path)
    return path


@pytest.fixture
def run(machine: Machine, image: Path, tmp_path: Path, tiny_weights: Path) -> Callable[..., Iterator[SweepRow]]:
    """A sweep in mode background into ``tmp_path / "sweep"``."""

    def start(*thresholds: float, path: Path = image, skip=None, overwrite=False, progress=None, **choices):
        options = make_options(weights=str(tiny_weights), threads=1, device="cpu", **choices)
        points = sweep_points(["background"], thresholds, **skip or {})
        return sweep(path, tmp_path / "sweep", points, options, overwrite=overwrite, progress=progress)

    return start


class TestPoints:
    def test_every_mode_at_every_threshold(self) -> None:
        points = sweep_points(["aggressive", "background"], [0.5, 1], fill="mean")
        told = [(point.nan, point.threshold, point.fill, point.margin) for point in points]
        assert told == [
            ("aggressive", 0.5, "mean", None),
            ("aggressive", 1, "mean", None),
            ("background", 0.5, "mean", 3),
            ("background", 1, "mean", 2),
        ]

    def test_a_choice_goes_where_it_has_a_say(self) -> None:
        choices = {"margin": 3, "pool_margin": 4, "max_ties": 2, "tie_tolerance": 1e-3, "paper_compat": True}
        aggressive, background = sweep_points(["aggressive", "background"], [0.5], **choices)
        assert aggressive == SkipOptions(
            "aggressive", 0.5, max_ties=2, tie_tolerance=1e-3, paper_compat=True, find_brain=False
        )
        assert background == SkipOptions(
            "background", 0.5, margin=3, pool_margin=4, paper_compat=True, find_brain=False
        )

    def test_each_once(self) -> None:
        points = sweep_points(["auto", "background"], [0.5, 0.5])
        assert len(points) == 1

    @pytest.mark.parametrize(
        ("modes", "choices", "sentence"),
        [
            (["background", "off"], {}, "'off' is the dense run"),
            (["nonsense"], {}, "nan is 'nonsense'; choose one of auto"),
            (["aggressive"], {"margin": 3}, "margin has no say when nan is 'aggressive'"),
            (["background"], {"max_ties": 2}, "max_ties has no say when nan is 'background'"),
            (["aggressive", "background"], {"fill": "blank"}, '"blank" does not go with mode "aggressive"'),
            (["background"], {"fill": "nonsense"}, "nonsense"),
        ],
    )
    def test_what_cannot_be(self, modes, choices, sentence) -> None:
        with pytest.raises(ConfigError, match=sentence):
            sweep_points(modes, [0.5], **choices)

    @pytest.mark.parametrize("threshold", [0, 1.1])
    def test_thresholds_that_cannot_be(self, threshold) -> None:
        with pytest.raises(ConfigError, match="threshold"):
            sweep_points(["background"], [threshold])


class TestMeasures:
    def test_rows(self, run) -> None:
        dense, sparse = run(0.5)
        assert asdict(dense) == {
            "nan": "off",
            "threshold": None,
            "fill": None,
            "margin": None,
            "pool_margin": None,
            "max_ties": None,
            "tie_tolerance": None,
            "engine": "fast",
            "mean_skip_ratio": 0.6,
            "mac_skip_ratio": 0.6,
            "speedup_bound": 1.0,
            "network_s": 4.0,
            "total_s": 6.0,
            "time_ratio": 1.0,
            "dice_whole": 1.0,
            "dice_mean": 1.0,
            "voxels_changed": 0,
        }
        assert asdict(sparse) == {
            "nan": "background",
            "threshold": 0.5,
            "fill": "blank",
            "margin": 3,
            "pool_margin": 2,
            "max_ties": None,
            "tie_tolerance": None,
            "engine": "fast",
            "mean_skip_ratio": 0.8,
            "mac_skip_ratio": 0.8,
            "speedup_bound": 2.0,
            "network_s": 1.0,
            "total_s": 3.0,
            "time_ratio": 0.25,
            "dice_whole": pytest.approx(2 * 9 / (9 + 12)),
            "dice_mean": pytest.approx(2 * 9 / (9 + 12)),
            "voxels_changed": 3 * 16,
        }

    def test_times_of_another_engine_are_not_compared(self, run, machine: Machine) -> None:
        machine.engine = "reference"
        dense, sparse = run(0.5)
        assert (dense.engine, dense.time_ratio, dense.time_percent) == ("fast", 1.0, 100.0)
        assert (sparse.engine, sparse.time_ratio, sparse.time_percent) == ("reference", None, None)
        assert sparse.network_s == 1.0

    def test_a_run_without_any_brain_is_a_row_as_others(self, run, machine: Machine) -> None:
        rows = run(0.5)
        next(rows)
        machine.lost, machine.brain_is_found = 12, False
        sparse = next(rows)
        assert (sparse.dice_whole, sparse.dice_mean, sparse.voxels_changed) == (0, 0, 12 * 16)

    def test_but_not_the_dense_run(self, run, machine: Machine, tmp_path: Path) -> None:
        machine.brain_is_found = False
        with pytest.raises(NoBrainError, match=r"The dense run found no brain in .*t1.mgz"):
            next(run(0.5))
        assert not (tmp_path / "sweep").exists()

    def test_a_folder_that_cannot_be_written_is_told_before_the_work(self, run, machine: Machine, tmp_path) -> None:
        (tmp_path / "sweep").touch()
        with pytest.raises(OutputError, match="sweep could not be written"):
            next(run(0.5))
        assert machine.runs == 0

    def test_where_nothing_was_computed_nothing_bounds(self, run, machine: Machine, tmp_path: Path) -> None:
        machine.skipped_windows = 100
        _, sparse = run(0.5)
        assert (sparse.mac_skip_ratio, sparse.speedup_bound) == (1, None)
        assert list(run(0.5))[1] == sparse

    def test_progress(self, run) -> None:
        told: list[str] = []

        class Listening(Progress):
            def run(self, description: str) -> None:
                told.append(description)

        list(run(0.5, 1, progress=Listening()))
        assert told == [
            "Run 1 of 3: dense",
            "Run 2 of 3: background at threshold 0.5",
            "Run 3 of 3: background at threshold 1",
        ]


class TestFiles:
    def test_the_table_grows_by_a_row_a_run(self, run, tmp_path: Path) -> None:
        table = tmp_path / "sweep" / "sweep.csv"
        for number, row in enumerate(run(0.5, 1), start=1):
            lines = list(csv.DictReader(table.read_text().splitlines()))
            assert len(lines) == number
            assert lines[-1] == {name: "" if value is None else str(value) for name, value in asdict(row).items()}
        names = "nan,threshold,fill,margin,pool_margin,max_ties,tie_tolerance,engine,mean_skip_ratio,mac_skip_ratio,"
        assert table.read_text().startswith(names)

    def test_the_dense_labels_are_kept(self, run, tmp_path: Path) -> None:
        next(run(0.5))
        labels = nib.load(tmp_path / "sweep" / "dense.mgz")
        assert labels.get_data_dtype() == np.dtype(">i2")
        assert np.unique(labels.dataobj).tolist() == [0, 2]
        np.testing.assert_array_equal(labels.affine, np.eye(4))

    def test_the_record_tells_the_circumstances(self, run, tmp_path: Path) -> None:
        list(run(0.5))
        record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
        assert record["schema_version"] == 2
        assert (len(record["input"]), set(record["weights"])) == (64, {"axial", "coronal", "sagittal"})
        assert record["options"]["views"] == ["axial", "coronal", "sagittal"]
        assert record["machine"] == record["machine"] | {"device": "cpu", "threads": 1}
        assert "torch" in record["versions"]
        assert [row["threshold"] for row in record["rows"]] == [None, 0.5]


class TestGoingOn:
    def test_after_an_interruption(self, run, machine: Machine) -> None:
        before = list(itertools.islice(run(0.3, 0.5, 1), 2))
        assert machine.runs == 2
        rows = list(run(0.3, 0.5, 1))
        assert machine.runs == 4
        assert rows[:2] == before
        assert [row.threshold for row in rows] == [None, 0.3, 0.5, 1]

    def test_the_reference_is_still_the_dense_run(self, run, machine: Machine) -> None:
        next(run(0.5))
        machine.lost = 6
        *_, last = run(0.5)
        assert last.voxels_changed == 6 * 16

    def test_with_more_thresholds_and_margins(self, run, machine: Machine) -> None:
        list(run(0.5))
        list(run(1, skip={"margin": 2}))
        list(run(1, skip={"margin": 2, "pool_margin": 4}))
        rows = list(run(0.5))
        told = [(row.threshold, row.margin, row.pool_margin) for row in rows]
        assert told == [(None, None, None), (0.5, 3, 2), (1, 2, 2), (1, 2, 4)]
        assert machine.runs == 4

    def test_not_while_another_is_at_work(self, run, machine: Machine) -> None:
        first = run(0.5)
        next(first)
        with pytest.raises(BusyError, match="Another run is at work on"):
            next(run(0.5))
        list(first)
        assert len(list(run(0.5))) == machine.runs == 2

    def test_a_lost_table_comes_back(self, run, tmp_path: Path, machine: Machine) -> None:
        list(run(0.5))
        table = tmp_path / "sweep" / "sweep.csv"
        text = table.read_text()
        table.unlink()
        list(run(0.5))
        assert (table.read_text(), machine.runs) == (text, 2)

    def test_another_image_is_refused(self, run, image: Path, tmp_path: Path) -> None:
        list(run(0.5))
        other = tmp_path / "other.mgz"
        nib.load(image).slicer[::-1].to_filename(other)
        with pytest.raises(OutputError, match=r"holds a sweep made with other input; choose .* with --overwrite\."):
            next(run(0.5, path=other))

    def test_other_options_are_refused(self, run) -> None:
        list(run(0.5))
        with pytest.raises(OutputError, match="made with other weights, options;"):
            next(run(0.5, views=("axial",)))

    def test_times_of_another_engine_are_refused(self, run) -> None:
        list(run(0.5))
        with pytest.raises(OutputError, match="made with other options;"):
            next(run(0.5, engine="reference"))

    def test_a_table_of_unknown_origin_is_refused(self, run, tmp_path: Path) -> None:
        (tmp_path / "sweep").mkdir()
        (tmp_path / "sweep" / "sweep.csv").write_text("mine")
        with pytest.raises(OutputError, match=r"holds a sweep.csv of unknown origin"):
            next(run(0.5))

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": 1}'])
    def test_a_damaged_record_is_refused(self, run, tmp_path: Path, text) -> None:
        (tmp_path / "sweep").mkdir()
        (tmp_path / "sweep" / "sweep.json").write_text(text)
        with pytest.raises(OutputError, match=r"sweep.json cannot be read"):
            next(run(0.5))

    def test_overwriting(self, run, machine: Machine, tmp_path: Path) -> None:
        list(run(0.3, 0.5))
        rows = list(run(1, overwrite=True, views=("axial",)))
        assert [row.threshold for row in rows] == [None, 1]
        assert machine.runs == 5
        assert len((tmp_path / "sweep" / "sweep.csv").read_text().splitlines()) == 3

    def test_overwriting_that_fails_leaves_the_old_sweep(self, run, machine: Machine, tmp_path: Path) -> None:
        list(run(0.5))
        before = {path.name: path.read_bytes() for path in (tmp_path / "sweep").iterdir()}
        machine.brain_is_found = False
        with pytest.raises(NoBrainError):
            next(run(0.5, overwrite=True))
        assert before == {path.name: path.read_bytes() for path in (tmp_path / "sweep").iterdir()}


def test_what_is_wrong_with_the_input_is_told_first(run, machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        next(run(0.5, path=tmp_path / "nobody.mgz"))
    assert machine.runs == 0
    assert not (tmp_path / "sweep").exists()


def test_what_the_engine_cannot_do_is_told_first(run, machine: Machine, image: Path, tmp_path: Path) -> None:
    points = sweep_points(["background", "aggressive"], [0.5])
    with pytest.raises(ConfigError, match="The fast engine serves"):
        next(sweep(image, tmp_path / "sweep", points, make_options(engine="fast")))
    assert machine.runs == 0


@pytest.mark.slow
def test_with_a_real_network(tiny_weights: Path, blob_path: Path, tmp_path: Path) -> None:
    options = make_options(weights=str(tiny_weights), views=("axial",), threads=1, device="cpu")
    dense, sparse = sweep(blob_path, tmp_path, sweep_points(["background"], [1]), options)
    assert 0.5 < dense.mac_skip_ratio < sparse.mac_skip_ratio < 1
    assert sparse.speedup_bound == pytest.approx((1 - dense.mac_skip_ratio) / (1 - sparse.mac_skip_ratio), rel=1e-4)
    assert sparse.voxels_changed > 0  # a random network labels what is around the head, too
