"""The small parts of the fast engine: maps in memory, the skipping rule, packed weights, the libraries."""

from __future__ import annotations

import ctypes
import logging
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nansurfer.engine import native
from nansurfer.engine.kernels import build
from nansurfer.engine.maps import FeatureMap, aligned_zeros, pitch_of
from nansurfer.engine.masks import invalid_needed
from nansurfer.engine.packed import pack_network
from nansurfer.engine.steps import Shared
from nansurfer.engine.tally import Tally
from nansurfer.models import NetworkState, build_model, load_config
from nansurfer.nn import NaNPolicy

BLANK = NaNPolicy("background", fill="blank", threshold=0.5)


class TestFeatureMap:
    def test_the_image_lies_inside_zeros(self) -> None:
        feature_map = FeatureMap(channels=2, height=3, width=4, radius=1)
        feature_map.image[:] = 1 + np.arange(2)[:, None, None]
        assert feature_map.rows.shape == (5, 2, 48)
        assert not feature_map.rows[[0, -1]].any()
        np.testing.assert_array_equal(feature_map.rows[1:-1, 0, :4], 1)
        np.testing.assert_array_equal(feature_map.rows[1:-1, 1, :4], 2)
        assert not feature_map.rows[:, :, 4:].any()

    def test_what_the_kernels_are_told(self) -> None:
        feature_map = FeatureMap(channels=2, height=3, width=4, radius=1)
        told = feature_map.native(first_channel=1)
        assert (told.row, told.channel) == (96, 48)
        assert told.data == feature_map.image[1].ctypes.data

    @pytest.mark.parametrize(
        ("width", "radius", "line", "pitch"),
        [(256, 1, 16, 304), (128, 1, 16, 176), (64, 2, 16, 112), (16, 1, 16, 48), (1, 0, 16, 48), (256, 1, 32, 352)],
    )
    def test_pitch_has_room_for_spills_and_zeros_in_an_odd_number_of_lines(
        self, width: int, radius: int, line: int, pitch: int
    ) -> None:
        assert pitch_of(width, radius, line) == pitch
        assert pitch >= width + 2 * line - 1 + radius

    def test_lines_are_whole(self) -> None:
        for dtype in (np.float32, np.float16):
            zeros = aligned_zeros(17, dtype)
            assert (zeros.dtype, zeros.ctypes.data % 64) == (dtype, 0)


class TestBlankMap:
    def test_equal_neighbours_are_kept_once_and_found_everywhere(self) -> None:
        feature_map = FeatureMap(channels=2, height=7, width=6, radius=1)
        feature_map.image[:] = [[[3.0]], [[-4.0]]]
        feature_map.image[0, 0], feature_map.image[1, :, -1], feature_map.image[1, 5, 1] = 1.0, 2.0, 5.0
        blank = feature_map.blank()
        told_before = blank.native()
        blank.record(feature_map)
        assert not kernels_view(told_before, 7, 7).any()
        expected = feature_map.rows[1:-1, :, :7].swapaxes(1, 2)  # with a column of zeros
        np.testing.assert_array_equal(kernels_view(blank.native(), 7, 7), expected)
        assert blank._pixels.shape == (4, 5, 2)  # rows 0, 1 to 4, 5, 6; columns 0, 1, 2 to 4, 5, 6

    def test_rows_that_differ_in_the_middle_are_all_kept(self) -> None:
        feature_map = FeatureMap(channels=2, height=7, width=6, radius=1)
        feature_map.image[:] = np.arange(7)[:, None]
        blank = feature_map.blank()
        blank.record(feature_map)
        np.testing.assert_array_equal(kernels_view(blank.native(), 7, 6)[:, 3, 1], np.arange(7))
        assert blank._pixels.shape == (7, 2, 2)


def kernels_view(told: native.Blank, height: int, width: int) -> np.ndarray:
    """What the kernels find at each row and column of a blank map of two channels, (height, width, 2)."""
    rows, columns = (
        (ctypes.c_int32 * size).from_address(at) for at, size in ((told.rows, height), (told.columns, width))
    )
    pixels = [(ctypes.c_float * 2).from_address(told.data + 4 * (row + column)) for row in rows for column in columns]
    return np.array(pixels).reshape(height, width, 2)


