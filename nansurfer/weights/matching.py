"""Do these arrays belong to that network?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nansurfer.errors import WeightsError
from nansurfer.models import ModelConfig, expected_shapes, load_config
from nansurfer.models.config import config_dir
from nansurfer.models.state import COUNTER, Arrays, Shape
from nansurfer.volume import View

_STORED_FLOATS = ("float16", "float32", "float64")
_SHOWN = 3


def matched(arrays: Mapping[str, Any], config: ModelConfig, view: View, source: Path | str) -> Arrays:
    """The arrays in float32, but for counters, if they are those of a network.

    Parameters
    ----------
    arrays
        Name to array; floats may be float16, float32 or float64.
    config, view
        The network.
    source
        What errors call the origin of the arrays.

    Raises
    ------
    WeightsError
        A name, shape or dtype differs, or a value is not finite in float32.
    """
    if problems := mismatches(arrays, config, view):
        raise WeightsError(
            f"{source} does not fit the network: {len(problems)} tensors differ from the "
            f"{len(expected_shapes(config, view))} expected ({_first(problems)}); use weights of this model and view."
        )
    found = in_precision(arrays, np.float32)
    check_finite(found, source)
    return found


def mismatches(arrays: Mapping[str, Any], config: ModelConfig, view: View) -> list[str]:
    """What differs between arrays and those of a network, a phrase for each."""
    expected = expected_shapes(config, view)
    problems = [f"{name} is missing" for name in expected if name not in arrays]
    problems += [f"{name} is unknown" for name in arrays if name not in expected]
    for name, shape in expected.items():
        if name in arrays and (difference := _difference(name, arrays[name], shape)):
            problems.append(f"{name} {difference}")
    return problems


def closest_model(arrays: Mapping[str, Any], view: View) -> str:
    """Name of the known model configuration whose names and shapes differ least from ``arrays``."""
    names = sorted(path.stem for path in config_dir().glob("*.yaml"))
    return min(names, key=lambda name: len(mismatches(arrays, load_config(name), view)))


def in_precision(arrays: Arrays, dtype: npt.DTypeLike) -> dict[str, npt.NDArray[Any]]:
    """The arrays with floats of another type, infinite where that cannot hold them; counters as they are."""
    with np.errstate(over="ignore"):
        return {
            name: array if name.endswith(COUNTER) else np.ascontiguousarray(array, dtype)
            for name, array in arrays.items()
        }


def check_finite(arrays: Arrays, source: Path | str) -> None:
    """Check that no value is NaN or infinite.

    Raises
    ------
    WeightsError
        Some are.
    """
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise WeightsError(
            f"{source} has NaN or infinite weights (in {_first(broken)}); it is damaged or its training "
            "diverged, so use another."
        )


def _difference(name: str, stored: Any, shape: Shape) -> str | None:
    if not isinstance(stored, np.ndarray):
        return "is not a plain tensor"
    if stored.shape != shape:
        return f"has shape {stored.shape} instead of {shape}"
    allowed, wanted = (("int64",), "int64") if name.endswith(COUNTER) else (_STORED_FLOATS, "float32")
    return None if stored.dtype.name in allowed else f"is {stored.dtype} instead of {wanted}"


def _first(items: list[str]) -> str:
    return "; ".join(items[:_SHOWN]) + ("; ..." if len(items) > _SHOWN else "")
