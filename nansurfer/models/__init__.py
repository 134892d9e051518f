"""FastSurfer's networks and their configurations."""

from nansurfer.models.config import ModelConfig, ViewConfig, config_from_dict, load_config
from nansurfer.models.networks import FastSurferCNN, FastSurferVINN, Network, build_model

__all__ = [
    "FastSurferCNN",
    "FastSurferVINN",
    "ModelConfig",
    "Network",
    "ViewConfig",
    "build_model",
    "config_from_dict",
    "load_config",
]
