"""Two label volumes compared: numbers, grids, folders, cortex."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.errors import InputGeometryError, InputNotFoundError
from nansurfer.pipeline.outputs import LABELS
from nansurfer.report.comparison import SUBJECT_LABELS, Comparison, compare, compare_labels, find_labels
from nansurfer.report.comparison_files import write_comparison_csv, write_comparison_json

AFFINE = np.diag([1.0, 1, 2, 1])  # voxels of 2 mm³


def save(path: Path, labels: dict[int, int], affine: np.ndarray = AFFINE) -> Path:
    """A file of 16³ voxels whose first row holds, for each label, so many voxels."""
    data = np.zeros((16, 16, 16), np.int32)
    row = [label for label, n in labels.items() for _ in range(n)]
    data[: len(row), 0, 0] = row
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.MGHImage(data, affine).to_filename(path)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Rows 2 2 17 17 17 and 2 17 17 17 53."""
    return save(tmp_path / "a.mgz", {2: 2, 17: 3}), save(tmp_path / "b.mgz", {2: 1, 17: 3, 53: 1})


def test_literal_numbers(pair) -> None:
    result = compare(*pair, surfaces=[17])
    white, left, right = result.structures
    assert (white.label, white.name) == (2, "Left-Cerebral-White-Matter")
    assert (white.dice, white.volume_a_mm3, white.volume_b_mm3) == (pytest.approx(2 / 3), 4, 2)
    assert white.voxels_changed == 1
    assert math.isnan(white.hd95_mm)  # not asked for
    assert (left.dice, left.volume_a_mm3, left.volume_b_mm3) == (pytest.approx(2 / 3), 6, 6)
    assert (left.voxels_changed, left.hd95_mm) == (2, pytest.approx(0.9))
    assert (right.name, right.dice, right.volume_a_mm3, right.volume_b_mm3) == ("Right-Hippocampus", 0, 0, 2)
    assert [s.volume_difference for s in result.structures] == [-0.5, 0, math.inf]
    assert (result.whole.dice, result.whole.voxels_changed) == (pytest.approx(6 / 10), 2)
    assert (result.foreground.dice, result.foreground.voxels_changed) == (1, 0)
    assert result.voxels_labelled == 5
    assert result.mean_dice == pytest.approx(4 / 9)
    assert (result.a, result.b, result.notes) == (*pair, ())


def test_a_file_with_itself(pair) -> None:
    result = compare(pair[0], pair[0], surfaces=None)
    assert [(s.dice, s.volume_difference, s.voxels_changed, s.hd95_mm) for s in result.structures] == [(1, 0, 0, 0)] * 2
    assert (result.whole.dice, result.foreground.dice, result.mean_dice, result.whole.voxels_changed) == (1, 1, 1, 0)


def test_only_the_structures_asked_for(pair) -> None:
    result = compare(*pair, structures=[53, 4], surfaces=[17])
    assert [s.label for s in result.structures] == [4, 17, 53]
    absent = result.structures[0]
    assert math.isnan(absent.dice)
    assert math.isnan(absent.volume_difference)
    assert result.mean_dice == pytest.approx(1 / 3)
    assert result.whole == compare(*pair).whole


def test_nothing_labelled(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mgz", {})
    result = compare(path, path)
    assert result.structures == ()
    assert math.isnan(result.mean_dice)


def test_another_shape_is_no_pair(pair, tmp_path: Path) -> None:
    nib.MGHImage(np.zeros((16, 16, 17), np.uint8), AFFINE).to_filename(tmp_path / "c.mgz")
    with pytest.raises(InputGeometryError, match=r"16x16x16 voxels but .*c\.mgz has 16x16x17; resample one"):
        compare(pair[0], tmp_path / "c.mgz")


@pytest.mark.parametrize(("shift_mm", "same"), [(0.0009, True), (0.0011, False)])
def test_another_place_is_no_pair(pair, tmp_path: Path, shift_mm, same) -> None:
    affine = AFFINE.copy()
    affine[1, 3] = shift_mm
    other = save(tmp_path / "c.mgz", {2: 2}, affine)
    if same:
        compare(pair[0], other)
    else:
        with pytest.raises(InputGeometryError, match=r"different grids \(their affines differ by up to 0\.0011\)"):
            compare(pair[0], other)


def test_parcels_against_whole_cortex(tmp_path: Path) -> None:
    parcels = save(tmp_path / "a.mgz", {1035: 2, 2035: 2, 17: 1})
    cortex = save(tmp_path / "b.mgz", {3: 2, 42: 2, 17: 1})
    for a, b, merged, whole in ((parcels, cortex, "A", "B"), (cortex, parcels, "B", "A")):
        result = compare(a, b)
        assert [(s.label, s.dice) for s in result.structures] == [(3, 1), (17, 1), (42, 1)]
        assert result.notes == (f"The cortical parcels of {merged} were merged into 3 and 42, for {whole} has none.",)
    assert compare(parcels, parcels).notes == ()


def test_parcels_against_no_cortex_at_all_stay(tmp_path: Path) -> None:
    result = compare(save(tmp_path / "a.mgz", {1035: 2}), save(tmp_path / "b.mgz", {17: 2}))
    assert [s.label for s in result.structures] == [17, 1035]


def test_mapping_dk(tmp_path: Path) -> None:
    result = compare(save(tmp_path / "a.mgz", {1001: 2}), save(tmp_path / "b.mgz", {1015: 2}), map_dk=True)
    assert [(s.label, s.dice) for s in result.structures] == [(1015, 1)]
    assert len(result.notes) == 1


class TestFindLabels:
    def test_the_most_alike_file_of_a_folder(self, tmp_path: Path) -> None:
        for name in reversed(SUBJECT_LABELS):
            path = save(tmp_path / name, {2: 1})
            assert find_labels(tmp_path) == path
            assert find_labels(path) == path

    def test_ours_comes_first(self) -> None:
        assert SUBJECT_LABELS[0] == str(LABELS)

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputNotFoundError, match=r"no subject folder: it holds none of mri/aparc\.DKTatlas"):
            find_labels(tmp_path)
        with pytest.raises(InputNotFoundError, match="does not exist"):
            find_labels(tmp_path / "nobody")


