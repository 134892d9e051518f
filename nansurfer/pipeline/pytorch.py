"""The engines that compute by PyTorch; whoever does without them does without loading it."""

from __future__ import annotations

from collections.abc import Mapping

from nansurfer.engine import ComputeOptions, DenseEngine, Engine, MaskedEngine, ReferenceEngine
from nansurfer.engine.pytorch import one_thread, set_up
from nansurfer.models import ModelConfig, Network, NetworkState, network_with
from nansurfer.nn import NaNPolicy
from nansurfer.volume import View


def build_engines(
    name: str,
    networks: Mapping[View, tuple[ModelConfig, NetworkState]],
    compute: ComputeOptions,
    policy: NaNPolicy,
    *,
    counting: bool,
) -> Mapping[View, Engine]:
    """The views' networks in the masked or the reference engine, which is the dense one where nothing is skipped."""
    set_up(compute.threads or 1)

    def build(network: Network) -> Engine:
        if name == "masked":
            return MaskedEngine(network, compute, policy, counting=counting)
        if policy.mode == "off":
            return DenseEngine(network, compute)
        return ReferenceEngine(network, compute, policy, counting=counting)

    with one_thread():
        return {view: build(network_with(config, view, state.arrays)) for view, (config, state) in networks.items()}
