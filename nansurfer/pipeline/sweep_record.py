"""The folder of a sweep: what was measured so far, and what it was measured with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nansurfer.errors import OutputError
from nansurfer.files import atomic_path
from nansurfer.pipeline.result import SegmentationResult
from nansurfer.report.sweep import SweepRow, write_sweep_csv
from nansurfer.volume import label_image, read_labels, save_image

RECORD = Path("sweep.json")
TABLE = Path("sweep.csv")
DENSE_LABELS = Path("dense.mgz")

SCHEMA_VERSION = 2
"""Of the record; rises when a field changes its meaning or goes."""


class SweepRecord:
    """Rows of a sweep that are on disk as soon as they are added, and those that were there before.

    Parameters
    ----------
    folder
        Where the files lie or will lie.
    provenance
        What has to be the same for two runs to be rows of one table, by name: plain data.
    overwrite
        Start anew, whatever is there; it stays until the first row is added.

    Raises
    ------
    OutputError
        The folder holds another sweep, or files that cannot be read.
    """

    def __init__(self, folder: Path, provenance: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.rows: list[SweepRow] = []
        self._folder = folder
        self._provenance = json.loads(json.dumps(provenance))  # as it will be read back: lists for tuples
        self._dense_labels: npt.NDArray[np.int16] | None = None
        if not overwrite:
            self._resume()

    @property
    def dense_labels(self) -> npt.NDArray[np.int16]:
        """Labels of the dense run, int16 (X, Y, Z)."""
        if self._dense_labels is None:
            self._dense_labels = np.asarray(read_labels(self._folder / DENSE_LABELS).dataobj, np.int16)
        return self._dense_labels

    def start(self, dense: SegmentationResult) -> None:
        """Keep the labels of the dense run; the rows of an earlier sweep end here."""
        with suppress(OSError):  # it may not be there; if it may not be removed, writing will say so
            (self._folder / RECORD).unlink()  # first: it belongs to the labels that are replaced
        save_image(label_image(dense.labels, dense.conformed, np.int16), self._folder / DENSE_LABELS)
        self._dense_labels = dense.labels

    def add(self, row: SweepRow) -> None:
        """Append a row to the record and to the table."""
        self.rows.append(row)
        content = {
            "schema_version": SCHEMA_VERSION,
            **self._provenance,
            "rows": [asdict(row) for row in self.rows],
        }
        with atomic_path(self._folder / RECORD) as temporary:
            temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        write_sweep_csv(self._folder / TABLE, self.rows)

    def _resume(self) -> None:
        path = self._folder / RECORD
        if not path.is_file():
            if (self._folder / TABLE).exists():
                raise self._not_ours(f"a {TABLE} of unknown origin")
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            different = [name for name, value in self._provenance.items() if content[name] != value]
            rows = [] if different else [SweepRow(**row) for row in content["rows"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{path} cannot be read ({error!r}); choose another folder, or replace it with --overwrite."
            ) from error
        if different:
            raise self._not_ours(f"a sweep made with other {', '.join(different)}")
        self.rows = rows
        write_sweep_csv(self._folder / TABLE, self.rows)  # it may have been lost, or lack the last row

    def _not_ours(self, what: str) -> OutputError:
        return OutputError(f"{self._folder} holds {what}; choose another folder, or replace it with --overwrite.")
