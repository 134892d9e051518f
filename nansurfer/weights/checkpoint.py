"""FastSurfer's checkpoints, which are pickled dictionaries: read without trust, and written for FastSurfer.

FastSurfer loads them with full trust; a pickle can run any code when loaded, so here it may hold tensors and
plain values only.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nansurfer.errors import WeightsError
from nansurfer.files import atomic_path
from nansurfer.models import Network

_STATE_KEYS = ("model_state", "model_state_dict")
"""Where FastSurfer 2 and FastSurfer 1 keep the state dict."""

_PARALLEL_PREFIX = "module."
"""What torch.nn.DataParallel puts before every name."""


class _Discarded:
    """Takes the place of a NumPy scalar, so that loading a checkpoint calls nothing of NumPy."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Discarded, "numpy.dtype"),
    (_Discarded, "numpy.core.multiarray.scalar"),
    (_Discarded, "numpy._core.multiarray.scalar"),
]
"""FastSurfer's ``best_metric`` is a NumPy float64, which NumPy 1 and 2 pickle under different names."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """State dict of a FastSurfer checkpoint as arrays; what is no plain tensor stays what it is, for others to refuse.

    Names lose the ``module.`` that training on several GPUs puts before them.

    Raises
    ------
    WeightsError
        The file is damaged, no checkpoint, or refers to code.
    """
    content = _load_plain(path)
    if isinstance(content, dict):
        for key in _STATE_KEYS:
            if isinstance(state := content.get(key), dict):
                return {str(name).removeprefix(_PARALLEL_PREFIX): as_array(value) for name, value in state.items()}
    raise WeightsError(f"{path} holds no 'model_state'; a checkpoint that FastSurfer wrote is expected.")


def export_fastsurfer(network: Network, path: str | Path, *, epoch: int = 0) -> None:
    """Write a network's weights as a checkpoint that FastSurfer loads.

    Parameters
    ----------
    network
        A network of :func:`nansurfer.models.build_model`; its tensors are named as FastSurfer's.
    path
        Target, ``.pkl`` by custom; appears only when complete.
    epoch
        Training epoch to note in the checkpoint.

    Notes
    -----
    Serves FastSurfer 2 (``model_state``) and FastSurfer 1 (``model_state_dict``); tensors are stored once.
    There is no optimizer state, so FastSurfer can segment and fine-tune with it, but not resume a training.
    """
    state: OrderedDict[str, Tensor] = OrderedDict(
        (name, _for_fastsurfer(tensor)) for name, tensor in network.state_dict().items()
    )
    plain = {"optimizer_state": {}, "epoch": epoch, "best_metric": 0.0, "config": ""}
    with atomic_path(path) as temporary:
        torch.save({**dict.fromkeys(_STATE_KEYS, state), **plain}, temporary)


def _load_plain(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a malformed pickle can raise nearly anything
        # torch names the first forbidden function in its message only
        if forbidden := re.search(r"GLOBAL (\S+)", str(error)):
            problem = f"refers to {forbidden[1]}; refused because loading it would run code"
        else:
            problem = f"cannot be read as a checkpoint ({type(error).__name__}); fetch or copy it again"
        raise WeightsError(f"{path} {problem}.") from error


def as_array(value: Any) -> Any:
    """A plain tensor as an array, bfloat16 as float32; anything else as it is."""
    # Sparse, meta or quantised tensors can be in a pickle without breaking any rule of its format.
    plain = isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"
    if not plain or value.is_quantized:
        return value
    tensor = value.detach()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()  # which has no bfloat16


def _for_fastsurfer(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.float() if tensor.is_floating_point() else tensor
