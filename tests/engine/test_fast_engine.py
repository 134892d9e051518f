"""The fast engine against the reference engine and the dense one, for every instruction set of the processor."""

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
from torch import Tensor

from nansurfer.engine import ComputeOptions, DenseEngine, ReferenceEngine, native, workspace
from nansurfer.engine.fast import FastEngine
from nansurfer.engine.maps import FeatureMap, line_of
from nansurfer.engine.sums import LogitSum
from nansurfer.errors import ConfigError, DeviceError
from nansurfer.labels import SAGITTAL_TO_FULL
from nansurfer.models import build_model, load_config
from nansurfer.nn import NaNPolicy
from nansurfer.weights import load_network, resolve

BUILT, BUILT_HALF = ([name for name, _ in native.suitable_libraries(half=half)] for half in (False, True))
NO_HALF = "the processor does not compute in float16, or the compiler did not know how"

pytestmark = pytest.mark.skipif(not BUILT, reason="installed without compiled kernels")


@pytest.fixture(params=BUILT)
def instruction_set(request, monkeypatch) -> str:
    """The kernels of each instruction set in turn."""
    monkeypatch.setattr(native, "load_kernels", lambda *, half=False: native.open_library(request.param))
    return request.param


@pytest.fixture(params=[(name, "float32") for name in BUILT] + [(name, "float16") for name in BUILT_HALF])
def compute(request, monkeypatch) -> ComputeOptions:
    """Options for the kernels of each instruction set and precision in turn."""
    name, precision = request.param
    monkeypatch.setattr(native, "load_kernels", lambda *, half=False: native.open_library(name))
    return replace(CPU, precision=precision)


@pytest.fixture(scope="module")
def vinn():
    return small_network("vinn", filters=11, interpolation_filters=5)


@pytest.fixture(scope="module")
def exact_vinn():
    return exact_network("vinn", filters=11, interpolation_filters=5)


@pytest.fixture(scope="module")
def shallow_vinn():
    return shallow_network()


@pytest.fixture(scope="module")
def exact_cnn():
    return exact_network("cnn", filters=9)


@pytest.fixture
def maps(monkeypatch) -> list[FeatureMap]:
    """All feature maps that workspaces make."""
    made: list[FeatureMap] = []

    class Remembered(FeatureMap):
        def __init__(self, *arguments, **choices) -> None:
            super().__init__(*arguments, **choices)
            made.append(self)

    monkeypatch.setattr(workspace, "FeatureMap", Remembered)
    return made


@THRESHOLDS
def test_vinn_as_the_reference(instruction_set, shallow_vinn, policy) -> None:
    """Its kernels of 3x3 pixels are computed by Winograd's filtering, which rounds otherwise."""
    assert_the_reference(
        FastEngine(shallow_vinn, CPU, policy), shallow_vinn, policy, random_slices(6), random_heads(6), tolerance=1e-5
    )


@THRESHOLDS
@pytest.mark.skipif(not BUILT_HALF, reason=NO_HALF)
def test_vinn_in_float16_as_the_reference(exact_vinn, policy) -> None:
    """Where nothing is rounded, both are the same to the last bit, whatever poolings choose."""
    assert_the_reference(
        FastEngine(exact_vinn, replace(CPU, precision="float16"), policy),
        exact_vinn,
        policy,
        exact_slices(6),
        random_heads(6),
    )


@pytest.mark.parametrize(("threshold", "head"), [(0.4, "everything"), (0.5, "everything"), (0.5, "a part")])
def test_what_is_wanted_as_the_reference(instruction_set, shallow_vinn, threshold, head) -> None:
    wanted, policy = random_heads(6), replace(POLICY, threshold=threshold)
    heads = np.roll(wanted | wanted[::-1], 5, axis=2) if head == "a part" else np.ones_like(wanted)
    assert_the_reference(
        FastEngine(shallow_vinn, CPU, policy),
        shallow_vinn,
        policy,
        random_slices(6),
        heads,
        tolerance=1e-5,
        wanted=wanted,
    )


