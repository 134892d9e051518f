"""The registry: what is known by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from nansurfer.errors import WeightsError
from nansurfer.models import load_config
from nansurfer.volume import VIEWS
from nansurfer.weights import cache_dir, known_set, known_sets


def test_official_set_is_fastsurfers() -> None:
    official = known_set("official")
    sizes = {view: file.n_bytes for view, file in official.files.items()}
    assert sizes == {"coronal": 22_399_783, "sagittal": 22_375_598, "axial": 22_399_769}
    assert official.files["axial"].name == "aparc_vinn_axial_v2.0.0.pkl"
    assert [address.split("/")[2] for address in official.addresses] == [
        "zenodo.org",
        "b2share.fz-juelich.de",
    ]


def test_compact_set_comes_with_the_package() -> None:
    compact = known_set("compact")
    assert compact.bundled
    assert compact.path("axial").parts[-4:] == ("nansurfer", "weights", "compact", "axial.safetensors")


@pytest.mark.parametrize("name", known_sets())
def test_every_set_has_a_model_with_its_views(name: str) -> None:
    known = known_set(name)
    assert set(known.files) == set(load_config(known.model).views) == set(VIEWS)
    assert known.bundled or all(file.n_bytes for file in known.files.values())


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(WeightsError, match=r"no weights named 'offical'; known are compact, official"):
        known_set("offical")


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANSURFER_WEIGHTS", "/data/weights")
    assert known_set("official").folder == Path("/data/weights/official")
    monkeypatch.delenv("NANSURFER_WEIGHTS")
    assert cache_dir().parts[-2:] == ("nansurfer", "weights")
