"""The quality picture of a run: slices of the T1, bare and with the labels over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from unicodedata import combining, normalize

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from nansurfer.errors import InputGeometryError
from nansurfer.files import atomic_path
from nansurfer.labels import LabelTable
from nansurfer.report.overlay import grey_levels, grey_panel, label_colors, overlay
from nansurfer.report.planes import PLANES, Box, Plane, frame_of_head, labelled_box, spread, to_page

# Pixels.
_WIDTH, _MARGIN, _GAP, _HEADER, _TITLE = 1920, 28, 8, 76, 44
_LARGE, _SMALL = 24, 17
_THUMBNAIL, _SEEN_SMALL = (192, 160), (330, 275)  # the size for lists, and of the part of the page that it shows
_BACKGROUND, _TEXT, _DIM_TEXT, _ALARM = (12, 12, 14), (235, 235, 235), (150, 154, 160), (255, 92, 72)
_CONVENTION = "Radiological: the patient's right is on the left. Positions in mm (RAS)."
_NOTHING_LABELLED = "NOTHING IS LABELLED"
_PNG_LEVEL = 5  # 4 % larger than with the usual 6, in two thirds of the time


def mosaic(
    t1: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer[Any]],
    table: LabelTable,
    affine: npt.NDArray[np.float64],
    *,
    caption: str = "",
) -> Image.Image:
    """A picture to judge a segmentation by: axial, coronal and sagittal slices, bare and with the labels.

    Parameters
    ----------
    t1 : uint8 array of shape (X, Y, Z)
        Conformed T1.
    labels : integer array of shape (X, Y, Z)
        FreeSurfer's label numbers, 0 outside the brain. Those that ``table`` lacks are drawn in magenta.
    table : LabelTable
        Colours of the labels.
    affine : array of shape (4, 4)
        From voxels to RAS millimetres. Any orientation is shown upright and with its sides marked.
    caption : str
        One line for the top: the subject, the brain's volume, the weights, say. The bundled font has ASCII and "·":
        letters lose their accents, and others become boxes.

    Returns
    -------
    PIL.Image.Image
        RGB, 1920 pixels wide. All panels have one scale and show the whole head, so that brain which the
        labels miss is seen; the slices are spread evenly over the labels, or over the head if there are none.

    Raises
    ------
    InputGeometryError
        The T1 and the labels differ in shape.
    """
    if t1.shape != labels.shape:
        raise InputGeometryError(
            f"The T1 has shape {t1.shape} and the labels {labels.shape}; pass two volumes on the same grid."
        )
    labels, _ = to_page(labels, affine)
    t1, affine = to_page(t1, affine)
    labelled = labelled_box(labels)
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    frame = frame_of_head(t1, labelled, voxel_mm[1])
    layout = _Layout.of(frame, voxel_mm)
    levels, colors = grey_levels(t1, labels), label_colors(table, int(labels.max()))

    page = Image.new("RGB", (_WIDTH, layout.height), _BACKGROUND)
    _write_header(page, caption, alarm="" if labelled else _NOTHING_LABELLED)
    for plane in PLANES:
        y = layout.top(plane)
        ImageDraw.Draw(page).text((_MARGIN, y - 10), plane.title, _TEXT, _font(_SMALL), anchor="ls")
        for i, index in enumerate(spread((labelled or frame)[plane.axis], plane.n_slices)):
            bare = grey_panel(levels[plane.take(t1, index, frame)], layout.panel(plane))
            over = overlay(bare, plane.take(labels, index, frame), colors)
            position = f"{'xyz'[plane.world_axis]} {round(plane.position_mm(index, affine, frame)):+d}"
            x = layout.left(plane, i)
            for panel, below in ((bare, 0), (over, bare.height + _GAP)):
                _mark(panel, plane.sides, position)
                page.paste(panel, (x, y + below))
    return page


def save_mosaic(image: Image.Image, path: str | Path) -> None:
    """Write a mosaic as PNG, whole or not at all.

    Raises
    ------
    OutputError
        The folder cannot be written, or the disk is full.
    """
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", compress_level=_PNG_LEVEL)


def save_thumbnail(image: Image.Image, path: str | Path) -> None:
    """Write the middle of a mosaic's last row, mid-sagittal with the labels, as a JPEG of some kB for lists.

    Raises
    ------
    OutputError
        The folder cannot be written, or the disk is full.
    """
    width, height = _SEEN_SMALL
    left, bottom = (image.width - width) // 2, image.height - _MARGIN
    part = image.crop((left, bottom - height, left + width, bottom))
    with atomic_path(path) as temporary:
        part.resize(_THUMBNAIL).save(temporary, format="JPEG")


@dataclass(frozen=True)
class _Layout:
    """Where the panels lie on the page: a block of two rows (bare, labelled) for each plane."""

    size_mm: tuple[float, ...]
    pixels_per_mm: float

    @classmethod
    def of(cls, frame: Box, voxel_mm: npt.NDArray[np.float64]) -> _Layout:
        """The largest scale at which every row fits the width."""
        size_mm = tuple((s.stop - s.start) * mm for s, mm in zip(frame, voxel_mm, strict=True))
        room = {plane: _WIDTH - 2 * _MARGIN - (plane.n_slices - 1) * _GAP for plane in PLANES}
        scales = (room[plane] / (plane.n_slices * size_mm[plane.columns]) for plane in PLANES)
        return cls(size_mm, min(scales))

    @property
    def height(self) -> int:
        return _HEADER + sum(map(self._block_height, PLANES)) + _MARGIN

    def panel(self, plane: Plane) -> tuple[int, int]:
        """Width and height of a panel."""
        width, height = self.size_mm[plane.columns], self.size_mm[plane.rows]
        return int(width * self.pixels_per_mm), int(height * self.pixels_per_mm)

    def top(self, plane: Plane) -> int:
        """Upper edge of the plane's first row."""
        above = PLANES[: PLANES.index(plane)]
        return _HEADER + sum(map(self._block_height, above)) + _TITLE

    def left(self, plane: Plane, i: int) -> int:
        """Left edge of the plane's panel number ``i``; the first and the last touch the margins."""
        free = _WIDTH - 2 * _MARGIN - self.panel(plane)[0]
        return _MARGIN + round(i * free / (plane.n_slices - 1))

    def _block_height(self, plane: Plane) -> int:
        return _TITLE + 2 * self.panel(plane)[1] + _GAP


