"""Fetching sets of weights over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import BinaryIO
from urllib.parse import urlsplit

import pooch
import requests

from nansurfer.errors import DownloadError
from nansurfer.files import sha256
from nansurfer.version import __version__
from nansurfer.volume import VIEWS, View
from nansurfer.weights.cache import admission
from nansurfer.weights.checksums import recorded_checksum
from nansurfer.weights.registry import KnownFile, KnownSet, known_set
from nansurfer.weights.sets import WeightSet, resolve

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes that have arrived, and the bytes expected."""

ROUNDS = 3
"""How often all addresses are tried."""

BACKOFF_S = 2.0
"""Wait after the first round, doubled after each further one."""

_TIMEOUT_S = (10, 60)  # to connect, between two packets
_CHUNK_BYTES = 1 << 18
_PASSING_STATUS = (408, 429)  # client errors that do not last: timeout, too many requests
_HEADERS = {"User-Agent": f"nansurfer/{__version__}", "Accept-Encoding": "identity"}


def download(
    name: str = "official",
    *,
    views: Collection[View] = VIEWS,
    offline: bool = False,
    progress: Progress | None = None,
) -> WeightSet:
    """The weights of that name, after fetching the files that are not in the cache or are damaged there.

    Parameters
    ----------
    name
        A set of the registry; a bundled one is there already.
    views
        The views that are needed.
    offline
        Never touch the network; the environment variable ``NANSURFER_OFFLINE=1`` does the same.
    progress
        See :data:`Progress`.

    Raises
    ------
    DownloadError
        No address delivers, or something is absent and the network may not be used.
    WeightsError
        What was delivered is not what the set publishes.
    """
    known = known_set(name)
    absent = [] if known.bundled else [view for view in views if not _is_sound(known.path(view))]
    if absent and (offline or os.environ.get("NANSURFER_OFFLINE", "0") not in ("", "0")):
        raise DownloadError(
            f"{known.files[absent[0]].name} is not in {known.folder} and no network may be used (offline); "
            f"fetch it elsewhere from {known.addresses[0]} and run `nansurfer weights import FILE`."
        )
    for view in absent:
        _fetch(known, view, progress)
    return resolve(name, views=views)


def _is_sound(path: Path) -> bool:
    return path.is_file() and recorded_checksum(path) == sha256(path)


def _fetch(known: KnownSet, view: View, progress: Progress | None) -> None:
    """Fetch one file: try each address, then all again after a pause, except those that said a lasting no."""
    file = known.files[view]
    remaining = [f"{address}/{file.name}" for address in known.addresses]
    failures: dict[str, _Failure] = {}
    with admission(known, view) as temporary:
        for round_ in range(ROUNDS):
            if round_ and remaining:
                sleep(BACKOFF_S * 2 ** (round_ - 1))
            for url in remaining:
                failure = _fetch_once(url, temporary, file, progress)
                if failure is None:
                    return
                failures[url] = failure
            remaining = [url for url in remaining if not failures[url].lasting]
        reasons = ", ".join(f"{urlsplit(url).hostname}: {why.reason}" for url, why in failures.items())
        raise DownloadError(
            f"{file.name} could not be fetched ({reasons}); try again later, or fetch it elsewhere from "
            f"{known.addresses[0]} and run `nansurfer weights import FILE`."
        )


@dataclass(frozen=True)
class _Failure:
    """Why an address did not deliver; ``lasting`` when it would say the same again."""

    reason: str
    lasting: bool = False


def _fetch_once(url: str, path: Path, file: KnownFile, progress: Progress | None) -> _Failure | None:
    fetch = pooch.HTTPDownloader(chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_S, headers=_HEADERS)
    try:
        with path.open("wb") as target:
            fetch(url, _Counted(target, file, progress), None)
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        return _Failure(f"HTTP {status}", lasting=status < 500 and status not in _PASSING_STATUS)
    except requests.RequestException as error:
        return _Failure(type(error).__name__)
    n_bytes = path.stat().st_size
    if file.n_bytes not in (None, n_bytes):
        return _Failure(f"{n_bytes} bytes instead of {file.n_bytes}")
    return None


class TooManyBytesError(requests.RequestException):
    """The response is longer than the published file."""


class _Counted:
    """A file that reports what is written to it and takes no more than the expected bytes."""

    def __init__(self, target: BinaryIO, file: KnownFile, progress: Progress | None) -> None:
        self._target = target
        self._file = file
        self._progress = progress

    def write(self, chunk: bytes) -> int:
        done = self._target.tell() + len(chunk)
        if self._file.n_bytes is not None and done > self._file.n_bytes:
            raise TooManyBytesError
        if self._progress is not None:
            self._progress(self._file.name, done, self._file.n_bytes)
        return self._target.write(chunk)

    def flush(self) -> None:
        self._target.flush()
