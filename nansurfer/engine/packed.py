"""A network as the compiled kernels want it: batch norms folded, weights in the order in which they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nansurfer.engine.maps import Float32, Floats
from nansurfer.models import NetworkState
from nansurfer.models.state import Arrays

_DOWN = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_ALONG = ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1))
"""From the rows and the columns of a 3x3 kernel to the transformed ones that the compiled kernels multiply by: the
matrices G of Winograd's F(4, 3) and F(2, 3) in Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
(2016)."""

_EPSILON = np.float32(1e-5)  # that PyTorch's batch norms add to the variance


@dataclass(frozen=True)
class PackedConvolution:
    """A convolution whose padding keeps height and width.

    Parameters
    ----------
    name
        Module path.
    weights
        [block of output channels][input channel][row][column][output channel of the block], float32, or float16 with
        each number twice; of a 3x3 kernel in float32 [block][transformed row][transformed column][input channel][output
        channel].
    bias
        Float32, one per output channel.
    channels_in, channels_out, kernel
        Sizes of the unpacked weights; kernels are square.
    """

    name: str
    weights: Floats
    bias: Float32
    channels_in: int
    channels_out: int
    kernel: int

    @property
    def macs_per_window(self) -> int:
        """Multiply-adds of one output position."""
        return self.channels_in * self.channels_out * self.kernel**2


@dataclass(frozen=True)
class Transform:
    """A function of a channel's values: v * (positive if v > 0 else negative) + shift, each float32 (channels,)."""

    positive: Float32
    negative: Float32
    shift: Float32

    def channels(self, start: int, stop: int) -> Transform:
        """The same for some of the channels."""
        return Transform(self.positive[start:stop], self.negative[start:stop], self.shift[start:stop])

    def of_scaled(self, scale: float) -> Transform:
        """The same function of ``scale`` times the values."""
        return Transform(self.positive * np.float32(scale), self.negative * np.float32(scale), self.shift)


@dataclass(frozen=True)
class PackedBlock:
    """A dense block.

    Parameters
    ----------
    convolutions
        Its four.
    entered
        What is made of its input for the first of them.
    activation
        What is made of a maxout for the next of them.
    competes
        Whether the first maxout is with the block's input.
    """

    convolutions: tuple[PackedConvolution, ...]
    entered: Transform
    activation: Transform
    competes: bool

    @property
    def channels_in(self) -> int:
        """Channels of its input."""
        return self.convolutions[0].channels_in

    @property
    def channels_out(self) -> int:
        """Channels of its output, and of all that its convolutions give."""
        return self.convolutions[-1].channels_out


@dataclass(frozen=True)
class PackedNetwork:
    """A FastSurferCNN or a FastSurferVINN.

    Parameters
    ----------
    encoders, bottleneck, decoders
        The U-Net, in the order of computation.
    outer
        The first and the last block of a FastSurferVINN.
    classifier_weights, classifier_bias
        Float32 (classes, channels) and (classes,).
    dtype
        Of the features: float32 or float16.
    classifier_name
        Module path.
    """

    encoders: tuple[PackedBlock, ...]
    bottleneck: PackedBlock
    decoders: tuple[PackedBlock, ...]
    outer: tuple[PackedBlock, PackedBlock] | None
    classifier_weights: Float32
    classifier_bias: Float32
    dtype: np.dtype[Any]
    classifier_name: str = "classifier.conv"

    @property
    def blocks(self) -> tuple[PackedBlock, ...]:
        """All blocks in the order of computation."""
        inner = (*self.encoders, self.bottleneck, *self.decoders)
        return (self.outer[0], *inner, self.outer[1]) if self.outer else inner

    @property
    def convolutions(self) -> tuple[PackedConvolution, ...]:
        """All convolutions in the order of computation, but for the classifier."""
        return tuple(convolution for block in self.blocks for convolution in block.convolutions)

    @property
    def layers(self) -> tuple[str, ...]:
        """Module paths of all convolutions, the classifier at the end."""
        return *(convolution.name for convolution in self.convolutions), self.classifier_name

    @property
    def macs_per_window(self) -> tuple[int, ...]:
        """Multiply-adds of one output position of each."""
        return *(convolution.macs_per_window for convolution in self.convolutions), self.classifier_weights.size

    def sizes(self, outer: tuple[int, int], inner: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width of what each sees, where slices have the size ``outer`` and the U-Net's input ``inner``."""
        depths = (*range(len(self.encoders)), len(self.encoders), *reversed(range(len(self.decoders))))
        blocks = [(inner[0] >> depth, inner[1] >> depth) for depth in depths]
        if self.outer:
            blocks = [outer, *blocks, outer]
        return [size for size in blocks for _ in self.bottleneck.convolutions] + [outer]

    @property
    def channels(self) -> int:
        """Channels of the inner blocks."""
        return self.bottleneck.channels_out

    @property
    def radius(self) -> int:
        """Pixels that the convolutions see to each side."""
        return self.bottleneck.convolutions[0].kernel // 2


def pack_network(network: NetworkState, block: int, dtype: npt.DTypeLike = np.float32) -> PackedNetwork:
    """A network packed in blocks of ``block`` output channels; its arrays stay as they are."""
    arrays, dtype = network.arrays, np.dtype(dtype)

    def pack(name: str) -> PackedBlock:
        return _pack_block(_inside(arrays, name), name, block, dtype)

    classifier = _inside(arrays, "classifier.conv")
    return PackedNetwork(
        encoders=tuple(pack(f"encode{level}") for level in (1, 2, 3, 4)),
        bottleneck=pack("bottleneck"),
        decoders=tuple(pack(f"decode{level}") for level in (4, 3, 2, 1)),
        outer=(pack("inp_block"), pack("outp_block")) if network.base_size else None,
        classifier_weights=_floats(classifier["weight"][:, :, 0, 0]),
        classifier_bias=_floats(classifier["bias"]),
        dtype=dtype,
    )


def _inside(arrays: Arrays, name: str) -> Arrays:
    """The arrays of a part of the network, by their names in it."""
    return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}


