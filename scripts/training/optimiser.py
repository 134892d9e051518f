"""Muon for the kernels, AdamW for everything else, stepped as one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class KernelOptimiser:
    """Muon (Jordan et al., 2024) for 3x3 kernels and larger, AdamW for biases, batch norms, slopes and 1x1 kernels.

    Muon makes the update of a matrix orthogonal, so that no direction of it outweighs the others. A kernel is the
    matrix (filters, weights of a filter). Its updates are scaled to the size of AdamW's, so that one learning rate does
    for both.

    Parameters
    ----------
    network
        In channels-last memory, where the matrices are views of the kernels.
    learning_rate, weight_decay
        Of both.
    """

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float) -> None:
        self._network = network
        self._kernels = [value for value in network.parameters() if value.ndim == 4 and value.shape[2] > 1]
        self._matrices = [nn.Parameter(_matrix(kernel.detach())) for kernel in self._kernels]
        same = (m.data_ptr() == k.data_ptr() for m, k in zip(self._matrices, self._kernels, strict=True))
        assert all(same), "kernels are not in channels-last memory"
        chosen = set(map(id, self._kernels))
        others = [value for value in network.parameters() if id(value) not in chosen]
        options: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
        self._parts = (
            torch.optim.Muon(self._matrices, adjust_lr_fn="match_rms_adamw", **options),
            torch.optim.AdamW(others, **options),
        )

    def set_learning_rate(self, value: float) -> None:
        """Use another learning rate from the next step on."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = value

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._network.zero_grad()

    def step(self) -> None:
        """Change the network by its gradients."""
        for matrix, kernel in zip(self._matrices, self._kernels, strict=True):
            assert kernel.grad is not None
            matrix.grad = _matrix(kernel.grad)
        for part in self._parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """All that :meth:`load_state_dict` needs."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Go on where another was."""
        for part, own in zip(self._parts, state, strict=True):
            part.load_state_dict(own)


def _matrix(kernel: Tensor) -> Tensor:
    """A kernel (filters, channels, height, width) as (filters, height * width * channels)."""
    return kernel.permute(0, 2, 3, 1).flatten(1)
