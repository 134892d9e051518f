"""Do these tensors belong to that network?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nansurfer.errors import WeightsError
from nansurfer.models import ModelConfig, Network, build_model, load_config
from nansurfer.models.config import config_dir
from nansurfer.volume import View

_STORED_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SHOWN = 3


def new_network(config: ModelConfig, view: View) -> Network:
    """An untrained network; unlike :func:`build_model` it leaves PyTorch's random numbers as they were."""
    with torch.random.fork_rng(devices=[]):
        return build_model(config, view)


def fill(network: Network, tensors: Mapping[str, Any], source: Path | str) -> None:
    """Give ``network`` the weights of a state dict.

    Parameters
    ----------
    network
        Float32, on the CPU.
    tensors
        Name to tensor; floating tensors may be float16, bfloat16, float32 or float64.
    source
        What errors call the origin of the tensors.

    Raises
    ------
    WeightsError
        A name, shape or dtype differs, or a value is not finite in float32.
    """
    problems = mismatches(tensors, network)
    if problems:
        raise WeightsError(
            f"{source} does not fit the network: {len(problems)} tensors differ from the "
            f"{len(network.state_dict())} expected ({_first(problems)}); use weights of this model and view."
        )
    network.load_state_dict(tensors)
    check_finite(network.state_dict(), source)


def mismatches(tensors: Mapping[str, Any], network: nn.Module) -> list[str]:
    """What differs between a state dict and a network's, a phrase for each tensor."""
    expected = network.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in expected]
    for name in expected:
        if name in tensors and (difference := _difference(tensors[name], expected[name])):
            problems.append(f"{name} {difference}")
    return problems


def closest_model(tensors: Mapping[str, Any], view: View) -> str:
    """Name of the known model configuration whose names and shapes differ least from ``tensors``."""
    names = sorted(path.stem for path in config_dir().glob("*.yaml"))
    return min(names, key=lambda name: len(mismatches(tensors, new_network(load_config(name), view))))


def check_finite(tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """Check that no value is NaN or infinite.

    Raises
    ------
    WeightsError
        Some are.
    """
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsError(
            f"{source} has NaN or infinite weights (in {_first(broken)}); it is damaged or its training "
            "diverged, so use another."
        )


def _difference(stored: Any, expected: Tensor) -> str | None:
    # Sparse, meta or quantised tensors can be in a pickle without breaking any rule of its format.
    if not isinstance(stored, Tensor) or stored.layout is not torch.strided or stored.device.type != "cpu":
        return "is not a plain tensor"
    if stored.shape != expected.shape:
        return f"has shape {tuple(stored.shape)} instead of {tuple(expected.shape)}"
    allowed = _STORED_FLOATS if expected.is_floating_point() else (expected.dtype,)
    return None if stored.dtype in allowed else f"is {stored.dtype} instead of {expected.dtype}"


def _first(items: list[str]) -> str:
    return "; ".join(items[:_SHOWN]) + ("; ..." if len(items) > _SHOWN else "")
