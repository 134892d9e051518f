"""The records of a batch: one a subject, whoever writes and whatever is killed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nansurfer.batch import Record, RecordFile
from nansurfer.errors import OutputError

RECORD = Record(
    id="s1",
    input="/data/s1.mgz",
    status="done",
    error_kind=None,
    error=None,
    exit_code=0,
    seconds=21.5,
    peak_memory_mb=1504,
    brain_volume_ml=1252.0,
    skip_ratio=0.739,
    attempts=1,
    host="node1",
    started="2026-01-01T00:00:00+00:00",
    finished="2026-01-01T00:00:21+00:00",
)
LINE = (
    '{"id": "s1", "input": "/data/s1.mgz", "status": "done", "error_kind": null, "error": null, "exit_code": 0, '
    '"seconds": 21.5, "peak_memory_mb": 1504, "brain_volume_ml": 1252.0, "skip_ratio": 0.739, "attempts": 1, '
    '"host": "node1", "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:21+00:00"}\n'
)


def named(*ids: str) -> list[Record]:
    return [replace(RECORD, id=sid) for sid in ids]


def fill(folder: Path, *ids: str) -> RecordFile:
    file = RecordFile(folder)
    for record in named(*ids):
        file.append(record)
    return file


def test_a_line_a_record(tmp_path: Path) -> None:
    RecordFile(tmp_path / "out").append(RECORD)
    assert (tmp_path / "out" / "batch.jsonl").read_text() == LINE
    assert RecordFile(tmp_path / "out").read() == [RECORD]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["batch.jsonl"]  # no lock is left


def test_no_file_holds_no_records(tmp_path: Path) -> None:
    assert RecordFile(tmp_path).read() == []
    RecordFile(tmp_path).drop(["s1"])
    assert list(tmp_path.iterdir()) == []


def test_dropped_records_are_gone_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    file = fill(tmp_path, "s1", "s2", "s3")
    before = file.path.read_text().splitlines()
    file.drop(["s2", "s9"])
    assert file.path.read_text().splitlines() == [before[0], before[2]]


def test_a_later_record_of_a_subject_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    file = fill(tmp_path, "s1", "s2")
    failed = replace(RECORD, status="failed", exit_code=4)
    file.append(failed)
    assert file.read() == [*named("s2"), failed]


def test_also_if_another_process_wrote_that(tmp_path: Path) -> None:
    ours, theirs = fill(tmp_path, "s1"), RecordFile(tmp_path)
    theirs.append(replace(RECORD, id="s2", attempts=1))
    ours.append(replace(RECORD, id="s2", attempts=2))
    theirs.drop(["s1"])  # the file is written anew, and what ours has seen of it is another place now
    ours.append(replace(RECORD, id="s3"))
    theirs.append(replace(RECORD, id="s3", attempts=3))
    assert [(record.id, record.attempts) for record in ours.read()] == [("s2", 2), ("s3", 3)]


@pytest.mark.parametrize("torn", ['{"id": "s2", "inp', '{"id": "s2"}\n', "\n", '"text"\n', "\x00\x00"])
def test_a_torn_line_costs_its_own_record_only(tmp_path: Path, torn: str) -> None:
    file = fill(tmp_path, "s1")
    with file.path.open("a") as text:
        text.write(torn)
    assert RecordFile(tmp_path).read() == named("s1")
    for subject in "s2", "s3":
        file.append(replace(RECORD, id=subject))
    assert RecordFile(tmp_path).read() == named("s1", "s2", "s3")
    file.drop(["s1"])
    assert RecordFile(tmp_path).read() == named("s2", "s3")


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fill(tmp_path, "s1")
    write = os.write

    def fills_the_disk(descriptor: int, content: bytes) -> int:
        if len(content) < 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content[:40])

    monkeypatch.setattr(os, "write", fills_the_disk)
    with pytest.raises(OutputError, match=r"The disk is full: .*batch.jsonl could not be written"):
        file.append(*named("s2"))
    assert file.path.read_text() == LINE


def test_many_processes_at_a_time(tmp_path: Path) -> None:
    """Each appends 20 of its own and 5 that all append, and drops one of its own."""
    code = f"""
import sys
from dataclasses import replace
from pathlib import Path
from nansurfer.batch.record import Record, RecordFile
file, me = RecordFile(Path({str(tmp_path)!r})), sys.argv[1]
record = Record(**{RECORD.__dict__!r})
for number in range(20):
    file.append(replace(record, id=f"{{me}}-{{number}}"))
    if number % 4 == 0:
        file.append(replace(record, id=f"all-{{number}}"))
file.drop([f"{{me}}-7"])
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    ids = [json.loads(line)["id"] for line in (tmp_path / "batch.jsonl").read_text().splitlines()]
    own = [f"{process}-{number}" for process in range(4) for number in range(20) if number != 7]
    assert sorted(ids) == sorted([*own, *(f"all-{number}" for number in range(0, 20, 4))])
