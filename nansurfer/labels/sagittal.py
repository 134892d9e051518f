"""The sagittal network's 51 classes, which do not tell left from right.

A sagittal slice shows one hemisphere and does not say which, so structures that come in pairs share a class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nansurfer.labels.table import LabelTable, load_table

N_SAGITTAL_CLASSES = 51
"""Classes of the sagittal network."""

_SHARED_PREFIXES = (("Left-", "Right-"), ("ctx-rh-", "ctx-lh-"))
"""Prefix of a structure without a sagittal class of its own, and of the one whose class it shares
(FastSurfer: the right one stands for both below the cortex, the left one in it)."""


def _shared_name(name: str) -> str:
    for prefix, shared in _SHARED_PREFIXES:
        if name.startswith(prefix):
            return shared + name.removeprefix(prefix)
    return name


def _sagittal_classes(table: LabelTable) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.intp]]:
    """Labels of the sagittal classes (51,), and the sagittal class of each of the full classes (79,)."""
    names = [table.name(label) for label in table.class_labels]
    own = [name for name in names if _shared_name(name) == name]
    labels = table.class_labels[[names.index(name) for name in own]]
    to_full = np.array([own.index(_shared_name(name)) for name in names], dtype=np.intp)
    for array in (labels, to_full):
        array.setflags(write=False)
    return labels, to_full


SAGITTAL_CLASS_LABELS, SAGITTAL_TO_FULL = _sagittal_classes(load_table())
"""``SAGITTAL_CLASS_LABELS`` (51,), int16: the label that stands for each sagittal class.
``SAGITTAL_TO_FULL`` (79,): the sagittal class of each full class, so that ``logits[:, SAGITTAL_TO_FULL]``
spreads 51 channels over 79."""
