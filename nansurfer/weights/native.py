"""nansurfer's own weight files: safetensors whose metadata says what they are. Nothing in them can run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nansurfer.errors import WeightsError
from nansurfer.files import atomic_path
from nansurfer.models import load_config
from nansurfer.models.state import Arrays
from nansurfer.volume import View
from nansurfer.weights.matching import check_finite, in_precision, mismatches

if TYPE_CHECKING:
    from nansurfer.models import Network

FORMAT = "nansurfer-weights-1"
SUFFIX = ".safetensors"


def save_network(
    network: Network,
    path: str | Path,
    *,
    model: str,
    view: View,
    metadata: Mapping[str, str] | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> None:
    """Write a network's weights as one safetensors file.

    Parameters
    ----------
    network
        A network of :func:`nansurfer.models.build_model`.
    path
        Target, ``<view>.safetensors`` by custom; appears only when complete.
    model, view
        What the network is; checked against it and stored in the metadata.
    metadata
        Further text to store: where the training data came from, scores, commit.
    dtype
        How floats are stored: float32, or float16 for half the size. Counters (``num_batches_tracked``) stay int64.

    Raises
    ------
    WeightsError
        The network is not of this model and view, or has weights that are not finite in ``dtype``.
    """
    own = {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}
    if problems := mismatches(own, load_config(model), view):
        raise WeightsError(f"This network is not model '{model}', view '{view}': {problems[0]}.")
    stored = in_precision(own, dtype)
    check_finite(stored, f"The network stored as {np.dtype(dtype)}")
    with atomic_path(path) as temporary:
        save_file(stored, temporary, {**(metadata or {}), "format": FORMAT, "model": model, "view": view})


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a file that :func:`save_network` wrote: at least ``format``, ``model`` and ``view``.

    Raises
    ------
    WeightsError
        The file is damaged, or not one of ours.
    """
    return _read(path)[0]


def read_native(path: Path, *, model: str, view: View) -> Arrays:
    """Arrays by name of a file that :func:`save_network` wrote, as they are stored.

    Raises
    ------
    WeightsError
        The file is damaged, not one of ours, or of another model or view.
    """
    metadata, arrays = _read(path)
    if (metadata["model"], metadata["view"]) != (model, view):
        raise WeightsError(
            f"{path} is of model '{metadata['model']}', view '{metadata['view']}', but model '{model}', view "
            f"'{view}' is needed; use the file of that view."
        )
    return arrays


def _read(path: Path) -> tuple[dict[str, str], Arrays]:
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: _array(file, name, path) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        problem = f"cannot be read as safetensors ({error}); fetch or copy it again"
        raise WeightsError(f"{path} {problem}.") from error
    if metadata.get("format") != FORMAT or not {"model", "view"} <= set(metadata):
        raise WeightsError(
            f"{path} has format '{metadata.get('format')}', expected '{FORMAT}' with its model and view; "
            "write it with nansurfer.weights.save_network."
        )
    return metadata, arrays


def _array(file: Any, name: str, path: Path) -> Any:
    try:
        return file.get_tensor(name)
    except TypeError:  # bfloat16, which NumPy does not have
        from nansurfer.weights.checkpoint import as_array

        with safe_open(path, framework="pt") as for_pytorch:
            return as_array(for_pytorch.get_tensor(name))
