"""FastSurfer's networks and their configurations."""

from typing import TYPE_CHECKING

from nansurfer.lazy import on_demand
from nansurfer.models.config import ModelConfig, ViewConfig, config_from_dict, load_config
from nansurfer.models.state import NetworkState, expected_shapes

if TYPE_CHECKING:
    from nansurfer.models.networks import FastSurferCNN, FastSurferVINN, Network, build_model, network_with

__all__ = [
    "FastSurferCNN",
    "FastSurferVINN",
    "ModelConfig",
    "Network",
    "NetworkState",
    "ViewConfig",
    "build_model",
    "config_from_dict",
    "expected_shapes",
    "load_config",
    "network_with",
]

__getattr__ = on_demand(__name__, {"networks": "FastSurferCNN FastSurferVINN Network build_model network_with"})
