"""The quality picture as a whole."""

from __future__ import annotations

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from nansurfer.errors import InputGeometryError, OutputError
from nansurfer.labels import load_table
from nansurfer.report import mosaic, save_mosaic, save_thumbnail
from nansurfer.report.overlay import label_colors

LEFT_PUTAMEN, RIGHT_PUTAMEN = 12, 51
AFFINE = np.array([[-2, 0, 0, 80], [0, 0, 2, -80], [0, -2, 0, 80], [0, 0, 0, 1]], dtype=float)  # LIA, 2 mm
ALARM = (255, 92, 72)


@pytest.fixture
def head() -> np.ndarray:
    """A ball of 60 mm radius, 2 mm voxels."""
    grid = np.indices((80, 80, 80)) - 39.5
    return np.where((grid**2).sum(axis=0) < 30**2, 100, 0).astype(np.uint8)


@pytest.fixture
def labels(head: np.ndarray) -> np.ndarray:
    """The patient's left half one label, the right half another."""
    volume = np.where(np.arange(80)[:, None, None] < 40, RIGHT_PUTAMEN, LEFT_PUTAMEN)
    return np.where(head > 0, volume, 0).astype(np.int16)


def pixels_of(image: Image.Image, color: tuple[int, ...]) -> np.ndarray:
    """Columns and rows of all pixels of exactly this colour, shape (2, n)."""
    rows, columns = np.nonzero((np.asarray(image) == color).all(axis=2))
    return np.stack([columns, rows])


def test_left_is_on_the_right(head: np.ndarray, labels: np.ndarray) -> None:
    labels[labels == LEFT_PUTAMEN] = 0
    image = mosaic(head, labels, load_table(), AFFINE)
    assert image.mode == "RGB"
    assert image.width == 1920
    first_row = image.crop((0, 0, 1920, image.height // 3))  # the axial slices
    columns, _ = pixels_of(first_row, load_table().color(RIGHT_PUTAMEN))
    panel = (1920 - 2 * 28 - 6 * 8) / 7 + 8
    assert columns.size > 1000
    assert ((columns - 28) % panel < panel / 2 + 3).all()


@pytest.mark.parametrize("axes", ["RAS", "PSR"])
def test_orientation_does_not_matter(head: np.ndarray, labels: np.ndarray, axes: str) -> None:
    head[30:40, 20:50, 45:60] = 150  # no symmetry
    target = nib.orientations.axcodes2ornt(axes)
    images = [nib.Nifti1Image(data, AFFINE) for data in (head, labels)]
    turned = [
        image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(AFFINE), target)) for image in images
    ]
    assert "".join(nib.aff2axcodes(turned[0].affine)) == axes
    arrays = [np.asarray(image.dataobj) for image in turned]
    expected = mosaic(head, labels, load_table(), AFFINE, caption="same")
    shown = mosaic(*arrays, load_table(), turned[0].affine, caption="same")
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(expected))


def test_empty_labels_are_told(head: np.ndarray, labels: np.ndarray) -> None:
    assert pixels_of(mosaic(head, labels, load_table(), AFFINE), ALARM).size == 0
    assert pixels_of(mosaic(head, labels * 0, load_table(), AFFINE), ALARM).size > 0


def test_empty_everything_is_a_picture(head: np.ndarray) -> None:
    image = mosaic(head * 0, head * 0, load_table(), AFFINE, caption="two\nlines")
    assert image.width == 1920


@pytest.mark.parametrize(("caption", "same"), [("Jürgen", "Jurgen"), ("two\nlines", "two lines"), ("a · b", "a · b")])
def test_captions(head: np.ndarray, labels: np.ndarray, caption: str, same: str) -> None:
    shown, expected, other = (
        np.asarray(mosaic(head, labels, load_table(), AFFINE, caption=text)) for text in (caption, same, same + "   .")
    )
    np.testing.assert_array_equal(shown, expected)
    assert np.any(shown != other)


def test_labels_beyond_the_head_are_shown(head: np.ndarray, labels: np.ndarray) -> None:
    labels[:] = 0
    labels[76:79, 30:50, 30:50] = LEFT_PUTAMEN
    assert pixels_of(mosaic(head, labels, load_table(), AFFINE), load_table().color(LEFT_PUTAMEN)).size > 0


def test_shapes_must_agree(head: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(InputGeometryError, match=r"\(80, 80, 80\).*\(79, 80, 80\)"):
        mosaic(head, labels[:-1], load_table(), AFFINE)


def test_save(tmp_path: Path) -> None:
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    path = tmp_path / "qc" / "segmentation.png"
    save_mosaic(image, path)
    with Image.open(path) as saved:
        assert saved.format == "PNG"
        assert saved.getpixel((2, 1)) == (1, 2, 3)
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(OutputError):
        save_mosaic(image, path / "below-a-file.png")


def test_thumbnail(tmp_path: Path) -> None:
    """The middle of the last row, above the margin, at its own proportions."""
    image = Image.new("RGB", (1920, 1000), (0, 0, 255))
    image.paste((255, 0, 0), (960 - 165, 1000 - 28 - 275, 960 + 165, 1000 - 28))
    save_thumbnail(image, tmp_path / "qc" / "thumbnail.jpg")
    with Image.open(tmp_path / "qc" / "thumbnail.jpg") as saved:
        assert (saved.format, saved.size) == ("JPEG", (192, 160))
        assert np.abs(np.asarray(saved, int) - (255, 0, 0)).max() < 8
    with pytest.raises(OutputError):
        save_thumbnail(image, tmp_path / "qc" / "thumbnail.jpg" / "below-a-file.jpg")


@pytest.mark.parametrize(
    ("t1", "labels"),
    [("subject-01_orig", "subject-01_aparc+aseg"), ("fsaverage_brain", "fsaverage_aseg")],
)
def test_real_head(t1: str, labels: str, data_dir: Path, tmp_path: Path) -> None:
    image = nib.load(data_dir / "t1" / f"{t1}.mgz")
    head = np.asarray(image.dataobj)
    segmented = np.asarray(nib.load(data_dir / "labels" / f"{labels}.mgz").dataobj).astype(np.int32)
    path = tmp_path / "segmentation.png"
    start_s = time.process_time()
    picture = mosaic(head, segmented, load_table(), image.affine, caption=f"{t1} · 1.23 l · compact")
    save_mosaic(picture, path)
    assert time.process_time() - start_s < 6  # about 1.3 s; the margin is for busy machines
    assert path.stat().st_size < 2.5e6
    assert 1500 < picture.height < 2400
    colors = label_colors(load_table(), 2035)
    for label in (4, 10, 16, 17, 49, 53):  # ventricle, thalami, brain stem, hippocampi
        assert pixels_of(picture, tuple(colors[label])).size > 20
