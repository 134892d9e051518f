"""nansurfer's own weight files: safetensors whose metadata says what they are. Nothing in them can run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nansurfer.errors import WeightsError
from nansurfer.files import atomic_path
from nansurfer.models import Network, load_config
from nansurfer.volume import View
from nansurfer.weights.matching import check_finite, mismatches, new_network

FORMAT = "nansurfer-weights-1"
SUFFIX = ".safetensors"


def save_network(
    network: Network,
    path: str | Path,
    *,
    model: str,
    view: View,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float32,
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
        How floating tensors are stored: ``torch.float32``, or ``torch.float16`` for half the size. Counters
        (``num_batches_tracked``) stay int64.

    Raises
    ------
    WeightsError
        The network is not of this model and view, or has weights that are not finite in ``dtype``.
    """
    tensors = {name: _for_storing(tensor, dtype) for name, tensor in network.state_dict().items()}
    problems = mismatches(tensors, new_network(load_config(model), view))
    if problems:
        raise WeightsError(f"This network is not model '{model}', view '{view}': {problems[0]}.")
    check_finite(tensors, f"The network stored as {dtype}")
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {**(metadata or {}), "format": FORMAT, "model": model, "view": view})


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a file that :func:`save_network` wrote: at least ``format``, ``model`` and ``view``.

    Raises
    ------
    WeightsError
        The file is damaged, or not one of ours.
    """
    return _read(path)[0]


def read_native(path: Path, *, model: str, view: View) -> dict[str, Tensor]:
    """Tensors by name of a file that :func:`save_network` wrote.

    Raises
    ------
    WeightsError
        The file is damaged, not one of ours, or of another model or view.
    """
    metadata, tensors = _read(path)
    if (metadata["model"], metadata["view"]) != (model, view):
        raise WeightsError(
            f"{path} is of model '{metadata['model']}', view '{metadata['view']}', but model '{model}', view "
            f"'{view}' is needed; use the file of that view."
        )
    return tensors


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        problem = f"cannot be read as safetensors ({error}); fetch or copy it again"
        raise WeightsError(f"{path} {problem}.") from error
    if metadata.get("format") != FORMAT or not {"model", "view"} <= set(metadata):
        raise WeightsError(
            f"{path} has format '{metadata.get('format')}', expected '{FORMAT}' with its model and view; "
            "write it with nansurfer.weights.save_network."
        )
    return metadata, tensors


def _for_storing(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    stored = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return stored.detach().cpu().contiguous()