@pytest.mark.skipif(not native.fast_kernels_available(), reason="installed without compiled kernels")
class TestConvolve:
    SIZE = 8, 70

    def convolved(self, network, *runs: tuple[int, int], parts: int = 0) -> np.ndarray:
        """Output (5, 8, 70) of encode1's second convolution for noise, computed in these columns of every strip."""
        kernels = native.load_kernels()
        packed = pack_network(NetworkState.of(network), kernels.block()).convolutions[5]
        source, target = (FeatureMap(5, *self.SIZE, radius=1) for _ in range(2))
        source.image[:] = np.random.default_rng(3).normal(size=source.image.shape)
        first, columns = np.arange(3, dtype=np.int32) * len(runs), np.array([*runs, *runs], np.int16)
        convolution = native.Convolution(
            input=source.native(),
            compute=native.Runs(first.ctypes.data, columns.ctypes.data),
            weights=packed.weights.ctypes.data,
            bias=packed.bias.ctypes.data,
            channels_in=5,
            channels_out=5,
            kernel=3,
        )
        convolution.outputs[0] = native.Output(target.native())
        if not parts:
            kernels.convolve(convolution, 1, self.SIZE[0])
        for part in range(parts):
            kernels.convolve_part(convolution, part, parts, self.SIZE[0])
        return target.image

    def test_as_pytorch(self, network) -> None:
        conv, scale = network.encode1.conv1, np.sqrt(1 + 1e-5)  # untrained batch norms
        noise = np.random.default_rng(3).normal(size=(1, 5, *self.SIZE)).astype(np.float32)
        expected = conv(torch.from_numpy(noise)).detach().numpy()[0] / scale
        np.testing.assert_allclose(self.convolved(network, (0, 70)), expected, atol=1e-5 * np.abs(expected).max())

    def test_a_pixel_comes_out_the_same_wherever_its_run_begins(self, network) -> None:
        whole = self.convolved(network, (0, 70))
        for start in (20, 21, 22):
            np.testing.assert_array_equal(self.convolved(network, (start, 37))[..., start:37], whole[..., start:37])

    def test_a_run_that_spills_into_the_next_writes_what_that_writes(self, network) -> None:
        whole = self.convolved(network, (0, 70))
        np.testing.assert_array_equal(self.convolved(network, (30, 41), (1, 12))[..., 30:41], whole[..., 30:41])

    @pytest.mark.parametrize("parts", [1, 2, 3])
    def test_parts_are_the_whole(self, network, parts) -> None:
        np.testing.assert_array_equal(self.convolved(network, (0, 70), parts=parts), self.convolved(network, (0, 70)))


class TestInvalidNeeded:
    def test_half_of_what_lies_inside_the_image(self) -> None:
        expected = [[2, 3, 3, 2], [3, 5, 5, 3], [2, 3, 3, 2]]  # of 4, 6 and 9 values
        np.testing.assert_array_equal(invalid_needed(3, 4, channels=1, kernel=3, policy=BLANK), expected)

    def test_half_of_the_window_when_padding_counts(self) -> None:
        policy = replace(BLANK, count_include_pad=True)
        assert (invalid_needed(3, 4, channels=2, kernel=3, policy=policy) == 9).all()

    @pytest.mark.parametrize(("threshold", "needed"), [(0.7, 7), (1.0, 10), (0.71, 8), (1e-9, 1)])
    def test_exact_at_the_threshold(self, threshold: float, needed: int) -> None:
        policy = replace(BLANK, threshold=threshold)
        assert invalid_needed(1, 1, channels=10, kernel=1, policy=policy).item() == needed

    def test_windows_larger_than_the_image(self) -> None:
        assert invalid_needed(1, 2, channels=3, kernel=5, policy=replace(BLANK, threshold=1.0)).tolist() == [[6, 6]]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_model(replace(load_config("vinn"), filters=5, interpolation_filters=3), "axial").eval()


