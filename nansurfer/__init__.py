"""Whole-brain segmentation of T1 MRI by FastSurfer's network, without computing irrelevant voxels.

>>> import nansurfer
>>> result = nansurfer.segment("subj.mgz", "subjects")  # doctest: +SKIP

The names below are the public face; PyTorch is loaded when one of them is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nansurfer.version import __version__

if TYPE_CHECKING:
    from nansurfer.errors import NansurferError
    from nansurfer.pipeline import Progress, SegmentationResult, Segmenter, SegmentOptions, segment

_HOMES = {
    "NansurferError": "nansurfer.errors",
    "Progress": "nansurfer.pipeline",
    "SegmentOptions": "nansurfer.pipeline",
    "SegmentationResult": "nansurfer.pipeline",
    "Segmenter": "nansurfer.pipeline",
    "segment": "nansurfer.pipeline",
}

__all__ = [
    "NansurferError",
    "Progress",
    "SegmentOptions",
    "SegmentationResult",
    "Segmenter",
    "__version__",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nansurfer' has no attribute '{name}'")
