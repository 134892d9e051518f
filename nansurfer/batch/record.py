"""How each subject of a batch ended: ``batch.jsonl``, one line a subject."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from nansurfer.errors import InputFormatError, OutputError
from nansurfer.files import atomic_path, locked, write_failure

RECORDS = Path("batch.jsonl")
KILLED = "Killed"
"""The kind of error of a subject whose worker was killed."""


@dataclass(frozen=True)
class Record:
    """How one subject ended.

    Parameters
    ----------
    id
        The subject's name, which is that of its folder.
    input
        Absolute path of its T1.
    status
        ``"done"`` or ``"failed"``.
    error_kind
        Name of the class in :mod:`nansurfer.errors`, or of a bug's exception; ``"Killed"`` where the worker was.
    error
        The sentence.
    exit_code
        What ``nansurfer segment`` would have ended with; 128 + the signal for a killed worker, as in a shell.
    seconds
        Duration of the last attempt.
    peak_memory_mb
        Largest resident size so far of the process that did it, in MB (10^6 bytes): perhaps it did others before.
    brain_volume_ml
        Volume of all labelled voxels.
    skip_ratio
        Share of multiply-adds that were not computed; None if not counted.
    attempts
        How often it was tried.
    host
        The machine.
    started, finished
        UTC, ISO 8601.
    """

    id: str
    input: str
    status: Literal["done", "failed"]
    error_kind: str | None
    error: str | None
    exit_code: int
    seconds: float
    peak_memory_mb: int | None
    brain_volume_ml: float | None
    skip_ratio: float | None
    attempts: int
    host: str
    started: str
    finished: str

    @property
    def of(self) -> str:
        """What it is the record of: the same T1, finished at the same time, is recorded once."""
        return f"{self.finished} {self.input}"


class RecordFile:
    """The records of a batch's folder, which any number of processes and machines may change at a time.

    Parameters
    ----------
    folder
        It holds ``batch.jsonl``, or will.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORDS
        self._ids: set[str] = set()
        self._seen_bytes = 0
        self._last_seen = b""

    def read(self) -> list[Record]:
        """All records, one a subject, in the order in which they came; none where there is no file.

        Raises
        ------
        InputFormatError
            The file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                return [record for line in file if (record := _parse(line)) is not None]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputFormatError(f"{self.path} cannot be read ({error.strerror}).") from error

    def append(self, record: Record) -> None:
        """Add a record, in place of an earlier one of the same subject; it is on disk when this returns.

        Raises
        ------
        OutputError
            The file cannot be written; it holds what it held before.
        """
        with self._locked():
            if record.id in self._ids:
                self._rewrite_without({record.id})
            self._append_line(json.dumps(asdict(record)).encode() + b"\n")

    def drop(self, ids: Iterable[str]) -> None:
        """Remove the records of subjects that are to be done again.

        Raises
        ------
        OutputError
            The file cannot be written; it holds what it held before.
        """
        with self._locked():
            if unwanted := self._ids & set(ids):
                self._rewrite_without(unwanted)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes out, and know which subjects have records."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path.with_name(f".{self.path.name}-lock")):
                self._look_at_what_is_new()
                yield
        except OSError as error:
            raise OutputError(write_failure(self.path, error)) from error

    def _look_at_what_is_new(self) -> None:
        """Keep the subjects that have records in mind, so that a long file is read once and not for every record.

        If the line that was the last one then is not at its place any more, the file was written anew.
        """
        if not self.path.exists():
            return self._forget()
        with self.path.open("rb") as file:
            file.seek(self._seen_bytes - len(self._last_seen))
            if file.read(len(self._last_seen)) != self._last_seen:
                self._forget()
                file.seek(0)
            for line in file:
                self._seen_bytes += len(line)
                self._last_seen = line
                if (record := _parse(line)) is not None:
                    self._ids.add(record.id)
        return None

    def _forget(self) -> None:
        self._ids, self._seen_bytes, self._last_seen = set(), 0, b""

    def _rewrite_without(self, ids: set[str]) -> None:
        with atomic_path(self.path) as path, path.open("wb") as new, self.path.open("rb") as old:
            new.writelines(line for line in old if (record := _parse(line)) is not None and record.id not in ids)
        self._forget()

    def _append_line(self, line: bytes) -> None:
        """All of it or nothing: an attempt that the disk is too full for is taken back."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # its writer was killed
            try:
                _write_all(descriptor, b"\n" * torn + line)
                os.fsync(descriptor)
            except BaseException:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _parse(line: bytes) -> Record | None:
    """The record in a line; None if it is torn, for then its subject is met again as one that has none."""
    try:
        return Record(**json.loads(line))
    except (ValueError, TypeError):
        return None
