"""nansurfer's own safetensors files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from nansurfer.errors import WeightsError
from nansurfer.models import Network
from nansurfer.weights import load_network, resolve, save_network


def test_metadata_says_what_the_file_is(networks: dict[str, Network], tmp_path: Path) -> None:
    path = tmp_path / "axial.safetensors"
    save_network(networks["axial"], path, model="vinn-compact", view="axial", metadata={"commit": "0123abc"})
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {
            "format": "nansurfer-weights-1",
            "model": "vinn-compact",
            "view": "axial",
            "commit": "0123abc",
        }


def test_float16_round_trip(networks: dict[str, Network], tmp_path: Path) -> None:
    path = tmp_path / "axial.safetensors"
    save_network(networks["axial"], path, model="vinn-compact", view="axial", dtype=np.float16)
    _, loaded = load_network(resolve(tmp_path, views=["axial"]), "axial")
    for name, expected in networks["axial"].state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected.half().float() if expected.is_floating_point() else expected)
    assert int(loaded.get_buffer("encode1.bn1.num_batches_tracked")) == 70_000


def test_bfloat16_is_read(networks: dict[str, Network], tmp_path: Path) -> None:
    state = networks["axial"].state_dict()
    stored = {name: value.bfloat16() if value.is_floating_point() else value for name, value in state.items()}
    metadata = {"format": "nansurfer-weights-1", "model": "vinn-compact", "view": "axial"}
    save_file({name: value.contiguous() for name, value in stored.items()}, tmp_path / "axial.safetensors", metadata)
    _, loaded = load_network(resolve(tmp_path, views=["axial"]), "axial")
    assert all(torch.equal(loaded.state_dict()[name], value.to(state[name].dtype)) for name, value in stored.items())


def test_float16_is_half_the_size(networks: dict[str, Network], tmp_path: Path) -> None:
    sizes = []
    for dtype in (np.float32, np.float16):
        path = tmp_path / f"{dtype.__name__}.safetensors"
        save_network(networks["axial"], path, model="vinn-compact", view="axial", dtype=dtype)
        sizes.append(path.stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]


def test_weights_that_overflow_float16_are_not_written(
    networks: dict[str, Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(networks["axial"].encode1.bn1._buffers, "running_var", torch.full((24,), 1e6))
    with pytest.raises(WeightsError, match=r"float16 has NaN or infinite weights \(in encode1.bn1.running_var\)"):
        save_network(
            networks["axial"],
            tmp_path / "a.safetensors",
            model="vinn-compact",
            view="axial",
            dtype=np.float16,
        )
    assert list(tmp_path.iterdir()) == []


def test_network_of_another_view_is_not_written(networks: dict[str, Network], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"classifier.conv.weight has shape \(79, .* instead of \(51, "):
        save_network(networks["axial"], tmp_path / "a.safetensors", model="vinn-compact", view="sagittal")


def test_safetensors_that_are_not_ours(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "axial.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="has format 'pt', expected 'nansurfer-weights-1'"):
        resolve(tmp_path, views=["axial"])


def test_truncated_safetensors(bundle: Path) -> None:
    path = bundle / "axial.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load_network(resolve(bundle), "axial")
