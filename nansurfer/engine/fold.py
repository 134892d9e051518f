"""Batch norms folded into the convolutions before them."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nansurfer.models.blocks import DenseBlock
from nansurfer.models.networks import Network


def fold_batch_norms(network: Network) -> Network:
    """A copy of a network in evaluation mode without the batch norms that follow a convolution.

    ``bn0``, which comes before a convolution, stays: zero padding would see it.
    """
    folded = copy.deepcopy(network)
    for block in folded.modules():
        if isinstance(block, DenseBlock):
            for index in range(4):
                conv_name, norm_name = block.stage_names(index)
                conv, norm = block.get_submodule(conv_name), block.get_submodule(norm_name)
                assert isinstance(conv, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                setattr(block, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(block, norm_name, nn.Identity())
    return folded