def _pack_block(arrays: Arrays, name: str, block: int, dtype: np.dtype[Any]) -> PackedBlock:
    """A block: it normalises its input, or else takes it as it does what its convolutions give."""
    norm = "gn" if "gn1.weight" in arrays else "bn"

    def pack(index: int) -> PackedConvolution:
        own, behind = _inside(arrays, f"conv{index}"), _inside(arrays, f"{norm}{index + 1}")
        return _pack_convolution(f"{name}.conv{index}", own, behind, block, dtype)

    convolutions, slope = tuple(map(pack, range(4))), arrays["prelu.weight"]
    channels_in, channels_out = convolutions[0].channels_in, convolutions[0].channels_out
    normalises = "bn0.weight" in arrays
    return PackedBlock(
        convolutions=convolutions,
        entered=_normalisation(_inside(arrays, "bn0")) if normalises else _activation(slope, channels_in),
        activation=_activation(slope, channels_out),
        competes=not normalises and name != "outp_block",
    )


def _pack_convolution(name: str, arrays: Arrays, norm: Arrays, block: int, dtype: np.dtype[Any]) -> PackedConvolution:
    """A convolution with the batch norm behind it folded in."""
    scale = _scale(norm)
    weight = arrays["weight"] * scale[:, None, None, None]
    bias = (arrays["bias"] - norm["running_mean"]) * scale + norm["bias"]
    channels_out, channels_in, kernel, _ = weight.shape
    blocks = -(-channels_out // block)
    padded = np.zeros((blocks * block, channels_in, kernel, kernel))
    padded[:channels_out] = weight
    in_blocks = padded.reshape(blocks, block, channels_in, kernel, kernel)
    packed = in_blocks.transpose(0, 2, 3, 4, 1)  # (blocks, in, row, column, block)
    if kernel == 3 and dtype == np.float32:  # of which the kernels compute strips
        packed = np.einsum("tr,sc,bircn->btsin", _DOWN, _ALONG, packed, optimize=True)  # in float64
    weights: Floats = _floats(packed)
    if dtype == np.float16:
        with np.errstate(over="ignore"):  # infinite weights show in the features
            weights = np.repeat(weights.astype(dtype), 2, axis=-1)
    return PackedConvolution(name, weights, _floats(bias), channels_in, channels_out, kernel)


def _activation(slope: npt.NDArray[Any], channels: int) -> Transform:
    """A PReLU."""
    return Transform(_floats(np.ones(channels)), _floats(np.broadcast_to(slope, channels)), _floats(np.zeros(channels)))


def _normalisation(norm: Arrays) -> Transform:
    """A batch norm in evaluation mode."""
    scale = _scale(norm)
    return Transform(_floats(scale), _floats(scale), _floats(norm["bias"] - norm["running_mean"] * scale))


def _scale(norm: Arrays) -> Float32:
    """What a batch norm multiplies by."""
    scale: Float32 = norm["weight"] / np.sqrt(norm["running_var"] + _EPSILON)
    return scale


def _floats(values: npt.NDArray[Any]) -> Float32:
    """A copy in float32, in order."""
    return np.array(values, np.float32, order="C")
