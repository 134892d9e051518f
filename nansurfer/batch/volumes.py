"""The volumes that are looked at over a whole batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nansurfer.batch.outliers import UsualRange, usual_range
from nansurfer.batch.tables import structure_columns


@dataclass(frozen=True)
class ShownVolume:
    """A volume that the batch's page shows.

    Parameters
    ----------
    heading
        Of its column.
    parts
        Columns of the group table whose sum it is.
    digits
        Decimals of its value in ml.
    """

    heading: str
    parts: tuple[str, ...]
    digits: int

    def text(self, volume_ml: float) -> str:
        """The volume as the page writes it."""
        return f"{volume_ml:.{self.digits}f}"


SHOWN_VOLUMES = (
    ShownVolume("brain", tuple(structure_columns()), 0),
    ShownVolume("cortex", tuple(name for name in structure_columns() if name.startswith("ctx-")), 0),
    ShownVolume("cerebral white matter", ("CerebralWhiteMatterVol",), 0),
    ShownVolume("left hippocampus", ("Left-Hippocampus",), 2),
    ShownVolume("right hippocampus", ("Right-Hippocampus",), 2),
    ShownVolume("left lateral ventricle", ("Left-Lateral-Ventricle",), 1),
    ShownVolume("right lateral ventricle", ("Right-Lateral-Ventricle",), 1),
)


class BatchVolumes:
    """`SHOWN_VOLUMES` of a batch's subjects in ml, and the range in which each of them usually lies.

    Parameters
    ----------
    group_rows
        Each subject with its volumes in mm³, as `read_group_table` gives them.
    """

    def __init__(self, group_rows: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        self._subjects: dict[str, list[float]] = {
            sid: [sum(volumes_mm3[part] for part in shown.parts) / 1000 for shown in SHOWN_VOLUMES]
            for sid, volumes_mm3 in group_rows
        }
        columns = np.array(list(self._subjects.values()), dtype=float).reshape(-1, len(SHOWN_VOLUMES)).T
        self.ranges: list[UsualRange | None] = [usual_range(column) for column in columns]

    def of(self, sid: str) -> Sequence[float] | None:
        """A subject's volumes; None where the group table lacks it."""
        return self._subjects.get(sid)

    def with_outliers(self) -> set[str]:
        """The subjects of which at least one volume is out of its usual range."""
        return {
            sid
            for sid, volumes in self._subjects.items()
            if any(usual and not usual.holds(volume) for volume, usual in zip(volumes, self.ranges, strict=True))
        }
