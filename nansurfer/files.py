"""Writing files so that a half-written one never carries its final name, and by one process at a time."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nansurfer.errors import BusyError, InputFormatError, InputNotFoundError, OutputError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the system's errors that mean it."""

_CHUNK_BYTES = 1 << 20
_HALVES = {".hdr": ".img", ".img": ".hdr"}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed to ``path``, on failure removed.

    The temporary name starts with a dot and keeps the suffixes, so that writers which look at the suffix
    (nibabel, Pillow) see the format they expect. Folders are made as needed.

    Raises
    ------
    OutputError
        The folder cannot be made or written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")  # containers all have the same process id
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = _usual_mode(temporary)
        yield temporary
        temporary.chmod(mode)  # some writers make files that only their owner may read
        _flush_to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(write_failure(path, error)) from error
    finally:
        with suppress(OSError):  # it may never have come to be
            temporary.unlink()


def check_writable(folder: str | Path) -> None:
    """Check, before long work, that files can be written into a folder, or the folder be made; nothing is left there.

    Raises
    ------
    OutputError
        They cannot.
    """
    folder = Path(folder).absolute()
    try:
        place = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OutputError(write_failure(folder, error)) from error


def check_absent(path: Path, *, overwrite: bool) -> None:
    """Check, before long work, that a file the user named replaces none, unless that was asked for.

    Raises
    ------
    OutputError
        It would.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; pass --overwrite or choose another place.")


@contextmanager
def locked(path: str | Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the kernel's lock on the file ``path``, which is made for it and removed afterwards.

    The kernel releases it when the process ends, however it ends. On NFS it holds between machines.

    Parameters
    ----------
    path
        Its folder has to exist.
    wait
        Wait for another process that holds it, instead of raising.

    Raises
    ------
    BusyError
        Another process holds it.
    OSError
        The file cannot be made, or the file system has no locks.
    """
    path = Path(path)
    descriptor = _lock(path, wait=wait)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is locked: whoever waits for it sees that and makes another
        os.close(descriptor)


def read_list(path: Path, *, delimiter: str = ",") -> list[list[str]]:
    """The rows of a list of files, written by a spreadsheet or by hand: blank lines and those after a # are left out.

    Raises
    ------
    InputNotFoundError
        It cannot be read.
    InputFormatError
        It is no text in UTF-8, or its quotation marks do not match.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark first
        read = list(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True, strict=True))
    except OSError as error:
        raise InputNotFoundError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise InputFormatError(f"{path} is no text in UTF-8; save the list as CSV.") from error
    except csv.Error as error:
        raise InputFormatError(f"{path} is no list of files ({error}); save it as CSV.") from error
    rows = ([cell.strip() for cell in row] for row in read)
    return [row for row in rows if any(row) and not row[0].startswith("#")]


def write_csv(
    path: str | Path, columns: Iterable[object], rows: Iterable[Iterable[object]], *, delimiter: str = ","
) -> None:
    """Write a table with a line of headings, whole or not at all, each row as it comes.

    UTF-8 with plain line ends on every system; None is an empty cell, and names that are no UTF-8 keep their bytes.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def other_half(path: Path) -> Path | None:
    """The other file of an image that lies in two, .hdr and .img; None for all other files."""
    suffix = _HALVES.get(path.suffix.lower())
    return None if suffix is None else path.with_suffix(suffix.upper() if path.suffix.isupper() else suffix)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits; of a .hdr and .img, of the one and then the other's.

    The header alone would not tell two images of one scanner apart.
    """
    path = Path(path)
    other = other_half(path)
    digest = hashlib.sha256()
    for part in sorted([path, other]) if other and other.is_file() else [path]:
        with part.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def write_failure(path: Path | str, error: OSError) -> str:
    """The sentence that says why a file could not be written, and what to do."""
    if error.errno in DISK_FULL:
        return f"The disk is full: {path} could not be written; free some space or choose another folder."
    reason = error.strerror or str(error)
    return f"{path} could not be written ({reason}); choose a folder that you may write to."


def _lock(path: Path, *, wait: bool) -> int:
    """Descriptor of the locked file, which still has its name."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise BusyError(f"{path} is locked by another run; wait until it has ended.") from error
            if getattr(error, "errno", None) != errno.ESTALE:  # NFS says so of a file that was removed elsewhere
                raise
        else:
            os.close(descriptor)


def _usual_mode(path: Path) -> int:
    """Permissions that a new file gets at ``path``, where none is."""
    path.touch()
    mode = path.stat().st_mode
    path.unlink()
    return mode


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
