"""Which engine computes with which policy."""

from __future__ import annotations

from nansurfer.errors import ConfigError
from nansurfer.nn import NaNPolicy


def check_fast_policy(policy: NaNPolicy) -> None:
    """Raise a ConfigError unless the fast engine serves a policy."""
    if policy.mode != "off" and (policy.mode, policy.fill) != ("background", "blank"):
        raise ConfigError(
            f'The fast engine serves the NaN mode "background" with fill "blank", not "{policy.mode}" with '
            f'"{policy.fill}"; use --engine auto.'
        )


def masked_serves(policy: NaNPolicy) -> bool:
    """Whether the masked engine can compute with a policy."""
    return policy.mode == "background"


def check_masked_policy(policy: NaNPolicy) -> None:
    """Raise a ConfigError unless the masked engine serves a policy."""
    if not masked_serves(policy):
        raise ConfigError(
            f'The masked engine serves the NaN mode "background", not "{policy.mode}"; use --engine auto.'
        )
