"""Tables of figures as CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from nansurfer.files import atomic_path


def write_table(path: str | Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of the same columns, one at least, as CSV.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
