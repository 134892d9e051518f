"""Pictures of the skip report: the brain's middle in each view, segmented, and under what was skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image

from nansurfer.labels import load_table
from nansurfer.report.overlay import grey_levels, grey_panel, label_colors, outlines, overlay
from nansurfer.report.planes import PLANES, Box, Plane, frame_of_head, labelled_box, spread, to_page
from nansurfer.report.skips import ViewSkips
from nansurfer.volume import VIEWS, from_view, whole_box

TINT, MAX_OPACITY = (40, 150, 255), 0.6
"""Colour that lies over what was skipped, and its opacity where everything was."""

_PLANE_OF = dict(zip(VIEWS, PLANES, strict=True))
_PIXELS_PER_VOXEL = 3
_MARGIN_VOXELS = 12  # air around the head, where most is skipped
_OUTLINE_GREY = 255


@dataclass(frozen=True)
class PlanePictures:
    """One slice through the brain's middle, as seen in one view.

    Parameters
    ----------
    view
        Whose slice it is.
    position
        Where it lies, such as ``"z = −12 mm"``.
    sides
        What lies on the left and on the right.
    size
        Width and height of the slice's part that is shown, in voxels.
    tint_box
        Left, top, width and height at which ``tint`` lies over that part, in voxels; it sticks out.
    t1, segmentation : bytes
        PNG of that part: grey with the brain's outline; in colour with the labels.
    tint : bytes
        PNG with a pixel for each tile of the whole slice, the more opaque the more was skipped.
    """

    view: str
    position: str
    sides: tuple[str, str]
    size: tuple[int, int]
    tint_box: tuple[int, int, int, int]
    t1: bytes
    segmentation: bytes
    tint: bytes


def plane_pictures(
    views: Sequence[ViewSkips], conformed: nib.MGHImage, labels: npt.NDArray[np.integer[Any]]
) -> list[PlanePictures]:
    """The middle slice of each view, upright and in radiological convention."""
    t1, affine = to_page(np.asanyarray(conformed.dataobj), conformed.affine)
    labels, _ = to_page(labels, conformed.affine)
    labelled = labelled_box(labels)
    head = frame_of_head(t1, labelled, float(np.linalg.norm(affine[:3, 1])))
    frame = _widened(head, t1.shape)
    levels, colors = grey_levels(t1, labels), label_colors(load_table(), int(labels.max()))

    def of_view(view: ViewSkips) -> PlanePictures:
        plane = _PLANE_OF[view.view]
        [index] = spread((labelled or head)[plane.axis], 1)
        width, height = (frame[axis].stop - frame[axis].start for axis in (plane.columns, plane.rows))
        bare = grey_panel(levels[plane.take(t1, index, frame)], (width * _PIXELS_PER_VOXEL, height * _PIXELS_PER_VOXEL))
        here = plane.take(labels, index, frame)
        world = "xyz"[plane.world_axis]
        return PlanePictures(
            view=view.view,
            position=f"{world} = {round(plane.position_mm(index, affine, frame)):+d} mm".replace("-", "−"),
            sides=plane.sides,
            size=(width, height),
            tint_box=_tint_box(plane, frame, t1.shape),
            t1=_png(_outlined(bare, here)),
            segmentation=_png(overlay(bare, here, colors).quantize(method=Image.Quantize.FASTOCTREE)),
            tint=_png(_tint(view, plane, index, conformed.affine)),
        )

    return [of_view(view) for view in views]


def _widened(frame: Box, shape: tuple[int, ...]) -> Box:
    across, along, behind = (
        slice(max(part.start - _MARGIN_VOXELS, 0), min(part.stop + _MARGIN_VOXELS, length))
        for part, length in zip(frame, shape, strict=True)
    )
    return across, along, behind


def _tint_box(plane: Plane, frame: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Where the whole slice lies, seen from the upper left corner of its part in the frame."""
    return -frame[plane.columns].start, -frame[plane.rows].start, shape[plane.columns], shape[plane.rows]


def _outlined(panel: Image.Image, labels: npt.NDArray[np.integer[Any]]) -> Image.Image:
    """The panel in grey with a line around all that is labelled."""
    brain = Image.fromarray((labels > 0).astype(np.uint8)).resize(panel.size, Image.Resampling.NEAREST)
    return Image.fromarray(np.where(outlines(np.asarray(brain)), _OUTLINE_GREY, np.asarray(panel.convert("L"))))


def _tint(view: ViewSkips, plane: Plane, index: int, affine: npt.NDArray[np.float64]) -> Image.Image:
    """The tiles of a slice, (rows, columns) as on the page."""
    in_view = np.moveaxis(view.skipped_share, 0, 2)  # (S, h, w) -> (h, w, S)
    tiles, _ = to_page(from_view(in_view, view.view), affine)
    share = plane.take(tiles, index, whole_box(tiles))
    pixels = np.empty((*share.shape, 4), np.uint8)
    pixels[..., :3] = TINT
    pixels[..., 3] = (share * MAX_OPACITY * 255).round()
    return Image.fromarray(pixels)


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
