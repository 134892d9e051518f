"""The tables of a model card, in Markdown, from what evaluate.py wrote of two subjects.

    python scripts/training/card.py subject-01.csv fsaverage.csv

The first subject has cortical parcels, the second may have one label a side. Prints the Dice of each structure, the
parcels in a paragraph, and the means of the copies with their differences from the T1 as it is; a difference beyond
0.03 is bold.
"""

from __future__ import annotations

import argparse
import csv
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

GROUPS = ("subcortical and cerebellar", "cortex", "whole brain")
SIDES = ("ctx-lh-", "ctx-rh-")
CORTEX_OF_ASEG = ("Left-Cerebral-Cortex", "Right-Cerebral-Cortex")
TOLERATED = 0.03
LINE = 124  # columns

Scores = Mapping[str, Mapping[str, float]]
"""Column to structure to its score."""


def read_scores(path: Path) -> Scores:
    """The columns of a CSV of evaluate.py."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    headings = [heading for heading in rows[0] if heading != "structure"]
    return {heading: {row["structure"]: float(row[heading]) for row in rows} for heading in headings}


def structures_table(first: Mapping[str, float], second: Mapping[str, float]) -> Iterator[str]:
    """Rows of the groups and of the first subject's structures, without the cortex's."""
    left_out = (*SIDES, *CORTEX_OF_ASEG, *GROUPS)
    names = [*reversed(GROUPS), *(name for name in first if not name.startswith(left_out))]
    for name in names:
        cells = " | ".join(f"{scores[name]:.2f}" if name in scores else "" for scores in (first, second))
        yield f"| {name} | {cells} |"


def parcels(scores: Mapping[str, float]) -> str:
    """Each parcel's Dice, left/right."""
    left, right = (
        {name.removeprefix(side): dice for name, dice in scores.items() if name.startswith(side)} for side in SIDES
    )
    cells = (f"{name} {left[name]:.2f}/{right[name]:.2f}" for name in left if name in right)
    return textwrap.fill(", ".join(cells), LINE)


def copies_table(subjects: tuple[Scores, Scores]) -> Iterator[str]:
    """Rows of the copies: means and differences of both subjects."""
    copies = [heading for heading in subjects[0] if " " not in heading]
    for copy in copies:
        cells = []
        for scores in subjects:
            means = " / ".join(f"{scores[copy][group]:.3f}" for group in GROUPS)
            differences = scores.get(f"{copy} difference", {})
            cells += [means, " / ".join(_signed(differences[group]) for group in GROUPS if differences)]
        yield f"| {copy} | {' | '.join(cells)} |"


def _signed(difference: float) -> str:
    text = f"{difference:+.3f}"
    return f"**{text}**" if abs(difference) > TOLERATED else text


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="CSV of a subject with cortical parcels")
    parser.add_argument("second", type=Path, help="CSV of another subject, with the same copies")
    args = parser.parse_args()
    subjects = read_scores(args.first), read_scores(args.second)
    first, second = (scores["dice"] for scores in subjects)
    blocks = ["\n".join(structures_table(first, second)), parcels(first), "\n".join(copies_table(subjects))]
    print("\n\n".join(blocks))


if __name__ == "__main__":
    main()
