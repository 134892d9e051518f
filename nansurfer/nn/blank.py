"""The blank response: what each convolution sees where an image is empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nansurfer.errors import ConfigError
from nansurfer.nn.layers import NaNConv


def record_blank(model: nn.Module, *example_inputs: Any) -> None:
    """Remember every convolution's input for an empty image, as the values to fill NaN with (``fill="blank"``).

    Parameters
    ----------
    model
        A nanified model; it is run once, in evaluation mode, without counting.
    example_inputs
        Arguments of its forward for one empty image, without NaN. Inputs that follow must have the same size.

    Raises
    ------
    ConfigError
        A convolution saw NaN, or ran more than once, so that no single response is its own.

    Notes
    -----
    Published nowhere else: the mean of a mixed window shows the network a brain without an edge, whereas its own
    response to emptiness is what it would have seen there. Holds one input (C, *spatial) a layer.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, NaNConv) and module.options.fill == "blank"
    }
    if not layers:
        raise ConfigError('No layer of the model fills with "blank"; nanify it with such a policy first.')
    with ExitStack() as undo:
        undo.enter_context(torch.no_grad())
        undo.enter_context(_evaluating(model))
        for name, layer in layers.items():
            layer.blank = None
            undo.callback(layer.register_forward_pre_hook(partial(_remember, name)).remove)
        model(*example_inputs)


def _remember(name: str, layer: NaNConv, args: tuple[Tensor]) -> None:
    (x,) = args
    if layer.blank is not None:
        raise ConfigError(f"Layer {name} runs more than once and so has no blank response of its own; fill by mean.")
    if x.isnan().any():
        raise ConfigError(f"Layer {name} saw NaN in an empty image; record its blank response on inputs without NaN.")
    layer.blank = x[0].detach().clone()


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
