"""What a network looks like, as frozen dataclasses built once from the YAML files in ``configs/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from nansurfer.errors import ConfigError
from nansurfer.volume import VIEWS, View

ARCHITECTURES = ("FastSurferVINN", "FastSurferCNN")
_PACKAGE = Path(__file__).resolve().parents[1]
_T = TypeVar("_T")


@dataclass(frozen=True)
class ViewConfig:
    """One view of a model.

    Parameters
    ----------
    classes
        Number of output classes.
    weight
        Factor on this view's logits when the views are added.
    """

    classes: int
    weight: float


@dataclass(frozen=True)
class ModelConfig:
    """Hyperparameters of one network and its views.

    Parameters
    ----------
    name
        Name of the configuration, as in ``configs/NAME.yaml``.
    architecture
        ``"FastSurferVINN"`` or ``"FastSurferCNN"``.
    filters
        Channels of the encoder, bottleneck and decoder.
    interpolation_filters
        Channels of the full-resolution blocks before and after the interpolation; None for FastSurferCNN.
    kernel_size
        Side of the square convolution kernels (odd).
    slices
        Neighbouring slices that form the input channels (odd).
    base_size
        Side of the square that the inner network works on, in pixels of 1 mm.
    views
        View name to its configuration, in the order in which the views' logits are added.
    """

    name: str
    architecture: str
    filters: int
    interpolation_filters: int | None
    kernel_size: int
    slices: int
    base_size: int
    views: Mapping[View, ViewConfig]

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ConfigError(f"Unknown architecture '{self.architecture}'; choose one of {ARCHITECTURES}.")
        if (self.architecture == "FastSurferVINN") != (self.interpolation_filters is not None):
            raise ConfigError(
                f"interpolation_filters is {self.interpolation_filters} for {self.architecture}; "
                "FastSurferVINN needs a number, FastSurferCNN null."
            )
        for key in ("kernel_size", "slices"):
            if getattr(self, key) % 2 == 0:
                raise ConfigError(f"{key} is {getattr(self, key)} in model '{self.name}'; it must be odd.")
        unknown = set(self.views) - set(VIEWS)
        if unknown or not self.views:
            raise ConfigError(f"Model '{self.name}' has views {sorted(self.views)}; known are {VIEWS}.")


def config_dir() -> Path:
    """Folder of the YAML files: inside the installed package, or beside it in a checkout."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def load_config(name: str) -> ModelConfig:
    """Configuration ``configs/NAME.yaml`` as a frozen dataclass.

    Raises
    ------
    ConfigError
        No such configuration, or a key that is missing or unknown.
    """
    path = config_dir() / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in config_dir().glob("*.yaml")))
        raise ConfigError(f"There is no model configuration '{name}'; known are {known}.")
    return config_from_dict(yaml.safe_load(path.read_text(encoding="utf-8")), source=path.name)


def config_from_dict(content: Any, source: str) -> ModelConfig:
    """A model configuration from parsed YAML; ``source`` names it in errors.

    Raises
    ------
    ConfigError
        A key is missing or unknown.
    """
    content = dict(_mapping(content, source))
    views = _mapping(content.get("views"), f"{source}: views")
    content["views"] = {view: _build(ViewConfig, values, f"{source}: {view}") for view, values in views.items()}
    return _build(ModelConfig, content, source)


def _mapping(content: Any, source: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise ConfigError(f"{source} should hold keys and values, but holds {type(content).__name__}.")
    return content


def _build(cls: type[_T], content: Any, source: str) -> _T:
    """An instance of the dataclass ``cls`` from exactly its keys."""
    content = _mapping(content, source)
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    required = {field.name for field in fields(cls) if field.default is MISSING}  # type: ignore[arg-type]
    for problem, keys in (("unknown", set(content) - known), ("missing", required - set(content))):
        if keys:
            raise ConfigError(f"{source} has {problem} keys: {', '.join(sorted(keys))}.")
    return cls(**content)
