"""The dense engine: batches, precision, and what it does when memory runs out."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nansurfer.engine import ComputeOptions, DenseEngine
from nansurfer.errors import DeviceError
from nansurfer.models import build_model, load_config

CPU = ComputeOptions(device="cpu")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model(replace(load_config("vinn"), filters=4, interpolation_filters=3), "sagittal").eval()


@pytest.fixture(scope="module")
def slices():
    return np.random.default_rng(0).integers(0, 256, (3, 7, 256, 256), np.uint8)


class Limited(nn.Module):
    """Computes the mean of each slice; fails on batches above what its device can hold."""

    def __init__(self, capacity: int, error: Exception | None = None) -> None:
        super().__init__()
        self.capacity = capacity
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")
        self.batches: list[int] = []

    def forward(self, x: Tensor, scale: tuple[float, float]) -> Tensor:
        self.batches.append(len(x))
        if len(x) > self.capacity:
            raise self.error
        return x.mean(dim=(1, 2, 3), keepdim=True)


def engine_with(network: nn.Module, **options) -> DenseEngine:
    engine = DenseEngine(network, ComputeOptions(device="cpu", fold=False, **options))
    engine._network = network  # the engine's own is a copy
    return engine


def numbered(n: int) -> np.ndarray:
    return np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 7, 2, 2)).copy()


def assert_numbered(logits: Tensor) -> None:
    np.testing.assert_allclose(logits.flatten() * 255, np.arange(len(logits)), atol=1e-5)


def test_the_networks_own_logits(network, slices) -> None:
    engine = DenseEngine(network, replace(CPU, fold=False))
    with torch.inference_mode():
        expected = network(torch.from_numpy(slices[:1]).float() / 255, (1.0, 1.0))
    found = engine.logits(slices[:1], 1.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert torch.equal(found.argmax(1), expected.argmax(1))


def test_folding_changes_nothing_but_rounding(network, slices) -> None:
    plain, folded = (DenseEngine(network, replace(CPU, fold=fold)).logits(slices, 1.0) for fold in (False, True))
    torch.testing.assert_close(folded, plain, rtol=0, atol=1e-4)


def test_batches_change_nothing_but_rounding(network, slices) -> None:
    alone, together = (DenseEngine(network, replace(CPU, batch_size=n)).logits(slices, 1.0) for n in (1, 2))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_scale_reaches_the_network(network, slices) -> None:
    engine = DenseEngine(network, CPU)
    assert not torch.equal(engine.logits(slices[:1], 1.0), engine.logits(slices[:1], 1.25))


@pytest.mark.parametrize("fold", [True, False])
def test_the_network_is_not_changed(network, slices, fold) -> None:
    before = {name: (tensor.dtype, tensor.clone()) for name, tensor in network.state_dict().items()}
    DenseEngine(network, replace(CPU, fold=fold, precision="bfloat16")).logits(slices[:1], 1.0)
    for name, tensor in network.state_dict().items():
        assert tensor.dtype is before[name][0]
        assert torch.equal(tensor, before[name][1])


def test_bfloat16_is_close_and_comes_back_as_float32(network, slices) -> None:
    exact = DenseEngine(network, CPU).logits(slices[:1], 1.0)
    rough = DenseEngine(network, replace(CPU, precision="bfloat16")).logits(slices[:1], 1.0)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().mean() < 0.05 * exact.std()


def test_more_slices_than_a_batch() -> None:
    stub = Limited(capacity=2)
    assert_numbered(engine_with(stub, batch_size=2).logits(numbered(5), 1.0))
    assert stub.batches == [2, 2, 1]


@pytest.mark.parametrize("error", [None, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")])
def test_batches_shrink_until_they_fit(caplog, error) -> None:
    stub = Limited(capacity=1, error=error)
    engine = engine_with(stub, batch_size=4)
    with caplog.at_level(logging.WARNING, "nansurfer"):
        assert_numbered(engine.logits(numbered(5), 1.0))
    assert stub.batches == [4, 2, 1, 1, 1, 1, 1]
    assert engine.batch_size == 1
    assert [record.getMessage() for record in caplog.records] == [
        "The memory is exhausted; going on with --batch-size 2.",
        "The memory is exhausted; going on with --batch-size 1.",
    ]


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("float32", torch.float32), ("float16", torch.float16), ("bfloat16", torch.bfloat16)],
)
def test_precision(network, precision, dtype) -> None:
    engine = DenseEngine(network, replace(CPU, precision=precision))
    assert engine._dtype is dtype
    assert {value.dtype for value in engine._network.parameters()} == {dtype}


def test_the_cpu_takes_over_from_a_gpu(caplog) -> None:
    class TooSmall(Limited):
        def forward(self, x: Tensor, scale: tuple[float, float]) -> Tensor:
            self.capacity = 0 if engine.device == "meta" else 99
            return super().forward(x, scale)

        def to(self, *args, **kwargs):
            return self

    stub = TooSmall(capacity=0)
    engine = engine_with(stub)
    engine.device = "meta"  # stands for a GPU; the stub never computes there
    engine._run = lambda x, scale, head, wanted: stub(torch.from_numpy(x).float() / 255, scale)
    with caplog.at_level(logging.WARNING, "nansurfer"):
        assert_numbered(engine.logits(numbered(2), 1.0))
    assert engine.device == "cpu"
    assert stub.batches == [1, 1, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "The GPU's memory does not suffice for a single slice; going on with --device cpu."
    ]


def test_a_cpu_without_memory_is_an_error() -> None:
    with pytest.raises(DeviceError, match="does not suffice for a single slice"):
        engine_with(Limited(capacity=0)).logits(numbered(1), 1.0)


def test_an_operation_that_the_device_lacks_is_an_error() -> None:
    missing = NotImplementedError("aten::max_unpool2d is not implemented")
    with pytest.raises(DeviceError, match=r"no cpu version .*max_unpool2d.*; use --device cpu"):
        engine_with(Limited(capacity=0, error=missing)).logits(numbered(1), 1.0)


def test_bugs_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        engine_with(Limited(capacity=0, error=RuntimeError("shape mismatch"))).logits(numbered(1), 1.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_cpus_classes(network, slices) -> None:
    cpu, cuda = (DenseEngine(network, ComputeOptions(device=name)).logits(slices, 1.0) for name in ("cpu", "cuda"))
    assert cuda.device == "cuda"
    assert (cuda.argmax(1).cpu() == cpu.argmax(1)).float().mean() > 0.999
