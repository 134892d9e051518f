"""Devices, threads and precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nansurfer.engine import (
    ComputeOptions,
    available_cpus,
    default_threads,
    device,
    is_out_of_memory,
    resolve_device,
)
from nansurfer.engine.pytorch import one_thread
from nansurfer.errors import ConfigError, DeviceError


@pytest.fixture
def accelerators(monkeypatch: pytest.MonkeyPatch):
    """Pretend that CUDA and MPS are there or not."""

    def pretend(*, cuda: bool, mps: bool) -> None:
        monkeypatch.setattr(device, "_gpu_is_possible", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("name", "cuda", "mps", "expected"),
    [
        ("cpu", True, True, "cpu"),
        ("cuda", True, False, "cuda"),
        ("mps", False, True, "mps"),
        ("auto", True, True, "cuda"),
        ("auto", False, True, "cpu"),  # Apple's GPU lacks operations, so only on request
        ("auto", False, False, "cpu"),
    ],
)
def test_resolve_device(accelerators, name, cuda, mps, expected) -> None:
    accelerators(cuda=cuda, mps=mps)
    assert resolve_device(name) == expected


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_an_absent_device_is_an_error(accelerators, name) -> None:
    accelerators(cuda=False, mps=False)
    with pytest.raises(DeviceError, match=f"Device '{name}' was asked for, but .* finds none; use --device cpu"):
        resolve_device(name)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"device": "gpu"}, "device is 'gpu'; choose one of auto, cpu, cuda, mps"),
        ({"precision": "int8"}, "precision is 'int8'; choose one of auto, float32, float16, bfloat16"),
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"batch_size": -1}, "batch_size is -1; it must be at least 1"),
    ],
)
def test_senseless_choices(choice, message) -> None:
    with pytest.raises(ConfigError, match=message):
        ComputeOptions(**choice)


@pytest.mark.parametrize(
    ("affinity", "limit", "expected"),
    [
        (8, "max 100000\n", 8),
        (8, "400000 100000\n", 4),
        (8, "150000 100000\n", 2),
        (8, "50000 100000\n", 1),
        (2, "400000 100000\n", 2),
        (8, None, 8),
    ],
)
def test_available_cpus(monkeypatch, tmp_path: Path, affinity, limit, expected) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(affinity)), raising=False)
    monkeypatch.setattr(device, "_CGROUP_LIMIT", tmp_path / "cpu.max")
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    assert available_cpus() == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [(None, 8), ("1", 1), (" 4 ", 4), ("4,2", 4), ("8", 8), ("64", 8), ("", 8), ("0", 8), ("-1", 8), ("all", 8)],
)
def test_threads_keep_to_what_the_environment_says(monkeypatch, told, expected) -> None:
    monkeypatch.setattr(device, "available_cpus", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert default_threads() == expected
    assert default_threads(2) == min(2, expected)


@pytest.mark.parametrize(
    ("platform", "driver", "expected"), [("linux", False, 0), ("linux", True, 3), ("darwin", True, 0)]
)
def test_pytorch_is_asked_for_gpus_where_there_is_a_driver(
    accelerators, monkeypatch, tmp_path, platform, driver, expected
) -> None:
    asked = device._gpu_is_possible
    accelerators(cuda=True, mps=False)
    monkeypatch.setattr(device, "_gpu_is_possible", asked)
    monkeypatch.setattr(device, "_GPU_FILES", (tmp_path if driver else tmp_path / "none",))
    monkeypatch.setattr(device.sys, "platform", platform)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert device.gpu_count() == expected
    assert resolve_device("auto") == ("cuda" if expected else "cpu")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("any text"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_is_out_of_memory(error, expected) -> None:
    assert is_out_of_memory(error) is expected


def test_pytorch_on_a_cpu_out_of_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 58, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_one_thread_for_a_while() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
