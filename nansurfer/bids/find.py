"""The raw T1s of a BIDS dataset, found by ancpbids."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nansurfer.batch.subjects import DESCRIPTION, Subject
from nansurfer.errors import ConfigError, InputFormatError, InputNotFoundError

_logger = logging.getLogger("nansurfer")


def find_t1s(dataset: str | Path, participants: Sequence[str] = (), sessions: Sequence[str] = ()) -> list[Subject]:
    """The T1-weighted images of a raw BIDS dataset, in the order of their names.

    Each is named by its entities, as ``sub-01_ses-1_run-2``, so that sessions, runs and acquisitions stay apart.
    ``derivatives/`` and ``sourcedata/`` are not looked into.

    Parameters
    ----------
    dataset
        The folder that holds ``dataset_description.json``.
    participants, sessions
        Labels, with or without ``sub-`` and ``ses-``; all of them if there are none.

    Raises
    ------
    ConfigError
        ancpbids is not installed.
    InputNotFoundError
        There is no such dataset, a participant is not in it, or nothing that was asked for has a T1.
    InputFormatError
        It is no raw BIDS dataset, or two of its files have one name.
    """
    dataset = plain_path(dataset)
    _check_library()
    from nansurfer.bids.layout import t1_images

    _check_is_raw(dataset, read_description(dataset))
    subs = _prefixed("sub-", participants)
    _check_participants(dataset, subs)
    subjects = t1_images(dataset, subs, _prefixed("ses-", sessions))
    _check_found(dataset, subjects, subs)
    return subjects


def plain_path(dataset: str | Path) -> Path:
    """The absolute path of a dataset, without ``..``: ancpbids leaves that out of the paths of what it finds."""
    path = Path(dataset).absolute()
    return path.resolve() if ".." in path.parts else path


def read_description(dataset: Path) -> dict[str, Any]:
    """What ``dataset_description.json`` says.

    Raises
    ------
    InputNotFoundError
        There is no such folder, or the file may not be read.
    InputFormatError
        The file is missing or damaged: this is no BIDS dataset.
    """
    if not dataset.is_dir():
        raise InputNotFoundError(f"{dataset} is no folder; give the folder of a BIDS dataset.")
    path = dataset / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputFormatError(
            f"{dataset} is no BIDS dataset, as it has no {DESCRIPTION}; give the folder that has one."
        ) from None
    except OSError as error:
        raise InputNotFoundError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except ValueError as error:
        raise InputFormatError(f"{path} cannot be read ({error}); every BIDS dataset needs it, in JSON.") from error
    if not isinstance(description, dict):
        raise InputFormatError(f"{path} holds no JSON object; every BIDS dataset describes itself there.")
    return description


def _check_library() -> None:
    if find_spec("ancpbids") is None:
        raise ConfigError("BIDS datasets need ancpbids, which is missing: pip install 'nansurfer[bids]'.")


def _check_is_raw(dataset: Path, description: dict[str, Any]) -> None:
    kind = description.get("DatasetType", "raw")  # absent before BIDS 1.4
    if kind != "raw":
        raise InputFormatError(
            f"{dataset} is a BIDS dataset of type '{kind}', expected 'raw'; give the one that it was made from."
        )


def _prefixed(prefix: str, labels: Sequence[str]) -> frozenset[str]:
    return frozenset(prefix + label.removeprefix(prefix) for label in labels)


def _check_participants(dataset: Path, names: frozenset[str]) -> None:
    missing = sorted(name for name in names if not (dataset / name).is_dir())
    if missing:
        raise InputNotFoundError(
            f"{dataset} has no {', '.join(missing)}; give labels of its participants, such as {_example(dataset)}."
        )


def _example(dataset: Path) -> str:
    return min((path.name for path in dataset.glob("sub-*")), default="sub-01")


def _check_found(dataset: Path, subjects: Sequence[Subject], participants: frozenset[str]) -> None:
    if not subjects:
        raise InputNotFoundError(
            f"No T1 was found in {dataset}; expected files such as sub-01/anat/sub-01_T1w.nii.gz of the participants "
            "and sessions asked for."
        )
    twice = [sid for sid, count in Counter(subject.sid for subject in subjects).items() if count > 1]
    if twice:
        raise InputFormatError(f"{dataset} holds {twice[0]}_T1w twice; remove one of the files.")
    found = {subject.sid.partition("_")[0] for subject in subjects}
    if without := sorted(participants - found):
        _logger.warning("No T1 was found of %s.", ", ".join(without))
