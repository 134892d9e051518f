"""The masked engine against the reference engine: the same to the last bit where nothing is rounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_cases import (
    CPU,
    POLICY,
    SIZE,
    THRESHOLDS,
    assert_same_counts,
    assert_the_reference,
    exact_network,
    exact_slices,
    random_heads,
    random_slices,
    real_slices,
    shallow_network,
    small_network,
    smaller_voxels,
)

from nansurfer.engine import DenseEngine, LogitSum, MaskedEngine, ReferenceEngine, masked_serves
from nansurfer.engine.crop import Crop, crops_around
from nansurfer.errors import ConfigError, DeviceError
from nansurfer.nn import NaNPolicy
from nansurfer.weights import load_network, resolve

TOGETHER = replace(CPU, batch_size=4)


@pytest.fixture(scope="module")
def vinn():
    return exact_network("vinn", filters=11, interpolation_filters=5)


@THRESHOLDS
def test_as_the_reference(vinn, policy) -> None:
    assert_the_reference(MaskedEngine(vinn, TOGETHER, policy), vinn, policy, exact_slices(6), random_heads(6))


@pytest.mark.parametrize("threshold", [0.5, 1.0])
@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_other_fills_as_the_reference(threshold, count_include_pad, fill) -> None:
    network = shallow_network()  # means are rounded
    policy = NaNPolicy("background", threshold, fill, count_include_pad=count_include_pad)
    engine = MaskedEngine(network, TOGETHER, policy)
    assert_the_reference(engine, network, policy, random_slices(6), random_heads(6), tolerance=1e-5)


@pytest.mark.parametrize("threshold", [0.4, 0.5])
def test_what_is_wanted_as_the_reference(vinn, threshold) -> None:
    wanted, policy = random_heads(6), replace(POLICY, threshold=threshold)
    heads = np.roll(wanted | wanted[::-1], 5, axis=2)
    engine = MaskedEngine(vinn, TOGETHER, policy)
    assert_the_reference(engine, vinn, policy, exact_slices(6), heads, wanted=wanted)
    assert_the_reference(engine, vinn, policy, exact_slices(6), heads)  # nothing stays behind


@pytest.mark.parametrize(("mm", "size"), [(0.8, (80, 80)), (0.7, (96, 90)), (1.0, (48, 72))])
def test_other_voxel_sizes_as_the_reference(mm, size) -> None:
    network = small_network("vinn", filters=11, interpolation_filters=5)
    policy = replace(POLICY, threshold=0.6, pool_margin=1)
    heads = random_heads(6, size)
    wanted = np.roll(heads, 7, axis=1)
    engine = MaskedEngine(network, TOGETHER, policy)
    assert_the_reference(engine, network, policy, random_slices(6, size), heads, 1 / mm, 1e-5, wanted)


def test_cnn_as_the_reference() -> None:
    """Its kernels of 5x5 pixels see two pixels beyond what is computed, on every level."""
    network, size, policy = exact_network("cnn", filters=9), (48, 80), replace(POLICY, threshold=0.5)
    engine = MaskedEngine(network, TOGETHER, policy)
    assert_the_reference(engine, network, policy, exact_slices(4, size), random_heads(4, size))


def test_sizes_and_scales_in_turn(vinn) -> None:
    engine = MaskedEngine(vinn, TOGETHER, POLICY)
    for size, scale in (((SIZE, SIZE), 1.0), ((80, 80), 1.25), ((SIZE, SIZE), 1.0)):
        slices, heads = exact_slices(2, size), random_heads(2, size)
        alone = MaskedEngine(vinn, TOGETHER, POLICY)
        assert torch.equal(
            engine.logits(slices, scale, heads).nan_to_num(), alone.logits(slices, scale, heads).nan_to_num()
        )


def test_slices_without_head_are_skipped_outright(vinn) -> None:
    slices, heads = exact_slices(3), random_heads(3)
    heads[1] = False
    engine, without = MaskedEngine(vinn, TOGETHER, POLICY), MaskedEngine(vinn, TOGETHER, POLICY)
    logits = engine.logits(slices, 1.0, heads)
    assert logits[1].isnan().all()
    assert torch.equal(logits[::2].nan_to_num(), without.logits(slices[::2], 1.0, heads[::2]).nan_to_num())
    counts, others = engine.take_counts(), without.take_counts()
    assert counts.computed.tolist() == [True, False, True]
    assert (counts.skipped[:, 1] == counts.windows).all()
    assert counts.mixed[:, 1].sum() == 0
    assert (counts.tiles[1] == 1).all()
    np.testing.assert_array_equal(counts.skipped[:, ::2], others.skipped)
    assert engine.logits(slices, 1.0, np.zeros_like(heads)).isnan().all()
    assert not engine.take_counts().computed.any()


def test_without_a_head_everything_is_computed(vinn) -> None:
    slices = exact_slices(2)
    engine = MaskedEngine(vinn, TOGETHER, POLICY)
    assert torch.equal(engine.logits(slices, 1.0), DenseEngine(vinn, CPU).logits(slices, 1.0))
    assert engine.take_counts().skipped.sum() == 0


def test_sums_are_the_logits_sums(vinn) -> None:
    slices, heads, engine = exact_slices(2), random_heads(2), MaskedEngine(vinn, TOGETHER, POLICY)
    part = (slice(4, 60), slice(8, 40))
    before = torch.randn(2, 56, 32, 79, generator=torch.Generator().manual_seed(0)).half()
    logits = engine.logits(slices, 1.0, heads)
    total = before.clone()
    engine.accumulate(slices, 1.0, heads, LogitSum(total.numpy(), 0.4, part))
    added = before.float() + 0.4 * logits[:, :, 4:60, 8:40].permute(0, 2, 3, 1).nan_to_num(0)
    torch.testing.assert_close(total.float(), added, rtol=1e-3, atol=1e-3)
    classes = np.zeros((2, 56, 32), np.uint8)
    engine.largest(slices, 1.0, heads, LogitSum(before.numpy(), 0.4, part), classes)
    np.testing.assert_array_equal(classes, total.float().numpy().argmax(axis=3))


def test_memory_is_given_back_and_taken_anew(vinn) -> None:
    engine, slices, heads = MaskedEngine(vinn, CPU, POLICY), exact_slices(1), random_heads(1)
    before = engine.logits(slices, 1.0, heads)
    engine.release()
    kept = [x for hook in (*engine._fills.values(), *engine._pools.values()) for x in vars(hook).values()]
    assert sum(x.nbytes for x in kept if isinstance(x, torch.Tensor)) == 0
    assert all(hook._blank is None for hook in engine._fills.values())
    assert torch.equal(engine.logits(slices, 1.0, heads).nan_to_num(), before.nan_to_num())


def test_counts_are_optional_and_change_nothing(vinn) -> None:
    slices, heads = exact_slices(2), random_heads(2)
    counting, silent = (MaskedEngine(vinn, TOGETHER, POLICY, counting=counting) for counting in (True, False))
    found, expected = (engine.logits(slices, 1.0, heads) for engine in (silent, counting))
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())
    assert silent._counts == []


def test_bfloat16_where_nothing_is_rounded(vinn) -> None:
    slices, heads = exact_slices(2), random_heads(2)
    exact, half = (
        MaskedEngine(vinn, replace(CPU, precision=precision), POLICY).logits(slices, 1.0, heads)
        for precision in ("float32", "bfloat16")
    )
    assert half.dtype == torch.float32
    assert torch.equal(half.nan_to_num(), exact.nan_to_num())


def test_numbers_too_large_for_float16_are_told() -> None:
    network = small_network("vinn", filters=11, interpolation_filters=5)
    with torch.no_grad():
        network.get_submodule("encode3.conv0").weight.mul_(1e6)
    engine = MaskedEngine(network, replace(CPU, precision="float16"), POLICY)
    with pytest.raises(DeviceError, match="too large for float16; use --precision float32"):
        engine.logits(random_slices(1), 1.0, random_heads(1))


@pytest.mark.parametrize("mode", ["off", "aggressive", "conservative"])
def test_other_modes_are_refused(vinn, mode) -> None:
    assert not masked_serves(NaNPolicy(mode))
    with pytest.raises(ConfigError, match="--engine auto"):
        MaskedEngine(vinn, CPU, NaNPolicy(mode))


class TestCrops:
    def computed(self, *places: tuple[int, int]) -> torch.Tensor:
        mask = torch.zeros(1, 64, 64, dtype=torch.bool)
        for row, column in places:
            mask[0, row, column] = True
        return mask

    def test_whole_grains_around_all_that_is_computed(self) -> None:
        crops = crops_around({(64, 64): self.computed((17, 30), (18, 33))}, reach=1)
        assert crops == {(64, 64): Crop(slice(16, 32), slice(16, 48))}
        crops = crops_around({(64, 64): self.computed((16, 62))}, reach=2)
        assert crops == {(64, 64): Crop(slice(0, 32), slice(48, 64))}

    def test_a_level_holds_what_is_pooled_from_above(self) -> None:
        below = torch.zeros(1, 32, 32, dtype=torch.bool)
        below[0, 20, 9] = True
        crops = crops_around({(64, 64): self.computed((17, 30)), (32, 32): below}, reach=1)
        assert crops[64, 64].pooled() == Crop(slice(8, 16), slice(8, 16))
        assert crops[32, 32] == Crop(slice(8, 24), slice(8, 16))

    def test_nothing_computed_is_a_grain(self) -> None:
        crops = crops_around({(64, 64): self.computed()}, reach=1)
        assert crops == {(64, 64): Crop(slice(0, 16), slice(0, 16))}

    def test_places_in_another(self) -> None:
        outer, inner = Crop(slice(8, 24), slice(4, 16)), Crop(slice(10, 12), slice(4, 8))
        assert inner.seen_from(outer) == Crop(slice(2, 4), slice(0, 4))
        x = np.arange(32 * 32).reshape(32, 32)
        np.testing.assert_array_equal(inner.seen_from(outer).of(outer.of(x)), inner.of(x))
        assert Crop.whole((3, 5)).size == (3, 5)


@pytest.mark.parametrize(
    ("view", "file", "policy"),
    [
        ("coronal", "subject-03_brain.mgz", replace(POLICY, threshold=0.5, pool_margin=2)),
        ("sagittal", "subject-01_orig.mgz", replace(POLICY, threshold=0.7, count_include_pad=True)),
    ],
)
def test_real_slices_are_the_references(data_dir, view, file, policy) -> None:
    network = load_network(resolve("compact"), view)[1]
    slices, heads = real_slices(data_dir / "t1" / file, view, 120, 122)
    masked, reference = MaskedEngine(network, CPU, policy), ReferenceEngine(network, CPU, policy)
    found, expected = (engine.logits(slices, 1.0, heads) for engine in (masked, reference))
    assert torch.equal(found.isnan(), expected.isnan())
    error = (found - expected).abs()[~expected.isnan()]
    assert error.median() < 1e-3
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.9999
    assert_same_counts(masked.take_counts(), reference.take_counts())


def test_a_real_slice_of_smaller_voxels_is_the_references(data_dir) -> None:
    network = load_network(resolve("compact"), "coronal")[1]
    slices, heads = smaller_voxels(
        *real_slices(data_dir / "t1" / "subject-03_brain.mgz", "coronal", 120, 121, margin=0)
    )
    policy = replace(POLICY, threshold=0.5, pool_margin=2)
    masked, reference = MaskedEngine(network, CPU, policy), ReferenceEngine(network, CPU, policy)
    found, expected = (engine.logits(slices, 1.25, heads) for engine in (masked, reference))
    assert torch.equal(found.isnan(), expected.isnan())
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.9999
    assert_same_counts(masked.take_counts(), reference.take_counts())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_cpus_classes_and_counts(data_dir) -> None:
    network = load_network(resolve("compact"), "coronal")[1]
    slices, heads = real_slices(data_dir / "t1" / "subject-03_brain.mgz", "coronal", 100, 120)
    policy = replace(POLICY, threshold=0.5, pool_margin=2)
    cpu, cuda = (MaskedEngine(network, replace(CPU, device=device), policy) for device in ("cpu", "cuda"))
    expected, found = cpu.logits(slices, 1.0, heads), cuda.logits(slices, 1.0, heads)
    assert found.device.type == "cuda"
    assert torch.equal(found.isnan().cpu(), expected.isnan())
    assert (found.argmax(1).cpu() == expected.argmax(1)).float().mean() > 0.999
    assert_same_counts(cuda.take_counts(), cpu.take_counts())
