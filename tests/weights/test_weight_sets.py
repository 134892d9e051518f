"""Finding sets of weights and loading networks from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nansurfer.errors import WeightsError
from nansurfer.models import Network, build_model, load_config
from nansurfer.volume import VIEWS
from nansurfer.weights import (
    export_fastsurfer,
    load_network,
    record_checksum,
    registry,
    resolve,
    save_network,
    verify,
)


def assert_same_state(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_folder_of_safetensors(bundle: Path, networks: dict[str, Network]) -> None:
    weight_set = resolve(bundle)
    assert (weight_set.name, weight_set.model, tuple(weight_set.files)) == (
        "bundle",
        "vinn-compact",
        VIEWS,
    )
    for view in VIEWS:
        config, network = load_network(weight_set, view)
        assert config == load_config("vinn-compact")
        assert not network.training
        assert_same_state(network.state_dict(), networks[view].state_dict())


def test_folder_of_checkpoints(checkpoints: dict[str, Path], networks: dict[str, Network]) -> None:
    weight_set = resolve(checkpoints["axial"].parent)
    assert weight_set.model == "vinn-compact"
    assert_same_state(load_network(weight_set, "sagittal")[1].state_dict(), networks["sagittal"].state_dict())


@pytest.mark.parametrize("model", ["cnn", "vinn"])
def test_model_of_checkpoints_is_found_from_their_shapes(model: str, tmp_path: Path) -> None:
    export_fastsurfer(build_model(load_config(model), "axial"), tmp_path / "Axial_Weights.pkl")
    weight_set = resolve(tmp_path, views=["axial"])
    assert weight_set.model == model
    assert load_network(weight_set, "axial")[0].name == model


def test_loading_leaves_random_numbers_alone(bundle: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    load_network(resolve(bundle), "axial")
    assert torch.equal(before, torch.get_rng_state())


def test_only_the_needed_views_must_be_there(bundle: Path) -> None:
    (bundle / "sagittal.safetensors").unlink()
    assert list(resolve(bundle, views=["axial"]).files) == ["axial"]
    with pytest.raises(WeightsError, match="one file of weights for the sagittal view, but there is none"):
        resolve(bundle)


def test_two_files_for_a_view_are_ambiguous(bundle: Path) -> None:
    shutil.copy(bundle / "axial.safetensors", bundle / "old-axial.safetensors")
    with pytest.raises(WeightsError, match=r"there is axial.safetensors, old-axial.safetensors"):
        resolve(bundle)


def test_unfinished_and_foreign_files_do_not_count(bundle: Path) -> None:
    (bundle / ".tmp-1-axial.safetensors").touch()
    (bundle / "axial.txt").touch()
    assert resolve(bundle).files["axial"] == bundle / "axial.safetensors"


def test_neither_name_nor_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"neither a known set of weights .*official.* nor a folder"):
        resolve(tmp_path / "absent")


def test_official_set_is_not_downloaded_unasked(publish: Callable[..., Path]) -> None:
    publish("http://127.0.0.1:9/nobody-may-ask")
    with pytest.raises(WeightsError, match="run `nansurfer weights download official`"):
        resolve("official")


def test_bundled_set_that_was_tampered_with(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle.rename(bundle.parent / "compact")
    monkeypatch.setattr(registry, "BUNDLED_FOLDER", bundle.parent)
    weight_set = resolve("compact")
    checksums = {view: record_checksum(path) for view, path in weight_set.files.items()}
    assert verify(weight_set) == checksums == weight_set.checksums()

    path = weight_set.files["coronal"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # still a finite number in a well-formed file
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or was changed"):
        load_network(weight_set, "coronal")
    with pytest.raises(WeightsError, match="damaged or was changed"):
        verify(weight_set)
    load_network(weight_set, "axial")


def test_bundled_set_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BUNDLED_FOLDER", tmp_path)
    with pytest.raises(WeightsError, match="reinstall"):
        resolve("compact")


@pytest.mark.parametrize("content", ["no json", "[]"])
def test_broken_record_of_checksums(content: str, bundle: Path) -> None:
    (bundle / "checksums.json").write_text(content)
    with pytest.raises(WeightsError, match=r"checksums.json .*remove it"):
        load_network(resolve(bundle), "axial")


def test_files_of_two_models_in_one_folder(bundle: Path) -> None:
    path = bundle / "sagittal.safetensors"
    save_network(build_model(load_config("vinn"), "sagittal"), path, model="vinn", view="sagittal")
    with pytest.raises(WeightsError, match=r"is of model 'vinn', view 'sagittal', but model 'vinn-compact'"):
        load_network(resolve(bundle), "sagittal")


def test_file_of_another_view(bundle: Path) -> None:
    shutil.copy(bundle / "coronal.safetensors", bundle / "axial.safetensors")
    with pytest.raises(WeightsError, match=r"view 'coronal', but .* view 'axial' is needed"):
        load_network(resolve(bundle), "axial")
