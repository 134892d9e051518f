"""Any network as a NaN network, by swapping layers.

What happens to NaN in each part of a network:

====================  ==================================================================================================
convolution           skipped (NaN in all of the group's channels) where the share of NaN reaches the threshold, else
                      computed with NaN filled; see :func:`nansurfer.nn.functional.nan_conv2d`
pooling               max pooling takes the largest value that is not NaN, and makes NaN as the policy says
unpooling             max unpooling writes NaN to one position, to all tied ones or to the window, as the policy says
batch norm            eval: passes NaN on; training: dense
activation            passes NaN on
maxout                NaN where either input is (``torch.maximum``)
concatenation         passes NaN on, in the channels that came with it
interpolation         ``nn.Upsample``: dense; ``F.interpolate`` in a forward spreads NaN to all that it mixes it with
skip connection       as what joins it: maxout, concatenation, sum (NaN where either is)
classifier            1x1 convolution: skipped or computed as any other; ``nn.Linear``: dense
everything dense      transposed and 1D convolutions, subclasses of convolutions, linear layers, other poolings,
                      instance, group and layer norms, upsampling: NaN in the input is replaced by the mean of the
                      sample's other values, of each channel by itself; see :func:`nansurfer.nn.left_dense`
====================  ==================================================================================================

What a forward does by itself (``F.avg_pool2d``, ``x.mean()``, attention) cannot be swapped and follows PyTorch.
"""

from __future__ import annotations

import copy
import logging

from torch import nn

from nansurfer.errors import ConfigError
from nansurfer.nn.dense import guard_dense_layers, left_dense
from nansurfer.nn.layers import NAN_LAYERS, NaNConv, NaNMaxPool
from nansurfer.nn.policy import NaNPolicy

_logger = logging.getLogger("nansurfer")
_NAN_CLASS = {cls.torch_type: cls for cls in NAN_LAYERS}


def nanify(model: nn.Module, policy: NaNPolicy) -> nn.Module:
    """A copy of ``model`` whose convolutions, max poolings and max unpoolings are NaN layers.

    Parameters
    ----------
    model
        Any module; it is not changed. Layers of exactly PyTorch's classes are swapped, in 2D and 3D, however deep
        they lie; a layer in several places stays one layer. State dicts stay interchangeable.
    policy
        Where NaN comes from and how it travels. Mode ``"off"`` swaps convolutions only, so that they are counted.

    Raises
    ------
    ConfigError
        There is nothing to swap.

    Notes
    -----
    Layers that are left dense are logged; the module's docstring says what happens to NaN in each kind of layer.
    """
    model = copy.deepcopy(model)
    swapped = {layer: _nan_layer(layer, policy) for layer in model.modules()}
    if all(layer is new for layer, new in swapped.items()):
        raise ConfigError(
            f"{type(model).__name__} has no layer that mode {policy.mode!r} can swap; give a network with Conv2d, "
            "Conv3d, MaxPool or MaxUnpool layers that are not NaN layers yet."
        )
    for parent in swapped:
        for name, child in parent._modules.items():
            if child is not None:
                parent._modules[name] = swapped[child]
    model = swapped[model]
    if policy.mode != "off":  # no NaN arises
        guard_dense_layers(model)
        if names := left_dense(model):
            _logger.info("Layers without a NaN version, left dense: %s.", ", ".join(names))
    return model


def _nan_layer(layer: nn.Module, policy: NaNPolicy) -> nn.Module:
    """The NaN layer in the place of ``layer``, or ``layer`` itself."""
    cls = _NAN_CLASS.get(type(layer))
    if cls is None or (policy.mode == "off" and not issubclass(cls, NaNConv)):
        return layer
    if issubclass(cls, NaNConv):
        options = policy.conv_options
    else:
        options = policy.pool_options if issubclass(cls, NaNMaxPool) else policy.unpool_options
    return cls.from_torch(layer, **options)
