"""The tables of a batch: how every subject ended, and the volumes of all of them."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from nansurfer.batch.record import Record
from nansurfer.files import write_csv
from nansurfer.labels import load_table
from nansurfer.pipeline.outputs import STATS

BATCH_TABLE = Path("batch.csv")
GROUP_TABLE = Path("volumes.csv")

ID_COLUMN = "Measure:volume"
"""Heading of the group table's first column, by which FreeSurfer's readers (``qdec``) know it."""

MEASURES = (
    "BrainSegVol",
    "BrainSegVolNotVent",
    "CerebralWhiteMatterVol",
    "SubCortGrayVol",
    "SupraTentorialVol",
    "SupraTentorialVolNotVent",
    "MaskVol",
)
"""Whole-brain measures of our ``.stats`` files that ``asegstats2table`` takes up, in the order of the file."""

_NAMED = 5  # subjects in a warning
_logger = logging.getLogger("nansurfer")


def write_tables(folder: Path, records: Sequence[Record]) -> None:
    """Write ``batch.csv``, a row a record, and ``volumes.csv``, a row a finished subject; both in order of id.

    Parameters
    ----------
    folder
        The batch's folder, which holds those of the subjects.
    records
        One a subject.

    Raises
    ------
    OutputError
        A table cannot be written.

    Notes
    -----
    ``volumes.csv`` holds what FreeSurfer's ``asegstats2table --statsfile=aseg+DKT.stats --meas volume --delimiter
    comma`` gives for the same subjects: mm³, all structures and then the whole-brain measures it knows
    (``AsegStatsParser`` of FreeSurfer 7). As with its ``--skip``, a subject whose ``.stats`` file is missing or
    damaged is left out, with a warning. Rows are written as they are read, whatever their number.
    """
    ordered = sorted(records, key=lambda record: record.id)
    columns = [field.name for field in fields(Record)]
    write_csv(folder / BATCH_TABLE, columns, ([getattr(r, name) for name in columns] for r in ordered))

    left_out: list[str] = []
    done = (record.id for record in ordered if record.status == "done")
    write_csv(folder / GROUP_TABLE, [ID_COLUMN, *structure_columns(), *MEASURES], _group_rows(folder, done, left_out))
    if left_out:
        named = ", ".join(left_out[:_NAMED]) + (", ..." if len(left_out) > _NAMED else "")
        _logger.warning(
            "%s lacks %d finished subject(s), whose %s cannot be read: %s.", GROUP_TABLE, len(left_out), STATS, named
        )


def structure_columns() -> list[str]:
    """The group table's structures, in order of label; `MEASURES` come after them."""
    table = load_table()
    return [table.name(label) for label in table.labels if label != 0]


def read_group_table(folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Rows of a batch's ``volumes.csv``: each subject, and its volumes in mm³ by heading."""
    with (folder / GROUP_TABLE).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        columns = next(rows)[1:]
        for sid, *cells in rows:
            yield sid, dict(zip(columns, map(float, cells), strict=True))


def read_stats_volumes(path: Path) -> dict[str, float]:
    """Volumes in mm³ of a ``.stats`` file, structures and measures by name, read as ``asegstats2table`` does.

    Raises
    ------
    OSError, ValueError or IndexError
        There is no such file, or it is damaged.
    """
    volumes = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# Measure "):
            _, name, _, value, _ = line.split(",")
            volumes[name.strip()] = float(value)
        elif line and not line.startswith("#"):
            columns = line.split()
            volumes[columns[4]] = float(columns[3])
    return volumes


def _group_rows(folder: Path, ids: Iterable[str], left_out: list[str]) -> Iterator[list[object]]:
    """A row for each subject; those that have none are added to ``left_out``."""
    columns = [*structure_columns(), *MEASURES]
    for sid in ids:
        volumes = _volumes(folder / sid / STATS, columns)
        if volumes is None:
            left_out.append(sid)
        else:
            yield [sid, *volumes]


def _volumes(path: Path, columns: Sequence[str]) -> list[float] | None:
    """What a ``.stats`` file says of each column; None if it cannot be read or lacks one."""
    try:
        volumes = read_stats_volumes(path)
        return [volumes[name] for name in columns]
    except (OSError, ValueError, LookupError):
        return None
