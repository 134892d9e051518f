"""The blank response: what each layer sees where an image is empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from nansurfer.errors import ConfigError
from nansurfer.nn.layers import NaNConv, NaNMaxPool


def record_blank(model: nn.Module, *example_inputs: Any) -> None:
    """Remember what an empty image is like to each layer, as the values to fill NaN with (``fill="blank"``).

    That is the input of convolutions, and the output of poolings with a margin.

    Parameters
    ----------
    model
        A nanified model; it is run once, in evaluation mode, without counting.
    example_inputs
        Arguments of its forward for one empty image, without NaN. Inputs that follow must have the same size.

    Raises
    ------
    ConfigError
        A layer saw NaN, or ran more than once, so that no single response is its own.

    Notes
    -----
    Published nowhere else: the mean of a mixed window shows the network a brain without an edge, whereas its own
    response to emptiness is what it would have seen there. Holds one input (C, *spatial) a layer.
    """
    layers = {name: module for name, module in model.named_modules() if _uses_blank(module)}
    if not layers:
        raise ConfigError('No layer of the model fills with "blank"; nanify it with such a policy first.')
    with ExitStack() as undo:
        undo.enter_context(torch.no_grad())
        undo.enter_context(_evaluating(model))
        for name, layer in layers.items():
            layer.blank = None
            undo.callback(layer.register_forward_pre_hook(partial(_remember, name)).remove)
        model(*example_inputs)


def _uses_blank(module: nn.Module) -> TypeGuard[NaNConv | NaNMaxPool]:
    if isinstance(module, NaNConv):
        return module.options.fill == "blank"
    return isinstance(module, NaNMaxPool) and module.options.margin > 0


def _remember(name: str, layer: NaNConv | NaNMaxPool, args: tuple[Tensor]) -> None:
    (x,) = args
    if layer.blank is not None:
        raise ConfigError(f"Layer {name} runs more than once and so has no blank response of its own; fill by mean.")
    if x.isnan().any():
        raise ConfigError(f"Layer {name} saw NaN in an empty image; record its blank response on inputs without NaN.")
    if isinstance(layer, NaNConv):
        layer.blank = x[0].detach().clone()
    else:
        values, indices = layer.pool(x[:1])
        layer.blank = values[0].detach(), indices[0]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode and without counting, then as it was."""
    modes = [(module, module.training) for module in model.modules()]
    counting = [(module, module.counting) for module in model.modules() if isinstance(module, NaNConv)]
    model.eval()
    for layer, _ in counting:
        layer.counting = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for layer, enabled in counting:
            layer.counting = enabled