def test_arrays_at_an_oblique_affine() -> None:
    a = np.zeros((4, 4, 4), np.int16)
    a[1, 1, 1] = 17
    turned = np.array([[0.6, -0.8, 0, 3], [0.8, 0.6, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1]])
    (left,) = compare_labels(a, np.roll(a, 1, axis=2), turned, surfaces=None).structures
    assert (left.volume_a_mm3, left.hd95_mm) == (pytest.approx(2), pytest.approx(2))


class TestFiles:
    @pytest.fixture
    def result(self, pair) -> Comparison:
        return compare(*pair, pair="sub-1", surfaces=[17])

    def test_csv(self, result: Comparison, tmp_path: Path) -> None:
        write_comparison_csv(tmp_path / "out" / "c.csv", [result, result])
        with (tmp_path / "out" / "c.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["name"] for row in rows[:5]] == [
            "Left-Cerebral-White-Matter",
            "Left-Hippocampus",
            "Right-Hippocampus",
            "whole volume",
            "foreground",
        ]
        assert len(rows) == 10
        white, left, right, whole, _ = rows[:5]
        assert (white["pair"], white["a"], white["b"]) == ("sub-1", str(result.a), str(result.b))
        assert (white["label"], white["volume_a_mm3"], white["volume_difference_percent"]) == ("2", "4.0", "-50.0")
        assert (white["hd95_mm"], float(left["hd95_mm"])) == ("", pytest.approx(0.9))
        assert (right["volume_difference_percent"], whole["label"], whole["voxels_changed"]) == ("", "", "2")

    def test_json(self, result: Comparison, tmp_path: Path) -> None:
        write_comparison_json(tmp_path / "c.json", [result])
        content = json.loads((tmp_path / "c.json").read_text())
        assert (content["schema_version"], content["equivalence"]) == (1, None)
        (pair,) = content["pairs"]
        assert (pair["pair"], pair["voxels_labelled"], pair["whole_volume"]["dice"]) == ("sub-1", 5, 0.6)
        assert pair["mean_dice"] == pytest.approx(4 / 9)
        white = pair["structures"][0]
        assert white == {
            "label": 2,
            "name": "Left-Cerebral-White-Matter",
            "dice": pytest.approx(2 / 3),
            "volume_a_mm3": 4,
            "volume_b_mm3": 2,
            "volume_difference_percent": -50,
            "voxels_changed": 1,
            "hd95_mm": None,
        }


def test_a_real_segmentation_moved_by_a_voxel(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "labels" / "subject-140_aparc.DKTatlas+aseg.deep.mgz"
    image = nib.load(path)
    moved = nib.MGHImage(np.roll(np.asarray(image.dataobj), 1, axis=0), image.affine, image.header)
    moved.to_filename(tmp_path / "b.mgz")
    result = compare(path, tmp_path / "b.mgz", surfaces=[17, 2])
    assert len(result.structures) == 95
    assert all(s.volume_difference == 0 and 0 < s.dice < 1 for s in result.structures)
    assert 0.8 < result.mean_dice < result.whole.dice < result.foreground.dice < 1
    assert {s.label: s.hd95_mm for s in result.structures if not math.isnan(s.hd95_mm)} == {2: 1, 17: 1}