class TestPackedNetwork:
    def test_layers_in_the_order_of_computation(self, network) -> None:
        packed = pack_network(NetworkState.of(network), block=8)
        assert len(packed.layers) == 11 * 4 + 1 == len(packed.macs_per_window)
        assert packed.layers[:5] == ("inp_block.conv0", *(f"inp_block.conv{i}" for i in (1, 2, 3)), "encode1.conv0")
        assert packed.layers[-5:] == (*(f"outp_block.conv{i}" for i in range(4)), "classifier.conv")
        assert packed.macs_per_window[0] == 7 * 3 * 9
        assert packed.macs_per_window[-1] == 5 * 79

    def test_sizes_in_the_order_of_computation(self, network) -> None:
        sizes = pack_network(NetworkState.of(network), block=8).sizes((320, 330), (256, 256))
        outer, inner = (320, 330), [(256 >> depth, 256 >> depth) for depth in (0, 1, 2, 3, 4, 3, 2, 1, 0)]
        assert len(sizes) == 11 * 4 + 1
        assert sizes[::4] == [*sizes[3::4], outer] == [outer, *inner, outer, outer]

    def test_weights_in_blocks_of_output_channels(self, network) -> None:
        convolution = pack_network(NetworkState.of(network), block=4).convolutions[
            5
        ]  # 5 to 5 channels, encode1's second
        weights = convolution.weights
        assert weights.shape == (2, 6, 4, 5, 4)  # of strips: transformed rows and columns before the input channels
        folded = network.encode1.conv1.weight.detach().numpy() / np.sqrt(1 + 1e-5)  # untrained batch norms
        np.testing.assert_allclose(weights[0, 0, 3, 1], folded[:4, 1, 0, 2] / 4, rtol=1e-6)
        np.testing.assert_allclose(weights[0, 1, 3, 1], -folded[:4, 1, :, 2].sum(axis=1) / 6, rtol=1e-5)
        alternating = folded[:4, 1] * [1, -1, 1]
        np.testing.assert_allclose(weights[0, 1, 2, 1], -alternating.sum(axis=(1, 2)) / 12, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(weights[1, 5, 0, :, 0], folded[4, :, 2, 0], rtol=1e-6)
        assert not weights[1, ..., 1:].any()

    def test_float16_weights_lie_there_twice_and_are_not_transformed(self, network) -> None:
        twice = pack_network(NetworkState.of(network), block=4, dtype="float16").convolutions[5].weights
        assert (twice.dtype, twice.shape) == (np.float16, (2, 5, 3, 3, 8))
        folded = network.encode1.conv1.weight.detach().numpy() / np.sqrt(1 + 1e-5)
        np.testing.assert_allclose(twice[0, 1, 2, 0], np.repeat(folded[:4, 1, 2, 0], 2), rtol=1e-3)


def counter(network, tiles: tuple[int, int], skipped: int) -> SimpleNamespace:
    """What was counted of a slice: in every layer so many windows were skipped, all of them in the first tile."""
    layers = len(network.layers)
    of_tiles = np.zeros((layers, *tiles), np.int32)
    of_tiles[:, 0, 0] = skipped
    return SimpleNamespace(
        tiles=of_tiles, skipped=np.full(layers, skipped), mixed=np.zeros(layers, np.int64), seconds=1.5
    )


def test_threads_count_at_the_same_time(network) -> None:
    packed = pack_network(NetworkState.of(network), block=8)
    tally = Tally(Shared(None, packed, BLANK, {}, size=(32, 32)), n=3)
    for index in (0, 2):
        tally.add(index, counter(packed, (2, 2), skipped=1))
    counts = tally.counts(threads=2)
    assert counts.counting_s == 1.5
    assert counts.computed.tolist() == [True, False, True]
    assert (counts.skipped[:, 0] == 1).all()
    np.testing.assert_array_equal(counts.skipped[:, 1], counts.windows)
    np.testing.assert_allclose(counts.tiles[1], 1)


def test_shares_of_tiles_that_overlap(network) -> None:
    """Of 3x3 tiles over 64x64 pixels the first has 22x22, over the inner network's 32x32 it has 11x11 to 1x1."""
    packed = pack_network(NetworkState.of(network), block=8)
    shared = SimpleNamespace(network=packed, size=(64, 64), inner_size=(32, 32), tiles=(3, 3))
    tally = Tally(shared, n=1)
    tally.add(0, counter(packed, (3, 3), skipped=1))
    counts = tally.counts(threads=1)
    work = counts.macs_per_window * counts.windows
    sides = np.repeat([22, 11, 6, 3, 2, 1, 2, 3, 6, 11, 22], 4)
    expected = (work / np.append(sides, 22) ** 2).sum() / work.sum()
    np.testing.assert_allclose(counts.tiles[0].ravel(), [expected, *[0.0] * 8], rtol=1e-6)


class TestLibraries:
    def test_a_thread_that_takes_the_smallest_numbers_for_zero(self) -> None:
        if (kernels := native.load_kernels()) is None:
            pytest.skip("installed without compiled kernels")
        small = np.full(1, 1e-38, np.float32)
        with ThreadPoolExecutor(1) as other, ThreadPoolExecutor(1, initializer=kernels.flush_denormals) as flushing:
            assert other.submit(np.multiply, small, small.dtype.type(0.1)).result() > 0
            assert flushing.submit(np.multiply, small, small.dtype.type(0.1)).result() == 0

    def test_every_built_library_belongs_to_the_sources(self) -> None:
        built = [name for name in native.instruction_sets() if build.library_path(name).is_file()]
        if not built:
            pytest.skip("installed without compiled kernels")
        assert all(native.open_library(name) is not None for name in built)

    def test_a_library_of_other_sources_is_not_used(self, monkeypatch, caplog) -> None:
        if not native.fast_kernels_available():
            pytest.skip("installed without compiled kernels")
        monkeypatch.setattr(native, "sources_checksum", lambda: -1)
        with caplog.at_level(logging.WARNING, "nansurfer"):
            assert native.open_library(next(iter(native.instruction_sets()))) is None
        assert "compiled from other sources" in caplog.text

    def test_a_damaged_library_is_not_used(self, monkeypatch, caplog, tmp_path) -> None:
        (tmp_path / "broken.so").write_bytes(b"no library")
        monkeypatch.setattr(native, "library_path", lambda name: tmp_path / "broken.so")
        with caplog.at_level(logging.WARNING, "nansurfer"):
            assert native.open_library("any") is None
        assert "cannot be loaded" in caplog.text

    def test_without_any_library_the_log_says_so(self, monkeypatch, caplog, tmp_path) -> None:
        monkeypatch.setattr(build, "FOLDER", tmp_path)
        with caplog.at_level(logging.INFO, "nansurfer"):
            assert native.load_kernels.__wrapped__() is None
        (message,) = caplog.messages
        assert message.startswith("There are no compiled kernels")

    def test_no_compiler(self, monkeypatch, tmp_path) -> None:
        monkeypatch.delenv("CXX", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(build.BuildError, match=r"no C\+\+ compiler"):
            build.build()

    def test_a_compiler_that_fails_leaves_nothing_behind(self, monkeypatch, tmp_path) -> None:
        monkeypatch.setattr(build, "FOLDER", tmp_path)
        monkeypatch.setenv("CXX", "false")
        with pytest.raises(build.BuildError, match=r"false .* failed"):
            build.build()
        assert not list(tmp_path.iterdir())

    def test_the_checksum_follows_the_sources(self, monkeypatch, tmp_path) -> None:
        monkeypatch.setattr(build, "FOLDER", tmp_path)
        (tmp_path / "a.cpp").write_text("int a;\n")
        first = build.sources_checksum()
        (tmp_path / "b.h").write_text("int b;\n")
        assert build.sources_checksum() != first
        assert 0 <= first < 2**31  # what a C++ int holds

    def test_structs_are_as_large_as_the_compilers(self, tmp_path) -> None:
        """Fields in the same order are checked by every other test; their sizes by the compiler."""
        try:
            compiler = build._compiler()
        except build.BuildError:
            pytest.skip("no C++ compiler")
        source = tmp_path / "sizes.cpp"
        source.write_text(
            '#include "convolve.h"\n#include "zoom.h"\n#include <cstdio>\nusing namespace nansurfer;\n'
            'int main() { std::printf("%zu %zu %zu", sizeof(Convolution), sizeof(Output), sizeof(Halo)); }\n'
        )
        program = tmp_path / "sizes"
        subprocess.run([*compiler, "-std=c++17", f"-I{build.FOLDER}", str(source), "-o", str(program)], check=True)
        sizes = subprocess.run([program], check=True, capture_output=True, text=True).stdout
        assert sizes.split() == [str(ctypes.sizeof(s)) for s in (native.Convolution, native.Output, native.Halo)]
