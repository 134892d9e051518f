"""A set of weights: one file for each view, found by name or folder, and loaded into networks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nansurfer.errors import WeightsError
from nansurfer.files import sha256
from nansurfer.models import ModelConfig, load_config
from nansurfer.models.state import Arrays
from nansurfer.volume import VIEWS, View
from nansurfer.weights import native
from nansurfer.weights.checksums import check_checksum
from nansurfer.weights.matching import closest_model, matched
from nansurfer.weights.registry import KnownSet, known_sets

if TYPE_CHECKING:
    from nansurfer.models import Network

CHECKPOINT_SUFFIXES = (".pkl", ".pth", ".pt")
SUFFIXES = (native.SUFFIX, *CHECKPOINT_SUFFIXES)


@dataclass(frozen=True)
class WeightSet:
    """Weights that are on this machine.

    Parameters
    ----------
    name
        Name in the registry, or that of the folder.
    model
        Name of the model configuration they belong to.
    folder
        Where the files lie.
    files
        View name to file.
    """

    name: str
    model: str
    folder: Path
    files: Mapping[View, Path]

    def checksums(self) -> dict[View, str]:
        """SHA-256 of each view's file, for provenance."""
        return {view: sha256(path) for view, path in self.files.items()}


def resolve(name_or_dir: str | Path, *, views: Collection[View] = VIEWS) -> WeightSet:
    """The weights of that name, or in that folder. Nothing is ever downloaded here.

    Parameters
    ----------
    name_or_dir
        A name of the registry, or a folder with one ``.safetensors`` file or FastSurfer checkpoint (``.pkl``,
        ``.pth``, ``.pt``) for each view, recognised by the view's name in the file name. A name wins over a
        folder; write ``./NAME`` for the folder.
    views
        The views that are needed; files of others may be absent.

    Raises
    ------
    WeightsError
        Unknown name, a file that is absent, or several files for one view.
    """
    known = known_sets().get(str(name_or_dir))
    if known is not None:
        return _resolve_known(known, views)
    folder = Path(name_or_dir).expanduser()
    if not folder.is_dir():
        raise WeightsError(
            f"'{name_or_dir}' is neither a known set of weights ({', '.join(known_sets())}) nor a folder; "
            "give one of these names or a folder with one file for each view."
        )
    files = {view: _only_file(folder, view) for view in views}
    return WeightSet(folder.resolve().name, _model_of(files), folder, files)


def load_arrays(weight_set: WeightSet, view: View) -> tuple[ModelConfig, Arrays]:
    """Model configuration of one view and all that its network has learnt, float32, by FastSurfer's names.

    The file is held to its recorded checksum, if there is one; every name, shape and dtype is checked, and
    that all values are finite. PyTorch is needed for checkpoints only.

    Raises
    ------
    WeightsError
        The file is damaged, was changed, belongs to another network, or refers to code.
    """
    path = weight_set.files[view]
    check_checksum(path)
    config = load_config(weight_set.model)
    if path.suffix == native.SUFFIX:
        arrays = native.read_native(path, model=weight_set.model, view=view)
    else:
        arrays = _read_checkpoint(path)
    return config, matched(arrays, config, view, source=f"{path} (as model '{config.name}', view '{view}')")


def load_network(weight_set: WeightSet, view: View) -> tuple[ModelConfig, Network]:
    """Model configuration and network of one view: float32, on the CPU, in evaluation mode.

    As :func:`load_arrays`, and the state of PyTorch's random numbers is left as it was.
    """
    from nansurfer.models import network_with

    config, arrays = load_arrays(weight_set, view)
    return config, network_with(config, view, arrays)


def verify(weight_set: WeightSet) -> dict[View, str]:
    """SHA-256 of each view's file, after every file was loaded and checked as in :func:`load_arrays`.

    Raises
    ------
    WeightsError
        As :func:`load_arrays`.
    """
    for view in weight_set.files:
        load_arrays(weight_set, view)
    return weight_set.checksums()


def names_view(path: Path, view: View) -> bool:
    """Whether a file is weights of ``view``, going by its name alone; hidden (unfinished) files are not."""
    name = path.name.lower()
    return path.suffix in SUFFIXES and view in name and not name.startswith(".")


def _resolve_known(known: KnownSet, views: Collection[View]) -> WeightSet:
    files = {view: known.path(view) for view in views}
    for path in files.values():
        if not path.is_file():
            raise WeightsError(f"The weights '{known.name}' lack {path}; {_remedy(known)}.")
    return WeightSet(known.name, known.model, known.folder, files)


def _remedy(known: KnownSet) -> str:
    if known.bundled:
        return "they should have come with nansurfer, so reinstall it"
    return f"run `nansurfer weights download {known.name}`, or `nansurfer weights import` with files fetched elsewhere"


def _only_file(folder: Path, view: View) -> Path:
    found = sorted(path for path in folder.iterdir() if names_view(path, view))
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise WeightsError(
            f"{folder} should hold one file of weights for the {view} view, but there is {listed}; leave "
            f"exactly one with '{view}' in its name ({', '.join(SUFFIXES)})."
        )
    return found[0]


def _model_of(files: Mapping[View, Path]) -> str:
    """Model of the first file; that the others are of the same is checked when they are loaded."""
    view, path = next(iter(files.items()))
    if path.suffix == native.SUFFIX:
        return native.read_metadata(path)["model"]
    return closest_model(_read_checkpoint(path), view)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    from nansurfer.weights.checkpoint import read_checkpoint

    return read_checkpoint(path)
