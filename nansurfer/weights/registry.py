"""The sets of weights known by name, and where their files lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import yaml

from nansurfer.errors import WeightsError
from nansurfer.volume import View

REGISTRY_FILE = Path(__file__).with_name("registry.yaml")
BUNDLED_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class KnownFile:
    """One view's file.

    Parameters
    ----------
    name
        File name in the set's folder and at its addresses.
    n_bytes
        Size of the published file; None for a bundled one.
    """

    name: str
    n_bytes: int | None


@dataclass(frozen=True)
class KnownSet:
    """An entry of ``registry.yaml``.

    Parameters
    ----------
    name
        What users call the set.
    model
        Name of the model configuration that the weights belong to.
    description
        One line for people who choose.
    addresses
        Where the files can be fetched, best first; empty when they come with the package.
    files
        View name to file.
    """

    name: str
    model: str
    description: str
    addresses: tuple[str, ...]
    files: Mapping[View, KnownFile]

    @property
    def bundled(self) -> bool:
        """Whether the files come with the package."""
        return not self.addresses

    @property
    def folder(self) -> Path:
        """Folder that holds the files, or will hold them once downloaded."""
        return (BUNDLED_FOLDER if self.bundled else cache_dir()) / self.name

    def path(self, view: View) -> Path:
        """Path of one view's file, whether it is there or not."""
        return self.folder / self.files[view].name


def cache_dir() -> Path:
    """Folder of the downloaded sets: ``$NANSURFER_WEIGHTS``, else ``weights`` in the user's cache."""
    chosen = os.environ.get("NANSURFER_WEIGHTS")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("nansurfer") / "weights"


def known_sets() -> dict[str, KnownSet]:
    """Every set of ``registry.yaml`` by its name."""
    content = yaml.safe_load(REGISTRY_FILE.read_text(encoding="utf-8"))
    return {
        name: KnownSet(
            name=name,
            model=entry["model"],
            description=entry["description"],
            addresses=tuple(entry["addresses"]),
            files={view: KnownFile(file["name"], file.get("bytes")) for view, file in entry["files"].items()},
        )
        for name, entry in content.items()
    }


def known_set(name: str) -> KnownSet:
    """The set of that name.

    Raises
    ------
    WeightsError
        There is none.
    """
    sets = known_sets()
    if name not in sets:
        raise WeightsError(f"There are no weights named '{name}'; known are {', '.join(sets)}.")
    return sets[name]
