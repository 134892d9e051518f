"""From label volumes to the classes of a network, and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nansurfer.errors import ConfigError
from nansurfer.labels.sagittal import SAGITTAL_TO_FULL
from nansurfer.labels.table import load_table
from nansurfer.volume.views import View

RIGHT_CORTEX_OFFSET = 1000
"""FreeSurfer: a right cortical label is the left one plus 1000."""

MERGED_LABELS: Mapping[int, int] = {
    30: 2,  # left vessel -> left white matter
    62: 41,  # right vessel -> right white matter
    72: 24,  # 5th ventricle -> CSF
    80: 77,  # non-white-matter hypointensities -> hypointensities
    85: 0,  # optic chiasm
    29: 0,  # left undetermined
    61: 0,  # right undetermined
    3: 0,  # left cortex without a parcel
    42: 0,  # right cortex without a parcel
    1000: 0,  # left cortex, parcel unknown
    2000: 0,  # right cortex, parcel unknown
}
"""FreeSurfer labels without a class, and the label that FastSurfer's training data give them. For 1000 and
2000 FastSurfer looks for the nearest parcel instead; here they are background."""


def labels_to_classes(labels: npt.NDArray[np.integer[Any]], view: View) -> npt.NDArray[np.uint8]:
    """Classes of one view's network for a volume labelled by FreeSurfer or by this program.

    Right cortical parcels that have no class of their own take the left one's, and what the classes lack is
    merged as `MERGED_LABELS` says.

    Parameters
    ----------
    labels
        FreeSurfer labels with DKT cortex, any shape, integer.
    view
        ``"coronal"`` and ``"axial"`` give 79 classes, ``"sagittal"`` 51.

    Returns
    -------
    classes
        Of the shape of ``labels``, uint8.

    Raises
    ------
    ConfigError
        The volume holds labels that no class stands for, or ``view`` is none of the three.
    """
    if view not in ("coronal", "sagittal", "axial"):
        raise ConfigError(f"The view is {view!r}; it must be 'coronal', 'sagittal' or 'axial'.")
    classes = map_labels(labels, _class_of_label()).astype(np.uint8)
    return SAGITTAL_TO_FULL[classes].astype(np.uint8) if view == "sagittal" else classes


def classes_to_labels(classes: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int16]:
    """FreeSurfer labels, int16, for a volume of the 79 full classes of any shape.

    Cortical labels come out as the network knows them; `split_cortex` tells their sides apart.
    """
    return np.asarray(load_table().class_labels[classes])


def map_labels(labels: npt.NDArray[np.integer[Any]], values: Mapping[int, int]) -> npt.NDArray[np.int16]:
    """``values[label]`` for every voxel, int16.

    Raises
    ------
    ConfigError
        The volume holds labels that ``values`` lacks.
    """
    known = np.isin(labels, list(values))
    if not known.all():
        unknown = ", ".join(map(str, np.unique(labels[~known])))
        raise ConfigError(
            f"The label volume holds {unknown}, which the segmentation does not know; "
            "relabel these voxels as the structure around them, or as 0."
        )
    lookup = np.zeros(max(values) + 1, dtype=np.int16)
    lookup[list(values)] = list(values.values())
    return np.asarray(lookup[labels])


@lru_cache(maxsize=1)
def _class_of_label() -> dict[int, int]:
    table = load_table()
    classes = {int(label): index for index, label in enumerate(table.class_labels)}
    fused = {label: classes[label - RIGHT_CORTEX_OFFSET] for label in table.labels_without_class}
    merged = {label: classes[other] for label, other in MERGED_LABELS.items()}
    return classes | fused | merged
