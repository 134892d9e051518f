"""Policies check themselves."""

from __future__ import annotations

import pytest

from nansurfer.errors import ConfigError
from nansurfer.nn import NaNPolicy


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "bold"}, "mode is 'bold'"),
        ({"mode": "background", "threshold": 0.0}, "threshold"),
        ({"mode": "background", "threshold": 1.1}, "threshold"),
        ({"mode": "background", "fill": "noise"}, "fill"),
        ({"mode": "aggressive", "fill": "blank"}, "aggressive"),
        ({"mode": "background", "pool_margin": 1}, "pool margin is 1"),
        ({"mode": "background", "fill": "blank", "pool_margin": -1}, "margin of a pooling is -1"),
        ({"mode": "conservative", "fill": "blank"}, "conservative"),
        ({"mode": "aggressive", "max_ties": 0}, "max_ties"),
        ({"mode": "aggressive", "rtol": -1.0}, "tolerances"),
    ],
)
def test_senseless(arguments, words) -> None:
    with pytest.raises(ConfigError, match=words):
        NaNPolicy(**arguments)


@pytest.mark.parametrize(
    ("mode", "ties", "max_ties", "nan"),
    [
        ("aggressive", "nan", 2, "position"),
        ("conservative", "mark", 2, "position"),
        ("background", "nan", None, "window"),
    ],
)
def test_modes(mode, ties, max_ties, nan) -> None:
    policy = NaNPolicy(mode, max_ties=2)
    assert policy.pool_options["ties"] == ties
    assert policy.pool_options["max_ties"] == max_ties
    assert policy.unpool_options == {"nan": nan}
