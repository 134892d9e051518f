"""The evaluator's figures on literal volumes, and one run of it without a network."""

from __future__ import annotations

import argparse
import csv
import math
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from nansurfer.labels import classes_to_labels, split_cortex


def volume(*labels: int) -> np.ndarray:
    """A row of voxels."""
    return np.array(labels, np.int16).reshape(-1, 1, 1)


def test_scores_of_structures_and_groups(evaluate) -> None:
    truth = volume(17, 17, 53, 53, 1035, 1035, 2035, 0, 85)
    found = volume(17, 0, 53, 53, 1035, 2035, 2035, 4, 0)
    assert evaluate.scores(found, truth) == pytest.approx(
        {
            "Left-Hippocampus": 2 / 3,
            "Right-Hippocampus": 1.0,
            "ctx-lh-insula": 2 / 3,
            "ctx-rh-insula": 2 / 3,
            "subcortical and cerebellar": 5 / 6,
            "cortex": 2 / 3,
            "whole brain": 2 * 6 / (7 + 8),  # the optic chiasm (85) has no class but is labelled
        }
    )


def test_an_aseg_is_scored_with_one_cortex_a_side(evaluate) -> None:
    found = evaluate.scores(volume(1035, 1002, 2002, 16), volume(3, 3, 42, 16))
    assert found["Left-Cerebral-Cortex"] == found["Right-Cerebral-Cortex"] == found["cortex"] == 1.0


def test_a_mirrored_head_is_scored_by_what_its_structures_were(evaluate) -> None:
    """What was left lies right, where a network that sees the mirror image only calls it right."""
    affine = np.array([[-1.0, 0, 0, 4], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    image = nib.MGHImage(volume(17, 17, 0, 53).astype(np.int32), affine)
    copy = evaluate.COPIES["flipped"](evaluate.LabelledT1(image, image))
    result = SimpleNamespace(labels=volume(17, 0, 53, 0), conformed=copy.t1)
    found, ceiling = evaluate.score_run(result, copy)
    assert (found["Left-Hippocampus"], found["Right-Hippocampus"]) == (pytest.approx(2 / 3), 1.0)
    assert set(ceiling.values()) == {1.0}


def test_columns_of_a_copy(evaluate) -> None:
    original = {"Left-Putamen": 0.8, "Left-Pallidum": 0.5}
    columns = evaluate.columns_of({"1.2mm": ({"Left-Putamen": 0.75}, {"Left-Putamen": 1.0})}, original)
    assert list(columns) == ["dice", "1.2mm", "1.2mm difference", "1.2mm ceiling"]
    assert columns["1.2mm difference"]["Left-Putamen"] == pytest.approx(-0.05)
    assert math.isnan(columns["1.2mm"]["Left-Pallidum"])  # the copy's truth has lost it


def test_copies_are_named_with_commas(evaluate) -> None:
    assert evaluate.copy_names("rotated,1.2mm") == ["rotated", "1.2mm"]
    with pytest.raises(argparse.ArgumentTypeError, match=r"turned; choose from rotated, flipped"):
        evaluate.copy_names("rotated,turned")


def test_a_run_whose_network_does_not_see_the_head_move(evaluate, instant_network, blob_path, tmp_path, monkeypatch):
    """The network finds the same voxels in every image; stored otherwise, the head lies a voxel farther."""
    labels = split_cortex(classes_to_labels(instant_network)).astype(np.int32)
    nib.MGHImage(labels, nib.load(blob_path).affine).to_filename(tmp_path / "labels.mgz")
    arguments = ["--t1", blob_path, "--labels", tmp_path / "labels.mgz", "--csv", tmp_path / "dice.csv"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments), "--copies", "stored"])
    evaluate.main()
    with (tmp_path / "dice.csv").open(encoding="utf-8") as file:
        rows = {row.pop("structure"): {name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)}
    assert all(row["dice"] == row["stored ceiling"] == 1 for row in rows.values())
    left = rows["Left-Cerebral-White-Matter"]  # 48 x 96 x 96 voxels, one farther along each axis
    assert left["stored"] == pytest.approx(47 / 48 * (95 / 96) ** 2, abs=1e-4)
    assert left["stored difference"] == pytest.approx(left["stored"] - 1, abs=2e-4)
