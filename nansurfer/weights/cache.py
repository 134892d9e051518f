"""Bringing files into the cache: what has a final name there is whole, and is what it claims to be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nansurfer.errors import WeightsError
from nansurfer.files import atomic_path, sha256
from nansurfer.volume import VIEWS, View
from nansurfer.weights.checksums import CHECKSUMS_NAME, record_checksum, recorded_checksum
from nansurfer.weights.registry import KnownSet, known_set
from nansurfer.weights.sets import WeightSet, load_arrays, names_view


@contextmanager
def admission(known: KnownSet, view: View) -> Iterator[Path]:
    """Yield a temporary path to fill; the file then takes its place in the cache, or is removed if wrong.

    Raises
    ------
    WeightsError
        The file has another size than the published one, differs from the one recorded first, or does not
        load as this view of the set.
    """
    path = known.path(view)
    with atomic_path(path) as temporary:
        yield temporary
        _check_size(temporary, known, view)
        _check_first_recorded(temporary, path)
        _check_loads(temporary, known, view)
    record_checksum(path)


def import_files(paths: Iterable[str | Path], name: str = "official") -> dict[View, Path]:
    """View name to file in the cache, after copying files there that were fetched by hand.

    Parameters
    ----------
    paths
        Files whose names contain their view's, as FastSurfer's do; not all views need be there.
    name
        Set of the registry that they belong to.

    Raises
    ------
    WeightsError
        A file is absent, its view is not clear, or it is not what the set publishes.
    """
    known = known_set(name)
    if known.bundled:
        raise WeightsError(f"The weights '{name}' come with nansurfer; give a downloaded set to import into.")
    sources: dict[View, Path] = {}
    for path in map(Path, paths):
        other = sources.setdefault(_view_of(path, known), path)
        if other is not path:
            raise WeightsError(f"{other} and {path} are for the same view; give one file for each view.")
    for view, source in sources.items():
        with admission(known, view) as temporary:
            shutil.copyfile(source, temporary)
    return {view: known.path(view) for view in sources}


def _view_of(path: Path, known: KnownSet) -> View:
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise WeightsError(f"{path} is not there or no file that may be read; give the files that were fetched.")
    views = [view for view in VIEWS if names_view(path, view)]
    if len(views) != 1:
        raise WeightsError(
            f"The view of {path} is not clear; its name should hold one of {', '.join(VIEWS)} and end "
            f"as {known.files[VIEWS[0]].name} does."
        )
    return views[0]


def _check_size(file: Path, known: KnownSet, view: View) -> None:
    found, expected = file.stat().st_size, known.files[view].n_bytes
    if expected is not None and found != expected:
        raise WeightsError(
            f"{known.files[view].name} should have {expected} bytes, but this file has {found}; fetch it "
            "again, or use your own weights by their folder."
        )


def _check_first_recorded(file: Path, path: Path) -> None:
    recorded, found = recorded_checksum(path), sha256(file)
    if recorded not in (None, found):
        raise WeightsError(
            f"{path.name} differs from the file recorded first (SHA-256 {found}, recorded {recorded}); if "
            f"the publisher changed it, remove {path.parent / CHECKSUMS_NAME} and fetch it again."
        )


def _check_loads(file: Path, known: KnownSet, view: View) -> None:
    try:
        load_arrays(WeightSet(known.name, known.model, known.folder, {view: file}), view)
    except WeightsError as error:
        # The temporary name would mean nothing to the user.
        raise WeightsError(str(error).replace(str(file), known.files[view].name)) from error
