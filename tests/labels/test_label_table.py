"""The label table: 79 classes, and the right cortical labels that come with the split."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from nansurfer.errors import ConfigError
from nansurfer.labels import N_CLASSES, load_table


def test_classes_in_order() -> None:
    labels = load_table().class_labels
    assert labels.shape == (N_CLASSES,)
    assert labels.dtype == np.int16
    assert labels[:5].tolist() == [0, 2, 4, 5, 7]
    assert labels[33:36].tolist() == [77, 1002, 1003]
    assert labels[-3:].tolist() == [2024, 2025, 2028]
    assert (np.diff(labels) > 0).all()


def test_labels_without_class() -> None:
    assert load_table().labels_without_class == (
        2003, 2006, 2007, 2008, 2009, 2011, 2015, 2018, 2019, 2020, 2026, 2027, 2029, 2030, 2031, 2034, 2035,
    )  # fmt: skip


def test_all_labels_ascend_and_hold_no_double() -> None:
    labels = load_table().labels
    assert len(labels) == 96
    assert list(labels) == sorted(set(labels))


@pytest.mark.parametrize(
    ("label", "name", "color"),
    [
        (0, "Background", (0, 0, 0)),
        (12, "Left-Putamen", (236, 13, 176)),
        (1035, "ctx-lh-insula", (255, 192, 32)),
        (2035, "ctx-rh-insula", (255, 192, 32)),
    ],
)
def test_name_and_color(label: int, name: str, color: tuple[int, int, int]) -> None:
    assert load_table().name(label) == name
    assert load_table().color(label) == color


def test_unknown_label_is_named() -> None:
    with pytest.raises(ConfigError, match="Label 1004 is none of the 96"):
        load_table().name(1004)


def test_class_labels_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load_table().class_labels[0] = 1


def test_agrees_with_fastsurfers_table(data_dir: Path) -> None:
    with (data_dir / "labels" / "fastsurfer_lut.tsv").open() as file:
        theirs = list(csv.DictReader(file, delimiter="\t"))
    table = load_table()
    assert [int(row["ID"]) for row in theirs] == table.class_labels.tolist()
    for row in theirs:
        label = int(row["ID"])
        assert table.name(label) == row["LabelName"]
        assert table.color(label) == (int(row["R"]), int(row["G"]), int(row["B"]))