@pytest.mark.parametrize(("size", "mm"), [((80, 80), 0.8), ((96, 160), 0.5), ((80, 70), 1.0)])
def test_what_is_wanted_at_other_voxel_sizes(instruction_set, shallow_vinn, size, mm) -> None:
    heads, policy = random_heads(6, size), replace(POLICY, threshold=0.5)
    slices, wanted = random_slices(6, size), np.roll(heads, 20, axis=2)
    assert_the_reference(
        FastEngine(shallow_vinn, CPU, policy),
        shallow_vinn,
        policy,
        slices,
        heads,
        1 / mm,
        tolerance=1e-5,
        wanted=wanted,
    )


@pytest.mark.parametrize("threshold", [0.4, 1.0])
def test_cnn_as_the_reference(compute, exact_cnn, threshold) -> None:
    size, policy = (48, 80), replace(POLICY, threshold=threshold)
    assert_the_reference(
        FastEngine(exact_cnn, compute, policy), exact_cnn, policy, exact_slices(4, size), random_heads(4, size)
    )


@pytest.mark.parametrize(
    ("size", "mm"),
    [((128, 128), 0.5), ((96, 160), 0.5), ((80, 80), 0.8), ((89, 75), 0.8), ((80, 70), 1.0)],
    ids=["all of it", "padded and cropped", "all of it, 0.8", "cropped and padded, 0.8", "other sides"],
)
@pytest.mark.parametrize("pool_margin", [0, 2])
def test_other_voxel_sizes_as_the_reference(instruction_set, shallow_vinn, size, mm, pool_margin) -> None:
    policy = replace(POLICY, threshold=0.6, pool_margin=pool_margin)
    slices, heads = random_slices(6, size), random_heads(6, size)
    assert_the_reference(
        FastEngine(shallow_vinn, CPU, policy), shallow_vinn, policy, slices, heads, 1 / mm, tolerance=1e-5
    )


@pytest.mark.parametrize(
    ("size", "mm"),
    [((92, 92), 0.7), ((67, 67), 0.95), ((72, 72), 0.9), ((73, 71), 0.7333), ((64, 64), 0.8), ((65, 90), 0.53)],
)
def test_shares_that_are_rounded(vinn, size, mm) -> None:
    slices, heads, scale = random_slices(3, size), random_heads(3, size), float(np.float32(1) / np.float32(mm))
    policy = replace(POLICY, threshold=0.5, pool_margin=2)
    reference, fast = ReferenceEngine(vinn, CPU, policy), FastEngine(vinn, CPU, policy)
    expected, found = (engine.logits(slices, scale, heads) for engine in (reference, fast))
    assert torch.equal(found.isnan(), expected.isnan())
    # In empty parts rounding decides which of the equal values a pooling takes, in each engine in its own way.
    assert (found - expected).abs()[~expected.isnan()].median() < 1e-2
    assert_same_counts(fast.take_counts(), reference.take_counts())


def test_sizes_in_turn(vinn) -> None:
    engine = FastEngine(vinn, CPU, POLICY)
    cases = [((SIZE, SIZE), 1.0), ((80, 80), 1.25), ((SIZE, SIZE), 1.25), ((SIZE, SIZE), 1.0)]
    first, *_, last = (engine.logits(random_slices(1, s), scale, random_heads(1, s)).nan_to_num() for s, scale in cases)
    assert torch.equal(first, last)
    assert [len(c.computed) for c in engine._counts] == [1, 1, 1, 1]


def test_kernels_of_one_pixel(instruction_set, maps) -> None:
    """They need no zeros around their input, but resamplings do."""
    network = exact_network("vinn", filters=3, interpolation_filters=2, kernel_size=1)
    size = (96, 160)
    assert_the_reference(
        FastEngine(network, CPU, POLICY), network, POLICY, exact_slices(2, size), random_heads(2, size), 2.0
    )
    assert maps
    assert all(feature_map.ring or len(feature_map.rows) == 1 + feature_map.height + 1 for feature_map in maps)


