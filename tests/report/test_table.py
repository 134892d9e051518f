"""Tables as CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from nansurfer.errors import OutputError
from nansurfer.report.table import write_table


def test_columns_and_rows(tmp_path: Path) -> None:
    write_table(tmp_path / "new" / "t.csv", [{"a": 1, "b": "x, y"}, {"a": None, "b": 0.5}])
    assert (tmp_path / "new" / "t.csv").read_bytes() == b'a,b\n1,"x, y"\n,0.5\n'


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not be written"):
        write_table(tmp_path / "file" / "t.csv", [{"a": 1}])
