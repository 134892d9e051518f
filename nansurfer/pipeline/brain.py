"""Where in a head the brain is, so that face, neck and scalp need no labels.

The first view of the whole head tells: of the other views, labels are wanted near to what it labels, and nowhere else.
Their networks still see the whole head, since labels at the brain's surface depend on what is around it: background in
place of skull and scalp, as near as 12 mm to the brain, brings Dice from 0.996 to 0.962. They only leave out the last
decoder, half of their work. One view can be wrong: labels that go on to where no brain is expected tell of it, and then
all views are computed for the whole head after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nansurfer.engine import Sums
from nansurfer.labels.regions import largest_component
from nansurfer.pipeline.aggregate import Scene
from nansurfer.volume import Box
from nansurfer.volume.box import large_components

NO_BRAIN_BELOW_ML = 100.0
"""Less than a third of a newborn's brain: whatever was labelled, it is no brain."""

MARGIN_MM = 10.0
"""How far from what the first view labels labels are wanted; `Scene.margin` comes on top of it."""

EXPECTED_WITHIN_MM = 8.0
"""How far from what the first view labels there may be brain that it has not seen."""

CUT_FROM_ML = 0.25
"""Labels in one solid piece farther away than that, from which on the brain may have been cut."""

STRIPPED_BELOW_ML = 2500.0
"""A head that is smaller is a brain that was cut out of one, or a child's: there is little to leave out."""

_CELL_MM = 2.0  # side of the cells for which distances are told: an eighth of the voxels

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Part:
    """A part of a scene: the cells in which no brain is expected, and the voxels of head that are left out."""

    box: Box
    far: _Mask
    left_out: int


class BrainSearch:
    """What the first view tells of where the brain is in a head.

    Parameters
    ----------
    scene
        Of the whole head.

    Notes
    -----
    Measured (compact weights) on a head, and on copies of it rotated by 15 and 30 degrees, mirrored, and cut off below
    the brain: what FreeSurfer and the three views of the whole head both label is at most 5.7 mm from what the coronal
    view labels, 8.5 mm in the head rotated by 30 degrees; so nothing of it is lost. Beyond 8 mm, the restricted views
    label at most 0.12 ml in one solid piece, and FreeSurfer 3 voxels.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene, self._side = scene, max(1, round(_CELL_MM * scene.scale))
        self._reach_mm = MARGIN_MM + scene.margin / scene.scale
        self._head_voxels = scene.volume[scene.box].size if scene.head is None else int(np.count_nonzero(scene.head))
        self._parts: list[_Part] = []
        self._run_again = False

    def near_brain(self, sums: Sums, box: Box) -> _Mask | None:
        """Where the other views' labels are wanted.

        Parameters
        ----------
        sums
            The first view's, of a part of the scene, float16 (X', Y', Z', classes).
        box
            Where in the scene that part is.

        Returns
        -------
        bool (X', Y', Z')
            Near to another part, whose brain is not known, all is wanted. None: everywhere, since there is no brain, or
            little else.
        """
        if self._volume_ml(self._head_voxels) < STRIPPED_BELOW_ML:
            return None
        side = self._side
        brain = large_components(_labelled(sums[::side, ::side, ::side]))
        if self._volume_ml(np.count_nonzero(brain) * side**3) < NO_BRAIN_BELOW_ML:
            return None
        distance_mm = self._distance_mm(brain, box)
        wanted = _voxels(distance_mm <= self._reach_mm, side, sums.shape[:3])
        left_out = ~wanted if self._scene.head is None else self._scene.head[box] & ~wanted
        self._parts.append(_Part(box, distance_mm > EXPECTED_WITHIN_MM, int(np.count_nonzero(left_out))))
        return wanted

    def may_have_cut(self, classes: npt.NDArray[np.uint8]) -> bool:
        """Whether the classes (X, Y, Z) that came of it are labels where no brain is expected.

        Labels count if they fill whole cells that touch each other: not thin meninges, nor specks of scalp.
        """
        pieces = (largest_component(_filled(classes[part.box] > 0, self._side) & part.far) for part in self._parts)
        return any(self._volume_ml(np.count_nonzero(piece) * self._side**3) >= CUT_FROM_ML for piece in pieces)

    def give_up(self) -> None:
        """Note that all views were computed for the whole head after all."""
        self._run_again = True

    @property
    def findings(self) -> dict[str, Any]:
        """What the reports tell of it: the same after every run."""
        return {
            "brain_margin_mm": round(self._reach_mm, 2),
            "brain_share_of_head": round(1 - sum(part.left_out for part in self._parts) / self._head_voxels, 4),
            "brain_restricted": bool(self._parts) and not self._run_again,
            "brain_run_again": self._run_again,
        }

    def _distance_mm(self, brain: _Mask, box: Box) -> npt.NDArray[np.float64]:
        """From each cell to the nearest of the brain, or of another part: they are cut across the last axis."""
        part, whole = box[2], self._scene.box[2]
        before, after = int(part.start > whole.start), int(part.stop < whole.stop)
        near = np.pad(brain, ((0, 0), (0, 0), (before, after)), constant_values=True)
        sampling = self._side / self._scene.scale
        distance_mm: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~near, sampling=sampling)
        return distance_mm[:, :, before : before + brain.shape[2]]

    def _volume_ml(self, n_voxels: int) -> float:
        return n_voxels / self._scene.scale**3 / 1000


def _labelled(sums: Sums) -> _Mask:
    """Where some class beats the background, of sums (X', Y', Z', classes)."""
    return np.stack([_beaten(plane if isinstance(plane, np.ndarray) else plane.cpu().numpy()) for plane in sums])


def _beaten(sums: npt.NDArray[np.float16]) -> _Mask:
    """Where some class beats the background, of sums (..., classes)."""
    values = sums.astype(np.float32)  # in float16 NumPy compares slowly
    beaten: _Mask = values[..., 1:].max(-1) > values[..., 0]
    return beaten


def _filled(mask: _Mask, side: int) -> _Mask:
    """The cells, of so many voxels along each axis, in which a mask is True everywhere."""
    for axis in range(mask.ndim):
        mask = np.logical_and.reduceat(mask, np.arange(0, mask.shape[axis], side), axis=axis)
    return mask


def _voxels(cells: _Mask, side: int, shape: Sequence[int]) -> _Mask:
    """A mask of cells as one of voxels, cut to a shape."""
    for axis, length in enumerate(shape):
        cells = cells.repeat(side, axis).take(range(length), axis)
    return cells
