"""The reference engine: NaN where nothing was computed, and counts of it."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from nansurfer.engine import ComputeOptions, DenseEngine, ReferenceEngine
from nansurfer.errors import DeviceError
from nansurfer.models import build_model, load_config
from nansurfer.nn import NaNPolicy

CPU = ComputeOptions(device="cpu")
SIZE = 64


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model(replace(load_config("vinn"), filters=4, interpolation_filters=3, base_size=SIZE), "axial").eval()


@pytest.fixture(scope="module")
def head():
    mask = np.zeros((2, SIZE, SIZE), bool)
    mask[0, 16:40, 20:44] = True
    mask[1, 8:40, 20:50] = True
    return mask


@pytest.fixture(scope="module")
def slices(head):
    noise = np.random.default_rng(0).integers(1, 256, (2, 7, SIZE, SIZE), np.uint8)
    return noise * head[:, None].astype(np.uint8)


def test_without_nan_it_is_the_dense_engine(network, slices):
    dense = DenseEngine(network, CPU)
    engine = ReferenceEngine(network, CPU, NaNPolicy("background", 1.0, "blank"))
    everywhere = np.ones_like(slices[:, 0], bool)
    torch.testing.assert_close(engine.logits(slices, 1.0, everywhere), dense.logits(slices, 1.0), rtol=0, atol=1e-4)
    assert engine.take_counts().skipped.sum() == 0


def test_the_background_is_nan_and_the_head_is_not(network, slices, head):
    engine = ReferenceEngine(network, CPU, NaNPolicy("background", 1.0, "blank"))
    logits = engine.logits(slices, 1.0, head)
    assert not logits[:, :, torch.from_numpy(head[0] & head[1])].isnan().any()
    assert logits[0, :, :8].isnan().all()
    empty = engine.logits(np.zeros_like(slices), 1.0, np.zeros_like(head))
    assert empty.isnan().all()


def test_what_is_not_wanted_is_seen_but_not_decoded(network, slices, head):
    engine = ReferenceEngine(network, CPU, NaNPolicy("background", 0.5, "blank"))
    everywhere = np.ones_like(head)
    whole = engine.logits(slices, 1.0, everywhere)
    counted = engine.take_counts()
    left = everywhere.copy()
    left[:, :, 40:] = False
    half = engine.logits(slices, 1.0, everywhere, left)
    counts = engine.take_counts()
    assert half[..., 56:].isnan().all()
    torch.testing.assert_close(half[..., :24], whole[..., :24], rtol=0, atol=1e-5)  # two blocks see no farther
    assert not torch.allclose(half[..., 32:36], whole[..., 32:36], atol=1e-3)
    skipped = dict(zip(counts.layers, (counts.skipped - counted.skipped).sum(axis=1).tolist(), strict=True))
    assert {name.partition(".")[0] for name, more in skipped.items() if more} == {
        "decode1",
        "outp_block",
        "classifier",
    }
    torch.testing.assert_close(engine.logits(slices, 1.0, everywhere), whole, rtol=0, atol=0)  # nothing stays behind


@pytest.mark.parametrize("batch_size", [1, 2])
def test_counts_are_those_of_each_slice(network, slices, head, batch_size):
    policy = NaNPolicy("background", 1.0, "blank")
    engine = ReferenceEngine(network, replace(CPU, batch_size=batch_size), policy)
    engine.logits(slices, 1.0, head)
    counts = engine.take_counts()
    n_layers = len(counts.layers)
    assert counts.layers[0] == "inp_block.conv0"
    assert counts.layers[-1] == "classifier.conv"
    assert counts.skipped.shape == counts.mixed.shape == (n_layers, 2)
    assert counts.computed.all()
    # The first convolution skips the windows of 3x3 that do not meet the head.
    assert counts.windows[0] == SIZE**2
    assert counts.skipped[0].tolist() == [SIZE**2 - 26 * 26, SIZE**2 - 34 * 32]
    assert counts.macs_per_window[0] == 7 * 9 * 3
    assert counts.tiles.shape == (2, 4, 4)
    macs = counts.macs_per_window * counts.windows
    share = (counts.skipped * counts.macs_per_window[:, None]).sum(0) / macs.sum()
    np.testing.assert_allclose(counts.tiles.mean((1, 2)), share, atol=1e-6)
    assert counts.counting_s > 0


def test_counts_start_anew_and_can_be_off(network, slices, head):
    policy = NaNPolicy("background", 1.0, "blank")
    engine = ReferenceEngine(network, CPU, policy)
    for part in (slice(0, 1), slice(1, 2)):
        engine.logits(slices[part], 1.0, head[part])
        assert engine.take_counts().skipped.shape[1] == 1
    silent = ReferenceEngine(network, CPU, policy, counting=False)
    assert torch.equal(silent.logits(slices, 1.0, head).isnan(), engine.logits(slices, 1.0, head).isnan())


def test_a_batch_that_failed_is_not_counted(network, slices, head, monkeypatch):
    engine = ReferenceEngine(network, replace(CPU, batch_size=2), NaNPolicy("background", 1.0, "blank"))
    classifier = engine._network.classifier.forward

    def fail_on_two(x):
        if len(x) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return classifier(x)

    monkeypatch.setattr(engine._network.classifier, "forward", fail_on_two)
    engine.logits(slices, 1.0, head)
    assert engine.take_counts().skipped.shape[1] == 2


@pytest.mark.parametrize("mode", ["aggressive", "conservative"])
def test_the_papers_modes_need_no_head(network, slices, mode):
    engine = ReferenceEngine(network, CPU, NaNPolicy(mode))
    assert engine.logits(slices, 1.0).shape == (2, 79, SIZE, SIZE)
    counts = engine.take_counts()
    skipped = dict(zip(counts.layers, counts.skipped.sum(1), strict=True))
    assert skipped["encode1.conv1"] == 0
    assert skipped["encode2.conv1" if mode == "aggressive" else "decode1.conv1"] > 0


@pytest.mark.parametrize("policy", [NaNPolicy("background", 1.0, "blank"), NaNPolicy("aggressive", 1.0)])
@pytest.mark.parametrize(("parameter", "value"), [("encode1.conv0.weight", 1e6), ("encode1.conv0.bias", 6e4)])
def test_numbers_too_large_for_float16_are_told_and_not_taken_for_skipped(network, slices, policy, parameter, value):
    large, half = copy.deepcopy(network), replace(CPU, precision="float16")
    with torch.no_grad():
        large.get_parameter(parameter).fill_(value)
    head = np.ones_like(slices[:, 0], bool)
    ReferenceEngine(network, half, policy).logits(slices, 1.0, head)
    with pytest.raises(DeviceError, match="too large for float16; use --precision float32"):
        ReferenceEngine(large, half, policy).logits(slices, 1.0, head)


def test_the_dense_engine_skips_nothing(network, slices):
    engine = DenseEngine(network, CPU)
    engine.logits(slices, 1.0)
    counts = engine.take_counts()
    assert counts.skipped.shape == (len(counts.layers), 2)
    assert counts.skipped.sum() == counts.mixed.sum() == counts.tiles.sum() == 0
    other = ReferenceEngine(network, CPU, NaNPolicy("conservative"))
    other.logits(slices[:1], 1.0)
    assert counts.layers == other.take_counts().layers
