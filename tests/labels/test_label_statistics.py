"""Volumes, intensities and whole-brain measures."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.errors import ConfigError, InputGeometryError, InputIntensityError
from nansurfer.labels import StructureStats, brain_measures, brain_volume_ml, load_table, volume_statistics

LABELS = np.array([[[0, 2, 2, 2], [0, 17, 2035, 0]]], np.int16)
IMAGE = np.array([[[9, 100, 110, 120], [255, 7, 255, 0]]], np.uint8)


def by_label(stats: list[StructureStats]) -> dict[int, StructureStats]:
    return {s.label: s for s in stats}


def test_every_structure_is_listed_once_in_order() -> None:
    stats = volume_statistics(LABELS, None, 1.0)
    assert [s.label for s in stats] == list(load_table().labels[1:])
    assert len(stats) == 95


def test_volumes() -> None:
    stats = by_label(volume_statistics(LABELS, None, 0.5))
    assert stats[2] == StructureStats(2, "Left-Cerebral-White-Matter", 3, 1.5)
    assert stats[4] == StructureStats(4, "Left-Lateral-Ventricle", 0, 0.0)
    assert stats[2].range is None


def test_intensities() -> None:
    stats = by_label(volume_statistics(LABELS, IMAGE, 1.0))
    white, hippocampus, insula, empty = stats[2], stats[17], stats[2035], stats[41]
    assert (white.n_voxels, white.mean, white.std, white.min, white.max, white.range) == (
        3, 110, 10, 100, 120, 20,
    )  # fmt: skip
    assert (hippocampus.mean, hippocampus.std, hippocampus.range) == (7, 0, 0)
    assert insula.max == 255
    assert empty == StructureStats(41, "Right-Cerebral-White-Matter", 0, 0.0)


def test_intensities_are_numpys() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(load_table().labels, (20, 20, 20)).astype(np.int16)
    image = rng.integers(0, 256, labels.shape, dtype=np.uint8)
    for s in volume_statistics(labels, image, 1.0):
        inside = image[labels == s.label]
        expected = (inside.mean(), inside.std(ddof=1), inside.min(), inside.max(), np.ptp(inside))
        assert (s.mean, s.std, s.min, s.max, s.range) == pytest.approx(expected, rel=1e-12)


def test_no_label_at_all() -> None:
    stats = volume_statistics(np.zeros((3, 3, 3), np.int16), np.zeros((3, 3, 3), np.uint8), 1.0)
    assert len(stats) == 95
    assert all(s.n_voxels == 0 and s.mean is None for s in stats)


def test_wrong_input_is_explained() -> None:
    with pytest.raises(InputGeometryError, match=r"\(1, 2, 4\)"):
        volume_statistics(LABELS, IMAGE[..., :2], 1.0)
    with pytest.raises(InputIntensityError, match="float64, expected uint8"):
        volume_statistics(LABELS, IMAGE.astype(float), 1.0)
    with pytest.raises(ConfigError, match="holds 1, 3, 2036,"):
        volume_statistics(LABELS + 1, None, 1.0)


def test_brain_volume() -> None:
    labels = np.zeros((100, 100, 10), np.int16)
    labels[:50] = 2
    assert brain_volume_ml(labels, 1.0) == 50
    assert brain_volume_ml(labels, 0.5) == 25
    assert brain_volume_ml(labels * 0, 1.0) == 0


def test_measures() -> None:
    counts = {2: 1, 41: 2, 77: 4, 16: 8, 4: 16, 14: 32, 24: 64, 8: 128, 10: 256, 1035: 512}
    labels = np.repeat(list(counts), list(counts.values())).reshape(1, 1, -1)
    values = {m.key: m.volume_mm3 for m in brain_measures(volume_statistics(labels, None, 1.0), 2000.0)}
    assert values == {
        "BrainSeg": 1015,
        "BrainSegNotVent": 903,
        "VentricleChoroidVol": 16,
        "CerebralWhiteMatter": 7,
        "SubCortGray": 256,
        "SupraTentorial": 887,
        "SupraTentorialNotVent": 775,
        "Mask": 2000,
    }


def test_measures_without_a_mask() -> None:
    assert "Mask" not in [m.key for m in brain_measures(volume_statistics(LABELS, None, 1.0))]


def test_a_real_segmentation(data_dir: Path) -> None:
    path = data_dir / "labels" / "subject-140_aparc.DKTatlas+aseg.deep.mgz"
    labels = np.asarray(nib.load(path).dataobj)
    stats = volume_statistics(labels, (labels % 256).astype(np.uint8), 1.0)
    assert sum(s.n_voxels for s in stats) == np.count_nonzero(labels)
    assert all(s.n_voxels > 0 and s.min == s.max == s.label % 256 and s.std == 0 for s in stats)
    assert brain_volume_ml(labels, 1.0) == pytest.approx(sum(s.volume_mm3 for s in stats) / 1000)
