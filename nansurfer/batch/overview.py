"""What is written from the records of a batch, whenever it has come to an end."""

from __future__ import annotations

from pathlib import Path

from nansurfer.batch.page import write_page
from nansurfer.batch.record import RecordFile
from nansurfer.batch.tables import write_tables


def write_overview(folder: Path) -> None:
    """Write the tables and the page of a batch's folder from its records.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    records = RecordFile(folder).read()
    write_tables(folder, records)
    write_page(folder, records)