def _write_header(page: Image.Image, caption: str, alarm: str) -> None:
    draw, right = ImageDraw.Draw(page), _WIDTH - _MARGIN
    draw.text((_MARGIN, _HEADER - 30), _drawable(caption), _TEXT, _font(_LARGE), anchor="ls")
    draw.text((right, _HEADER - 30), alarm, _ALARM, _font(_LARGE), anchor="rs")
    draw.text((right, _HEADER + _TITLE - 10), _CONVENTION, _DIM_TEXT, _font(_SMALL), anchor="rs")


def _drawable(text: str) -> str:
    """A text on one line, as Pillow aligns no other, and without accents."""
    return "".join(c for c in normalize("NFKD", " ".join(text.splitlines())) if not combining(c))


def _mark(panel: Image.Image, sides: tuple[str, str], position: str) -> None:
    """Write the sides and the position onto a panel."""
    draw, right, bottom = ImageDraw.Draw(panel), panel.width - 6, panel.height - 6
    left_side, right_side = sides
    marks = (((6, 5), left_side, "la"), ((right, 5), right_side, "ra"), ((6, bottom), position, "ls"))
    for xy, text, anchor in marks:
        draw.text(xy, text, _TEXT, _font(_SMALL), anchor=anchor, stroke_width=2, stroke_fill=_BACKGROUND)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
