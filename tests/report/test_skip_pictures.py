"""The pictures of the skip report: what was skipped lies where it lies in the head."""

from __future__ import annotations

import dataclasses
from io import BytesIO

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from nansurfer.report import ViewSkips
from nansurfer.report.planes import PLANES
from nansurfer.report.skip_pictures import TINT, PlanePictures, plane_pictures
from nansurfer.volume import VIEWS, View, to_view

SIZE, TILE = 48, 6
LIA = np.array([[-1.0, 0, 0, 24], [0, 0, 1, -24], [0, -1, 0, 24], [0, 0, 0, 1]])
BRAIN = (slice(12, 36), slice(10, 34), slice(9, 42))


@pytest.fixture
def t1() -> nib.MGHImage:
    data = np.zeros((SIZE, SIZE, SIZE), np.uint8)
    data[BRAIN] = 100
    return nib.MGHImage(data, LIA)


@pytest.fixture
def labels(t1: nib.MGHImage) -> np.ndarray:
    return np.where(np.asarray(t1.dataobj) > 0, 2, 0).astype(np.int16)


def skips_of(volume: np.ndarray, view: View, *, computed: bool = True) -> ViewSkips:
    """A view that skipped the share which ``volume``, native, has in each tile."""
    in_view = np.moveaxis(to_view(volume, view), 2, 0)  # (S, H, W)
    tiles = in_view.reshape(SIZE, SIZE // TILE, TILE, SIZE // TILE, TILE).mean(axis=(2, 4))
    none = np.zeros((1, SIZE), int)
    return ViewSkips(
        view, ("encode1.conv0",), np.ones(1, int), np.ones(1, int), none, none, np.full(SIZE, computed), tiles
    )


def opacity(pictures: PlanePictures) -> np.ndarray:
    """Opacity of the tint, (rows, columns) of tiles on the page."""
    pixels = np.asarray(Image.open(BytesIO(pictures.tint)))
    assert (pixels[..., :3] == TINT).all()
    return pixels[..., 3]


@pytest.mark.parametrize(
    ("view", "skipped_side", "row", "column"),
    [
        ("axial", "RA", 0, 0),
        ("axial", "LP", -1, -1),
        ("coronal", "RS", 0, 0),
        ("coronal", "LI", -1, -1),
        ("sagittal", "AS", 0, 0),
        ("sagittal", "PI", -1, -1),
    ],
)
def test_corner(t1: nib.MGHImage, labels: np.ndarray, view: View, skipped_side: str, row: int, column: int) -> None:
    """Native axes run to the left, inferior and anterior."""
    first, last = slice(0, TILE), slice(SIZE - TILE, None)
    side = {"R": (0, first), "L": (0, last), "S": (1, first), "I": (1, last), "P": (2, first), "A": (2, last)}
    corner = [slice(None)] * 3
    for letter in skipped_side:
        axis, part = side[letter]
        corner[axis] = part
    volume = np.zeros((SIZE, SIZE, SIZE))
    volume[tuple(corner)] = 1
    [pictures] = plane_pictures([skips_of(volume, view)], t1, labels)
    expected = np.zeros((SIZE // TILE, SIZE // TILE))
    expected[row, column] = 153  # 0.6 of 255
    np.testing.assert_array_equal(opacity(pictures), expected)


@pytest.mark.parametrize("view", VIEWS)
def test_tint_lies_over_the_head(t1: nib.MGHImage, labels: np.ndarray, view: View) -> None:
    """Where the head is tinted, the tint ends where the head ends: drawn at its place, one covers the other."""
    head = (labels > 0).astype(float)
    [pictures] = plane_pictures([skips_of(head, view)], t1, labels)
    left, top, width, height = pictures.tint_box
    tint = Image.fromarray(opacity(pictures)).resize((width, height), Image.Resampling.NEAREST)
    shown = np.asarray(tint.crop((-left, -top, pictures.size[0] - left, pictures.size[1] - top)))
    t1_slice = Image.open(BytesIO(pictures.t1)).resize(pictures.size, Image.Resampling.NEAREST)
    assert (shown > 0)[np.asarray(t1_slice) > 50].all()
    assert (shown == 153).sum() >= 0.4 * (np.asarray(t1_slice) > 50).sum()


def test_the_middle_slice_is_shown(t1: nib.MGHImage, labels: np.ndarray) -> None:
    volume = np.zeros((SIZE, SIZE, SIZE))
    views = [skips_of(volume, view) for view in VIEWS]
    for view, axis, middle in ((0, 1, 22), (1, 2, 25), (2, 0, 24)):
        share = views[view].tiles.copy()
        share[middle] = 1
        assert [s.start + s.stop for s in BRAIN][axis] // 2 == middle
        views[view] = dataclasses.replace(views[view], tiles=share)
    pictures = plane_pictures(views, t1, labels)
    assert [p.position for p in pictures] == ["z = +2 mm", "y = +1 mm", "x = +0 mm"]
    assert [p.sides for p in pictures] == [plane.sides for plane in PLANES]
    assert [int(opacity(p).min()) for p in pictures] == [153] * 3


def test_a_slice_skipped_outright_is_tinted_whole(t1: nib.MGHImage, labels: np.ndarray) -> None:
    [pictures] = plane_pictures([skips_of(np.zeros((SIZE, SIZE, SIZE)), "axial", computed=False)], t1, labels)
    assert (opacity(pictures) == 153).all()


def test_pictures_without_any_label(t1: nib.MGHImage) -> None:
    volume = np.zeros((SIZE, SIZE, SIZE))
    [pictures] = plane_pictures([skips_of(volume, "coronal")], t1, volume.astype(np.int16))
    assert Image.open(BytesIO(pictures.segmentation)).size == tuple(3 * side for side in pictures.size)
