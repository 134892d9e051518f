"""Networks as arrays by name, without PyTorch: what of a network the compiled kernels need, and what a file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from nansurfer.models.config import ModelConfig
from nansurfer.volume import View

if TYPE_CHECKING:
    from nansurfer.models.networks import Network

Arrays = Mapping[str, npt.NDArray[Any]]
"""Weights, biases and statistics by FastSurfer's names, float32; counters of batches, int64."""

Shape = tuple[int, ...]

COUNTER = "num_batches_tracked"
"""How the names of counters end."""


@dataclass(frozen=True)
class NetworkState:
    """A FastSurferCNN or a FastSurferVINN in evaluation mode, whose batch norms add 1e-5 to the variance.

    Parameters
    ----------
    arrays
        All that it has learnt.
    base_size
        Height and width that the inner network of a FastSurferVINN works on; None: it is a FastSurferCNN.
    """

    arrays: Arrays
    base_size: tuple[int, int] | None

    @classmethod
    def of(cls, network: Network) -> NetworkState:
        """That of a network of PyTorch's, on any device; the arrays may share its memory."""
        arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in network.state_dict().items()}
        return cls(arrays, getattr(network, "base_size", None))

    @classmethod
    def loaded(cls, config: ModelConfig, arrays: Arrays) -> NetworkState:
        """That of a configuration with the arrays of a file."""
        return cls(arrays, None if config.interpolation_filters is None else (config.base_size, config.base_size))

    @property
    def architecture(self) -> str:
        """As :class:`ModelConfig` names it."""
        return "FastSurferVINN" if self.base_size else "FastSurferCNN"

    @property
    def classes(self) -> int:
        """Output classes."""
        return len(self.arrays["classifier.conv.bias"])

    @property
    def largest_kernel(self) -> int:
        """Side of the largest convolution kernel."""
        return max(int(array.shape[2]) for array in self.arrays.values() if array.ndim == 4)


def expected_shapes(config: ModelConfig, view: View) -> dict[str, Shape]:
    """Name and shape of all arrays that a network has."""
    filters, outer = config.filters, config.interpolation_filters
    shapes: dict[str, Shape] = {}
    first = config.slices
    if outer is not None:
        shapes |= _block("inp_block", config.slices, outer, config.kernel_size, norm="gn", normalises=True)
        first = outer
    shapes |= _block("encode1", first, filters, config.kernel_size, normalises=True)
    for name in ("encode2", "encode3", "encode4", "bottleneck", "decode4", "decode3", "decode2", "decode1"):
        shapes |= _block(name, filters, filters, config.kernel_size)
    if outer is not None:
        shapes |= _block("outp_block", filters + outer, filters, config.kernel_size, norm="gn")
    classes = config.views[view].classes
    return shapes | {"classifier.conv.weight": (classes, filters, 1, 1), "classifier.conv.bias": (classes,)}


def _block(
    name: str, inputs: int, channels: int, kernel: int, norm: str = "bn", *, normalises: bool = False
) -> dict[str, Shape]:
    """Those of a dense block; ``norm`` is what its batch norms are called."""
    shapes: dict[str, Shape] = dict(_batch_norm(f"{name}.bn0", inputs)) if normalises else {}
    for index in range(4):
        shapes[f"{name}.conv{index}.weight"] = (channels, channels if index else inputs, kernel, kernel)
        shapes[f"{name}.conv{index}.bias"] = (channels,)
        shapes |= dict(_batch_norm(f"{name}.{norm}{index + 1}", channels))
    return shapes | {f"{name}.prelu.weight": (1,)}


def _batch_norm(name: str, channels: int) -> Iterator[tuple[str, Shape]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.{COUNTER}", ()
