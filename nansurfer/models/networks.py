"""FastSurferCNN and FastSurferVINN, built from a configuration; state dicts carry FastSurfer's names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nansurfer.errors import ConfigError
from nansurfer.models.blocks import Classifier, DecoderBlock, DenseBlock, EncoderBlock, Entry, zoom
from nansurfer.models.config import ModelConfig
from nansurfer.models.state import Arrays
from nansurfer.volume import View


class UNet(nn.Module):
    """The encoder and decoder that both networks share: four poolings, a bottleneck, four unpoolings.

    Parameters
    ----------
    in_channels
        Channels of the input.
    filters
        Channels of every block.
    kernel_size
        Side of the kernels.
    """

    def __init__(self, in_channels: int, filters: int, kernel_size: int) -> None:
        super().__init__()
        self.encode1 = EncoderBlock(in_channels, filters, kernel_size, Entry.NORMALISE)
        self.encode2 = EncoderBlock(filters, filters, kernel_size)
        self.encode3 = EncoderBlock(filters, filters, kernel_size)
        self.encode4 = EncoderBlock(filters, filters, kernel_size)
        self.bottleneck = DenseBlock(filters, filters, kernel_size, Entry.COMPETE)
        self.decode4 = DecoderBlock(filters, kernel_size)
        self.decode3 = DecoderBlock(filters, kernel_size)
        self.decode2 = DecoderBlock(filters, kernel_size)
        self.decode1 = DecoderBlock(filters, kernel_size)

    def features(self, x: Tensor) -> Tensor:
        """Features (N, filters, H, W) of an input (N, in_channels, H, W); H and W divisible by 16."""
        x, skip1, indices1 = self.encode1(x)
        x, skip2, indices2 = self.encode2(x)
        x, skip3, indices3 = self.encode3(x)
        x, skip4, indices4 = self.encode4(x)
        x = self.bottleneck(x)
        x = self.decode4(x, skip4, indices4)
        x = self.decode3(x, skip3, indices3)
        x = self.decode2(x, skip2, indices2)
        features: Tensor = self.decode1(x, skip1, indices1)
        return features


class FastSurferCNN(UNet):
    """FastSurfer's first network: thick slices in, logits out, at 1 mm."""

    def __init__(self, config: ModelConfig, classes: int) -> None:
        super().__init__(config.slices, config.filters, config.kernel_size)
        self.classifier = Classifier(config.filters, classes)
        _initialise(self)

    def forward(self, x: Tensor, scale: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """Logits (N, classes, H, W) of thick slices (N, slices, H, W) in 0..1.

        Raises
        ------
        ConfigError
            ``scale`` is not 1; FastSurfer runs this network at any voxel size.
        """
        if scale != (1.0, 1.0):
            raise ConfigError(f"FastSurferCNN needs 1 mm voxels, not {1 / scale[0]:g} mm; use --vox-size 1.")
        logits: Tensor = self.classifier(self.features(x))
        return logits


class FastSurferVINN(UNet):
    """FastSurfer's voxel-size independent network.

    Two blocks at the image's own resolution embrace the shared network, which always sees 1 mm.
    """

    def __init__(self, config: ModelConfig, classes: int) -> None:
        outer = config.interpolation_filters
        assert outer is not None, "ModelConfig checks this"
        super().__init__(outer, config.filters, config.kernel_size)
        self.base_size = (config.base_size, config.base_size)
        self.inp_block = DenseBlock(config.slices, outer, config.kernel_size, Entry.NORMALISE, norm="gn")
        self.outp_block = DenseBlock(
            config.filters + outer, config.filters, config.kernel_size, Entry.ACTIVATE, norm="gn"
        )
        self.classifier = Classifier(config.filters, classes)
        _initialise(self)

    def forward(self, x: Tensor, scale: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """Logits (N, classes, H, W) of thick slices.

        Parameters
        ----------
        x
            Thick slices (N, slices, H, W), float, 0..1.
        scale
            1 mm divided by the voxel size, along H and along W.
        """
        outer = self.inp_block(x)
        inner, applied = zoom(outer, self.base_size, scale)
        inner = self.features(inner)
        inner, _ = zoom(inner, (outer.shape[2], outer.shape[3]), (1 / applied[0], 1 / applied[1]))
        logits: Tensor = self.classifier(self.outp_block(torch.cat((inner, outer), dim=1)))
        return logits


Network = FastSurferCNN | FastSurferVINN


def build_model(config: ModelConfig, view: View) -> Network:
    """An untrained network for one view of ``config``, in training mode, on the CPU."""
    classes = config.views[view].classes
    cls = FastSurferVINN if config.architecture == "FastSurferVINN" else FastSurferCNN
    return cls(config, classes)


def network_with(config: ModelConfig, view: View, arrays: Arrays) -> Network:
    """A network in evaluation mode with the weights of ``arrays``; PyTorch's random numbers stay as they were."""
    with torch.random.fork_rng(devices=[]):
        network = build_model(config, view)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return network.eval()


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")
