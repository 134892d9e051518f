"""SHA-256 checksums, kept in ``checksums.json`` beside the files they belong to.

FastSurfer publishes none for its checkpoints, so the first copy that arrives is trusted and recorded, and
every later use is held to it. Bundled weights carry a record made when they were exported.
"""

from __future__ import annotations

import json
from pathlib import Path

from nansurfer.errors import WeightsError
from nansurfer.files import atomic_path, sha256

CHECKSUMS_NAME = "checksums.json"


def recorded_checksum(path: Path) -> str | None:
    """SHA-256 that was recorded for a file; None when there is no record.

    Raises
    ------
    WeightsError
        The record cannot be read.
    """
    return _read(path.parent).get(path.name)


def record_checksum(path: Path) -> str:
    """SHA-256 of a file, which is now also in the record of its folder."""
    digest = sha256(path)
    record = {**_read(path.parent), path.name: digest}
    with atomic_path(path.parent / CHECKSUMS_NAME) as temporary:
        temporary.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return digest


def check_checksum(path: Path) -> None:
    """Check a file against its record, if it has one.

    Raises
    ------
    WeightsError
        The file's content is not the recorded one.
    """
    recorded = recorded_checksum(path)
    if recorded is None:
        return
    found = sha256(path)
    if found != recorded:
        raise WeightsError(
            f"{path} is damaged or was changed: its SHA-256 is {found}, recorded is {recorded}; "
            "fetch it again (`nansurfer weights download`) or reinstall nansurfer."
        )


def _read(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); remove it, fetch its files again.") from error
    if not isinstance(record, dict):
        raise WeightsError(f"{path} holds no file names with checksums; remove it, fetch its files again.")
    return record
