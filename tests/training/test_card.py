"""Tables of two subjects' scores, one with parcels and one without."""

from __future__ import annotations

from pathlib import Path

import pytest

from nansurfer.files import write_csv

FIRST = {
    "Left-Thalamus": (0.861, 0.85),
    "ctx-lh-cuneus": (0.48, 0.44),
    "ctx-rh-cuneus": (0.55, 0.55),
    "subcortical and cerebellar": (0.861, 0.85),
    "cortex": (0.515, 0.4841),
    "whole brain": (0.94, 0.94),
}
SECOND = {
    "Left-Thalamus": (0.70, 0.70),
    "Left-Cerebral-Cortex": (0.68, 0.68),
    "subcortical and cerebellar": (0.70, 0.70),
    "cortex": (0.68, 0.68),
    "whole brain": (0.91, 0.91),
}


@pytest.fixture
def subjects(card, tmp_path: Path):
    """Scores of both, read from files."""
    found = []
    for number, scores in enumerate((FIRST, SECOND)):
        path = tmp_path / f"{number}.csv"
        rows = ([name, dice, copy, f"{copy - dice:.4f}", 1.0] for name, (dice, copy) in scores.items())
        write_csv(path, ["structure", "dice", "rotated", "rotated difference", "rotated ceiling"], rows)
        found.append(card.read_scores(path))
    return tuple(found)


def test_groups_come_first_and_the_cortex_is_not_among_the_structures(card, subjects) -> None:
    assert list(card.structures_table(*(scores["dice"] for scores in subjects))) == [
        "| whole brain | 0.94 | 0.91 |",
        "| cortex | 0.52 | 0.68 |",
        "| subcortical and cerebellar | 0.86 | 0.70 |",
        "| Left-Thalamus | 0.86 | 0.70 |",
    ]


def test_parcels_stand_side_by_side(card, subjects) -> None:
    assert card.parcels(subjects[0]["dice"]) == "cuneus 0.48/0.55"


def test_differences_beyond_the_tolerated_are_bold(card, subjects) -> None:
    assert list(card.copies_table(subjects)) == [
        "| dice | 0.861 / 0.515 / 0.940 |  | 0.700 / 0.680 / 0.910 |  |",
        "| rotated | 0.850 / 0.484 / 0.940 | -0.011 / **-0.031** / +0.000 "
        "| 0.700 / 0.680 / 0.910 | +0.000 / +0.000 / +0.000 |",
    ]
