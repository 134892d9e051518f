"""FastSurfer's checkpoints: untrusted to read, strict to match, loadable by FastSurfer when written."""

from __future__ import annotations

import pickle
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nansurfer.errors import WeightsError
from nansurfer.models import ModelConfig, Network, build_model, load_config
from nansurfer.weights import WeightSet, export_fastsurfer, load_network


class RunsCode:
    """Creates a file when it is unpickled with trust."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.victim,)


def same_state(one: Network, other: Network) -> bool:
    found, expected = one.state_dict(), other.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def load_axial(folder: Path) -> tuple[ModelConfig, Network]:
    """Network of the only file in ``folder``, without the search for its model that ``resolve`` makes."""
    (path,) = (path for path in folder.iterdir() if path.name.startswith("axial."))
    return load_network(WeightSet("test", "vinn-compact", folder, {"axial": path}), "axial")


@pytest.fixture
def state(networks: dict[str, Network]) -> dict[str, Any]:
    return dict(networks["axial"].state_dict())


def test_export_loads_strictly_as_fastsurfer_loads(networks: dict[str, Network], tmp_path: Path) -> None:
    export_fastsurfer(networks["axial"], tmp_path / "axial.pkl", epoch=40)
    checkpoint = torch.load(tmp_path / "axial.pkl", weights_only=False)  # with FastSurfer's full trust
    assert checkpoint["epoch"] == 40
    for key in ("model_state", "model_state_dict"):
        other = build_model(load_config("vinn-compact"), "axial")
        other.load_state_dict(checkpoint[key], strict=True)
        assert same_state(other, networks["axial"])


def test_export_stores_each_tensor_once(networks: dict[str, Network], tmp_path: Path) -> None:
    export_fastsurfer(networks["axial"], tmp_path / "axial.pkl")
    n_bytes = sum(tensor.nbytes for tensor in networks["axial"].state_dict().values())
    assert (tmp_path / "axial.pkl").stat().st_size < 1.3 * n_bytes


@pytest.mark.parametrize("best_metric", [np.float64(0.86), np.float32(0.86), np.int64(3), 0.86, None])
@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_scalars_in_a_checkpoint_are_accepted(
    best_metric: object, zipped: bool, state: dict[str, Any], tmp_path: Path
) -> None:
    content = {
        "model_state": state,
        "optimizer_state": {"state": {0: {"step": 5}}, "param_groups": [{"lr": 0.01, "params": [0]}]},
        "epoch": 7,
        "best_metric": best_metric,
        "config": "MODEL:\n  NUM_FILTERS: 24\n",
        "scheduler_state": {"base_lrs": [0.01], "T_cur": np.float64(1.5)},
    }
    torch.save(content, tmp_path / "axial.pkl", _use_new_zipfile_serialization=zipped)
    load_axial(tmp_path)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numpy_scalars_of_both_numpy_generations(
    module: str, state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scalar() -> None:
        pass

    class Metric:
        def __reduce__(self) -> tuple[Any, ...]:
            return scalar, (np.dtype("float64"), b"12345678")

    scalar.__module__, scalar.__qualname__ = module, "scalar"
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(scalar=scalar))
    torch.save({"model_state": state, "best_metric": Metric()}, tmp_path / "axial.pkl")
    monkeypatch.undo()
    load_axial(tmp_path)


@pytest.mark.parametrize("place", ["model_state", "best_metric", "config"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_that_would_run_code_is_refused(place: str, zipped: bool, state: dict[str, Any], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    content = {"model_state": state, "best_metric": 0.5, "config": "", place: RunsCode(victim)}
    torch.save(content, tmp_path / "axial.pkl", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"refers to \S+; refused because loading it would run code"):
        load_axial(tmp_path)
    assert not victim.exists()

    torch.load(tmp_path / "axial.pkl", weights_only=False)
    assert victim.exists(), "the pickle is harmless, so this test shows nothing"


def test_plain_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "axial.pkl").write_bytes(pickle.dumps(RunsCode(tmp_path / "victim")))
    with pytest.raises(WeightsError, match=r"axial\.pkl"):
        load_axial(tmp_path)
    assert not (tmp_path / "victim").exists()


def test_prefix_of_parallel_training_is_tolerated(state: dict[str, Any], tmp_path: Path) -> None:
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"model_state_dict": prefixed}, tmp_path / "axial.pth")
    load_axial(tmp_path)


def rename(state: dict[str, Any]) -> None:
    state["encode1.conv9.weight"] = state.pop("encode1.conv0.weight")


def reshape(state: dict[str, Any]) -> None:
    state["classifier.conv.bias"] = torch.zeros(51)


def make_text(state: dict[str, Any]) -> None:
    state["classifier.conv.bias"] = "text"


def make_integer(state: dict[str, Any]) -> None:
    state["classifier.conv.bias"] = torch.zeros(79, dtype=torch.int64)


def make_sparse(state: dict[str, Any]) -> None:
    state["classifier.conv.bias"] = torch.zeros(79).to_sparse()


def make_counter_floating(state: dict[str, Any]) -> None:
    state["encode1.bn1.num_batches_tracked"] = torch.tensor(1.0)


def make_nan(state: dict[str, Any]) -> None:
    state["classifier.conv.bias"] = torch.full((79,), torch.nan)


def overflow(state: dict[str, Any]) -> None:
    state["classifier.conv.bias"] = torch.full((79,), 1e300, dtype=torch.float64)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            rename,
            "2 tensors differ from the 331 expected "
            r"\(encode1.conv0.weight is missing; encode1.conv9.weight is unknown\)",
        ),
        (reshape, r"1 tensors .*\(classifier.conv.bias has shape \(51,\) instead of \(79,\)\)"),
        (make_text, "classifier.conv.bias is not a plain tensor"),
        (make_sparse, "classifier.conv.bias is not a plain tensor"),
        (make_integer, "classifier.conv.bias is int64 instead of float32"),
        (make_counter_floating, "num_batches_tracked is float32 instead of int64"),
        (make_nan, r"NaN or infinite weights \(in classifier.conv.bias\)"),
        (overflow, r"NaN or infinite weights \(in classifier.conv.bias\)"),
        (dict.clear, r"331 tensors differ from the 331 expected \(.* is missing; .*; \.\.\.\)"),
    ],
)
def test_tensors_that_do_not_fit(
    spoil: Callable[[dict[str, Any]], None], message: str, state: dict[str, Any], tmp_path: Path
) -> None:
    spoil(state)
    torch.save({"model_state": state}, tmp_path / "axial.pkl")
    with pytest.raises(WeightsError, match=message):
        load_axial(tmp_path)


@pytest.mark.parametrize("content", [{"epoch": 1}, {"model_state": 1}, [1], 1])
def test_content_that_is_no_checkpoint(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "axial.pkl")
    with pytest.raises(WeightsError, match="holds no 'model_state'"):
        load_axial(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 no zip", b"\x80\x02}"])
def test_file_that_is_no_pickle(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "axial.pkl").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        load_axial(tmp_path)


def test_truncated_checkpoint(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(checkpoints["axial"], tmp_path / "axial.pkl"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        load_axial(tmp_path)
