"""Tables of figures as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nansurfer.files import write_csv


def write_table(path: str | Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of the same columns, one at least, as CSV.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    columns = list(rows[0])
    write_csv(path, columns, ([row[column] for column in columns] for row in rows))
