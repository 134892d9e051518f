"""Whole-brain segmentation of T1 MRI by FastSurfer's network, without computing irrelevant voxels.

>>> import nansurfer
>>> result = nansurfer.segment("subj.mgz", "subjects")  # doctest: +SKIP

The names below are the public face; what they need is loaded when one of them is first used, and PyTorch when an engine
needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nansurfer.lazy import on_demand
from nansurfer.version import __version__

if TYPE_CHECKING:
    from nansurfer.errors import NansurferError
    from nansurfer.pipeline import Progress, SegmentationResult, Segmenter, SegmentOptions, segment

__all__ = [
    "NansurferError",
    "Progress",
    "SegmentOptions",
    "SegmentationResult",
    "Segmenter",
    "__version__",
    "segment",
]

__getattr__ = on_demand(
    __name__,
    {"errors": "NansurferError", "pipeline": "Progress SegmentOptions SegmentationResult Segmenter segment"},
)