@pytest.mark.parametrize("heads", [None, np.ones((2, SIZE, SIZE), bool)], ids=["no mask", "all head"])
def test_like_the_dense_engine_where_all_is_head(instruction_set, shallow_vinn, heads) -> None:
    slices = random_slices(2)
    found = FastEngine(shallow_vinn, CPU, POLICY).logits(slices, 1.0, heads)
    expected = DenseEngine(shallow_vinn, CPU).logits(slices, 1.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("scale", [1.0, 1.25])
def test_slices_without_head_are_skipped_outright(vinn, scale) -> None:
    engine = FastEngine(vinn, CPU, POLICY)
    heads = random_heads(3)
    heads[1] = False
    logits = engine.logits(random_slices(3), scale, heads)
    counts = engine.take_counts()
    assert logits[1].isnan().all()
    assert not logits[0].isnan().all()
    assert counts.computed.tolist() == [True, False, True]
    np.testing.assert_array_equal(counts.skipped[:, 1], counts.windows)
    assert not counts.mixed[:, 1].any()
    np.testing.assert_allclose(counts.tiles[1], 1)


@pytest.mark.parametrize(("size", "scale"), [((SIZE, SIZE), 1.0), ((80, 80), 1.25), ((60, 80), 1.25)])
def test_garbage_in_memory_is_never_read(compute, vinn, maps, size, scale) -> None:
    engine = FastEngine(vinn, replace(compute, threads=1), replace(POLICY, threshold=0.6))
    slices, heads = random_slices(5, size), random_heads(5, size)
    before = engine.logits(slices, scale, heads)
    for feature_map in maps:
        spill = feature_map.width + 2 * line_of(feature_map.dtype) - 1
        rows = slice(None) if feature_map.ring else slice(1, 1 + feature_map.height)
        feature_map.rows[rows, :, :spill] = np.nan  # but not the zeros around
    assert torch.equal(engine.logits(slices, scale, heads).nan_to_num(-1e9), before.nan_to_num(-1e9))
    assert len(maps) > 20


def test_threads_and_order_change_nothing(vinn) -> None:
    slices, heads = random_slices(5), random_heads(5)
    one, three = (FastEngine(vinn, replace(CPU, threads=n), POLICY) for n in (1, 3))
    expected = one.logits(slices, 1.0, heads).nan_to_num(-1e9)
    assert torch.equal(three.logits(slices, 1.0, heads).nan_to_num(-1e9), expected)
    assert torch.equal(three.logits(slices[::-1], 1.0, heads[::-1]).flip(0).nan_to_num(-1e9), expected)
    assert one.take_counts().skipped.tolist() == three.take_counts().skipped[:, :5].tolist()


def test_counts_are_optional_and_change_nothing(vinn) -> None:
    slices, heads = random_slices(2), random_heads(2)
    counted, uncounted = (FastEngine(vinn, CPU, POLICY, counting=c) for c in (True, False))
    logits = [engine.logits(slices, 1.0, heads).nan_to_num(-1e9) for engine in (counted, uncounted)]
    assert torch.equal(*logits)
    counts = counted.take_counts()
    assert 0 < counts.counting_s < 1
    assert counts.tiles.shape == (2, SIZE // 16, SIZE // 16)


class TestSums:
    PART = (slice(5, 60), slice(3, 50))

    def strided(self, n: int) -> Tensor:
        """Sums (n, h, w, 79) as they lie in a volume: slices between rows and columns."""
        return torch.zeros(55, n, 47, 79, dtype=torch.float16).transpose(0, 1)  # whose memory the engine gets

    def expected(self, before: Tensor, logits: Tensor, weight: float) -> Tensor:
        logits = logits[:, :, self.PART[0], self.PART[1]].permute(0, 2, 3, 1).contiguous()
        added = torch.add(before.float(), logits, alpha=weight).half()
        return torch.where(logits.isnan(), before, added)

    def test_added_as_pytorch_adds(self, instruction_set, vinn) -> None:
        slices, heads, engine = random_slices(4), random_heads(4), FastEngine(vinn, CPU, POLICY)
        heads[2] = False
        logits = engine.logits(slices, 1.0, heads)
        total, expected = self.strided(4), torch.zeros(4, 55, 47, 79, dtype=torch.float16)
        for weight in (0.4, 0.2):
            engine.accumulate(slices, 1.0, heads, LogitSum(total.numpy(), weight, self.PART))
            expected = self.expected(expected, logits, weight)
            assert torch.equal(total, expected)

    def test_largest_class(self, instruction_set, vinn) -> None:
        slices, heads, engine = random_slices(4), random_heads(4), FastEngine(vinn, CPU, POLICY)
        heads[2] = False
        before = self.strided(4).normal_(0, 100)
        before[:, :, 40:] = 0  # no other view was valid there
        kept = before.clone()
        classes = np.full((47, 4, 55), 99, np.uint8).transpose(1, 2, 0)
        engine.largest(slices, 1.0, heads, LogitSum(before.numpy(), 0.4, self.PART), classes)
        expected = self.expected(before, engine.logits(slices, 1.0, heads), 0.4).float().numpy().argmax(axis=3)
        np.testing.assert_array_equal(classes, expected)
        assert not classes[2, :, 40:].any()
        assert torch.equal(before, kept)

    def test_the_first_of_equal_sums_wins(self, instruction_set, vinn) -> None:
        before = self.strided(1)
        before[..., [7, 70, 78]] = 1e-3
        classes = np.empty((1, 55, 47), np.uint8)
        nowhere = np.zeros((1, SIZE, SIZE), bool)
        FastEngine(vinn, CPU, POLICY).largest(
            random_slices(1), 1.0, nowhere, LogitSum(before.numpy(), 0.4, self.PART), classes
        )
        assert (classes == 7).all()

    def test_sagittal_classes_for_both_sides(self, instruction_set) -> None:
        engine = FastEngine(small_network("vinn", "sagittal", filters=3, interpolation_filters=2), CPU, POLICY)
        slices, heads, total = random_slices(2), random_heads(2), self.strided(2)
        engine.accumulate(slices, 1.0, heads, LogitSum(total.numpy(), 0.2, self.PART, SAGITTAL_TO_FULL))
        logits = engine.logits(slices, 1.0, heads)[:, list(SAGITTAL_TO_FULL)]
        assert torch.equal(total, self.expected(torch.zeros_like(total), logits, 0.2))


def test_what_was_prepared_is_not_made_again(vinn) -> None:
    engine = FastEngine(vinn, CPU, POLICY)
    engine.prepare((SIZE, SIZE), 1.0)
    prepared = engine._shared
    engine.logits(random_slices(1), 1.0, random_heads(1))
    assert engine._shared is prepared is not None


def test_it_goes_on_after_giving_memory_back(vinn) -> None:
    engine, slices, heads = FastEngine(vinn, CPU, POLICY), random_slices(1), random_heads(1)
    before = engine.logits(slices, 1.0, heads)
    engine.release()
    assert engine._workspaces.empty()
    assert torch.equal(engine.logits(slices, 1.0, heads).nan_to_num(), before.nan_to_num())


def test_off_is_dense(shallow_vinn) -> None:
    slices = random_slices(2)
    engine = FastEngine(shallow_vinn, CPU, NaNPolicy("off"))
    dense = DenseEngine(shallow_vinn, CPU).logits(slices, 1.0)
    torch.testing.assert_close(engine.logits(slices, 1.0), dense, rtol=0, atol=1e-5 * dense.abs().max().item())
    assert engine.take_counts().skipped.sum() == 0


@pytest.mark.skipif(not BUILT_HALF, reason=NO_HALF)
class TestFloat16:
    HALF = replace(CPU, precision="float16")

    @pytest.mark.parametrize("layer", ["inp_block.conv1", "encode3.conv0", "outp_block.conv3"])
    def test_slices_with_numbers_too_large_are_computed_in_float32(self, caplog, layer) -> None:
        network = small_network("vinn", filters=11, interpolation_filters=5)
        with torch.no_grad():
            network.get_submodule(layer).weight.mul_(1e6)
        slices, heads = random_slices(3), random_heads(3)
        heads[1] = False
        half, exact = (FastEngine(network, options, POLICY) for options in (self.HALF, CPU))
        found, expected = (engine.logits(slices, 1.0, heads) for engine in (half, exact))
        assert torch.equal(found.nan_to_num(-1e9), expected.nan_to_num(-1e9))
        assert_same_counts(half.take_counts(), exact.take_counts())
        assert caplog.messages == ["Numbers are too large for float16; the slices are computed again in float32."]


class TestRefusals:
    @pytest.mark.parametrize(
        "policy", [NaNPolicy("aggressive"), NaNPolicy("conservative"), replace(POLICY, fill="mean")]
    )
    def test_other_policies(self, vinn, policy) -> None:
        with pytest.raises(ConfigError, match="--engine auto"):
            FastEngine(vinn, CPU, policy)
        assert not FastEngine.serves(vinn, policy, (SIZE, SIZE), 1.0)

    @pytest.mark.parametrize(
        ("size", "scale", "message"),
        [
            (
                (48, 72),
                1.0,
                r"FastSurferCNN over slices of whole tiles of 16x16 mm at 1 mm, not of 48x72 pixels at 1 mm",
            ),
            ((48, 80), 1.25, r"not of 48x80 pixels at 0\.8 mm; use --vox-size 1"),
        ],
    )
    def test_what_a_cnn_cannot_take(self, exact_cnn, size, scale, message) -> None:
        assert FastEngine.serves(exact_cnn, POLICY, (48, 80), 1.0)
        assert not FastEngine.serves(exact_cnn, POLICY, size, scale)
        with pytest.raises(ConfigError, match=message):
            FastEngine(exact_cnn, CPU, POLICY).logits(random_slices(1, size), scale)

    def test_slices_smaller_than_a_tile(self, vinn) -> None:
        assert FastEngine.serves(vinn, POLICY, (16, 300), 1.25)
        assert not FastEngine.serves(vinn, POLICY, (15, 300), 1.25)
        with pytest.raises(ConfigError, match="at least 16x16 pixels, not of 15x300"):
            FastEngine(vinn, CPU, POLICY).logits(random_slices(1, (15, 300)), 1.25)

    def test_few_classes(self) -> None:
        config = load_config("vinn")
        view = replace(config.views["axial"], classes=3)
        network = build_model(replace(config, filters=2, views={"axial": view}), "axial").eval()
        with pytest.raises(ConfigError, match="3 classes"):
            FastEngine(network, CPU, POLICY)

    def test_without_kernels(self, vinn, monkeypatch) -> None:
        monkeypatch.setattr(native, "load_kernels", lambda *, half: None)
        with pytest.raises(DeviceError, match="no compiled kernels"):
            FastEngine(vinn, CPU, POLICY)


@pytest.mark.parametrize(
    ("precision", "median_error", "same_labels"),
    [
        ("float32", 0.01, 0.9999),
        pytest.param("float16", 0.1, 0.995, marks=pytest.mark.skipif(not BUILT_HALF, reason=NO_HALF)),
    ],
)
@pytest.mark.parametrize(
    ("view", "file", "policy"),
    [
        ("axial", "subject-01_orig.mgz", POLICY),
        ("coronal", "subject-03_brain.mgz", replace(POLICY, threshold=0.5, pool_margin=2)),
        ("sagittal", "subject-01_orig.mgz", replace(POLICY, threshold=0.7, count_include_pad=True)),
    ],
)
def test_real_slices_like_the_reference(data_dir, view, file, policy, precision, median_error, same_labels) -> None:
    network = load_network(resolve("compact"), view)[1]
    slices, heads = real_slices(data_dir / "t1" / file, view, 120, 122)
    reference, fast = (
        ReferenceEngine(network, CPU, policy),
        FastEngine(network, replace(CPU, precision=precision), policy),
    )
    expected, found = (engine.logits(slices, 1.0, heads) for engine in (reference, fast))
    assert torch.equal(found.isnan(), expected.isnan())
    # Rounding may choose another of nearly equal maxima in a pooling window; some values then differ more.
    error = (found - expected).abs()[~expected.isnan()]
    assert error.median() < median_error
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > same_labels
    assert_same_counts(fast.take_counts(), reference.take_counts())


def test_a_real_slice_of_smaller_voxels_like_the_reference(data_dir) -> None:
    network = load_network(resolve("compact"), "coronal")[1]
    slices, heads = smaller_voxels(*real_slices(data_dir / "t1" / "subject-01_orig.mgz", "coronal", 120, 121, margin=0))
    assert slices.shape[2:] == (320, 320)
    policy = replace(POLICY, threshold=0.5, pool_margin=2)
    reference, fast = ReferenceEngine(network, CPU, policy), FastEngine(network, CPU, policy)
    expected, found = (engine.logits(slices, 1.25, heads) for engine in (reference, fast))
    assert torch.equal(found.isnan(), expected.isnan())
    assert (found - expected).abs()[~expected.isnan()].median() < 1e-3
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.9999
    assert_same_counts(fast.take_counts(), reference.take_counts())
