"""Where the brain is, as the first view tells, and what is done when that was wrong."""

from __future__ import annotations

import json
import logging
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from nansurfer.engine import Classes, LogitSum
from nansurfer.pipeline import Progress, Segmenter, brain, make_options
from nansurfer.pipeline.aggregate import Scene, ViewModel, aggregate_views
from nansurfer.pipeline.brain import BrainSearch
from nansurfer.volume import VIEWS, Box, View, mask_box, whole_box

SIDE, RADIUS = 128, 32  # mm: 137 ml
AIR, HEAD, BRAIN = 0, 100, 200
from_middle = np.linalg.norm(np.indices((SIDE,) * 3) - np.array([64, 60, 66])[:, None, None, None], axis=0)
"""From each voxel to the middle of the brain."""


def scene_of(is_brain: np.ndarray, **options) -> Scene:
    """A head that fills nearly all of the volume, and what is bright in it."""
    volume = np.full(is_brain.shape, HEAD, np.uint8)
    volume[:4] = AIR
    volume[is_brain] = BRAIN
    head = volume > AIR
    return Scene(volume, mask_box(head), **{"head": head, "margin": 3, **options})


def sums_of(is_brain: np.ndarray) -> np.ndarray:
    """Sums of three classes; of what is brain, the last beats the first, and the second nowhere."""
    sums = np.zeros((*is_brain.shape, 3), np.float16)
    sums[..., 1], sums[..., 2] = -1, 2.0 * is_brain - 1
    return sums


class Found:
    """A search that the first view has told where the brain is, and where labels are wanted, (X, Y, Z)."""

    def __init__(self, labelled: np.ndarray, scene: Scene, cuts: tuple[int, ...] = ()) -> None:
        self.scene, self.search = scene, BrainSearch(scene)
        rows, columns, depth = scene.box
        edges = (depth.start, *cuts, depth.stop)
        self.parts: list[Box] = [(rows, columns, slice(*pair)) for pair in pairwise(edges)]
        self.wanted = np.zeros(labelled.shape, bool)
        for part in self.parts:
            wanted = self.search.near_brain(sums_of(labelled[part]), part)
            self.wanted[part] = True if wanted is None else wanted


def found(labelled: np.ndarray, cuts: tuple[int, ...] = (), **options) -> Found:
    return Found(labelled, scene_of(labelled, **options), cuts)


def to_mm(outside: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """From each voxel to the nearest one that is not ``outside``."""
    return ndimage.distance_transform_edt(outside, sampling=1 / scale)


@pytest.fixture(scope="module", autouse=True)
def small_heads():
    """Heads of 2 l are not taken for stripped brains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brain, "STRIPPED_BELOW_ML", 0.0)
        yield


@pytest.fixture(scope="module")
def region() -> Found:
    return found(from_middle <= RADIUS)


class TestTheRegion:
    @pytest.mark.parametrize(("scale", "margin"), [(1.0, 3), (1.0, 0), (1.25, 3)])
    def test_is_what_is_near_to_the_brain(self, scale, margin) -> None:
        is_brain = from_middle <= RADIUS * scale  # the same in mm
        region = found(is_brain, scale=scale, margin=margin)
        distance_mm = to_mm(~is_brain, scale)
        reach_mm = brain.MARGIN_MM + margin / scale
        sloppy_mm = 2 * np.sqrt(3)  # the diagonal of a cell
        assert region.wanted[distance_mm <= reach_mm - sloppy_mm].all()
        assert distance_mm[region.wanted].max() <= reach_mm + sloppy_mm
        head = region.scene.head
        assert region.search.findings == {
            "brain_margin_mm": pytest.approx(reach_mm, abs=0.01),
            "brain_share_of_head": round((region.wanted & head).sum() / head.sum(), 4),
            "brain_restricted": True,
            "brain_run_again": False,
        }

    def test_is_not_widened_by_specks_of_scalp(self, region) -> None:
        specks = np.zeros((SIDE,) * 3, bool)
        specks[10:14, 10:14, :] = specks[110:, 110:, 60:70] = True
        np.testing.assert_array_equal(found((from_middle <= RADIUS) | specks).wanted, region.wanted)

    def test_holds_both_parts_of_a_brain_that_is_cut_in_two(self) -> None:
        is_brain = (from_middle <= RADIUS) & (np.abs(np.indices((SIDE,) * 3)[0] - 70) > 6)
        assert found(is_brain).wanted[is_brain].all()

    @pytest.mark.parametrize("cut", [66, 67, 50, 96, 99, 104, 120])
    def test_in_parts_holds_what_is_near_to_a_brain_in_the_next(self, cut) -> None:
        """Also where the brain (from slice 34 to 98) ends at the cut, just before it or behind it."""
        in_parts = found(from_middle <= RADIUS, cuts=(cut,))
        near = to_mm(~(from_middle <= RADIUS)) <= brain.MARGIN_MM + 3 - 2 * np.sqrt(3)
        assert in_parts.wanted[near].all()
        assert not in_parts.search.may_have_cut((from_middle <= RADIUS + 5).astype(np.uint8))

    def test_without_a_head_mask_it_is_of_the_box(self) -> None:
        volume = scene_of(from_middle <= RADIUS).volume
        region = Found(from_middle <= RADIUS, Scene(volume, whole_box(volume)))
        assert region.search.findings["brain_share_of_head"] == round(region.wanted.mean(), 4)


class TestNothingIsRestricted:
    def assert_whole(self, region: Found) -> None:
        assert region.wanted[region.scene.box].all()
        assert region.search.findings["brain_share_of_head"] == 1
        assert not region.search.findings["brain_restricted"]
        assert not region.search.may_have_cut(np.ones((SIDE,) * 3, np.uint8))

    @pytest.mark.parametrize("radius", [0, 20])  # nothing, 34 ml
    def test_where_too_little_is_found(self, radius) -> None:
        self.assert_whole(found(from_middle < radius))

    def test_in_a_head_no_larger_than_a_brain(self, monkeypatch) -> None:
        monkeypatch.setattr(brain, "STRIPPED_BELOW_ML", 2100.0)  # it is of 2031 ml
        self.assert_whole(found(from_middle <= RADIUS))


class TestWhetherItMayCut:
    def labels(self, where: np.ndarray) -> np.ndarray:
        return np.where(where, 5, 0).astype(np.uint8)

    def test_what_was_found(self, region) -> None:
        assert not region.search.may_have_cut(self.labels(from_middle <= RADIUS))
        assert not region.search.may_have_cut(self.labels(from_middle <= RADIUS + brain.EXPECTED_WITHIN_MM - 3))

    def test_labels_all_over_the_region(self, region) -> None:
        assert region.search.may_have_cut(self.labels(region.wanted))

    @pytest.mark.parametrize("axis", range(3))
    @pytest.mark.parametrize("shift", [-16, 16])
    def test_a_brain_that_is_elsewhere(self, region, axis, shift) -> None:
        moved = np.roll(from_middle, shift, axis) <= RADIUS
        assert (moved & ~region.wanted).any()
        assert region.search.may_have_cut(self.labels(moved & region.wanted))

    @pytest.mark.parametrize("radius", [8, 10, 15])
    def test_a_pole_that_reaches_beyond(self, region, radius) -> None:
        """The first look has missed a pole of the brain whose tip is just not wanted any more."""
        tip = RADIUS + brain.MARGIN_MM + region.scene.margin + 2
        middle = np.array([64 - tip + radius, 60, 66])
        pole = np.linalg.norm(np.indices((SIDE,) * 3) - middle[:, None, None, None], axis=0) <= radius
        assert (pole & ~region.wanted).any()
        assert region.search.may_have_cut(self.labels((pole | (from_middle <= RADIUS)) & region.wanted))

    def test_scalp_does_not_count(self, region) -> None:
        rim = region.wanted & (to_mm(~(from_middle <= RADIUS)) > brain.EXPECTED_WITHIN_MM)
        sheet = rim & (np.indices(rim.shape)[0] == 40)
        specks = rim & (np.indices(rim.shape) % 8 < 3).all(axis=0)
        assert sheet.sum() > 300
        assert specks.sum() > 1000
        assert not region.search.may_have_cut(self.labels(sheet | specks))


class Bright:
    """An engine that labels whatever is as bright as brain, where that is wanted."""

    name, device, batch_size, left_dense = "fast", "cpu", 4, ()

    def __init__(self) -> None:
        self.slices = 0

    def prepare(self, size, scale) -> None:
        """There is nothing to prepare."""

    def accumulate(self, slices, scale, head, sums: LogitSum, wanted=None) -> None:
        self.slices += len(slices)
        sums.total[..., 5] += self.labelled(slices, sums, wanted)

    def largest(self, slices, scale, head, sums: LogitSum, classes: Classes, wanted=None) -> None:
        self.slices += len(slices)
        classes[:] = 5 * (sums.total[..., 5] + self.labelled(slices, sums, wanted) > 0)

    def labelled(self, slices, sums: LogitSum, wanted) -> np.ndarray:
        rows, columns = sums.part
        is_brain = slices[:, 3] == BRAIN
        return (is_brain if wanted is None else is_brain & wanted)[:, rows, columns]

    def release(self) -> None:
        """Nothing is kept."""


def models(*views: View) -> dict[View, ViewModel]:
    return {view: ViewModel(Bright(), 0.4, 7) for view in views}


def test_the_other_views_take_the_slices_near_the_brain() -> None:
    scene, views = scene_of(from_middle <= RADIUS, max_share=1.0), models(*VIEWS)
    classes = aggregate_views(scene, views, Progress(), restrict=BrainSearch(scene).near_brain)
    np.testing.assert_array_equal(classes, np.where(from_middle <= RADIUS, 5, 0))
    first, *others = (model.engine.slices for model in views.values())
    assert first == SIDE
    assert all(abs(slices - 2 * (RADIUS + brain.MARGIN_MM + 3)) <= 3 for slices in others)


@pytest.fixture
def head_path(tmp_path: Path) -> Path:
    """A conformed T1 of a head with a brain of the brightness that `Bright` labels."""
    data = np.zeros((256,) * 3, np.uint8)
    data[64:192, 64:192, 64:192] = scene_of(from_middle <= RADIUS).volume
    affine = np.array([[-1.0, 0, 0, 128], [0, 0, 1, -128], [0, -1, 0, 128], [0, 0, 0, 1]])
    nib.MGHImage(data, affine).to_filename(tmp_path / "head.mgz")
    return tmp_path / "head.mgz"


@pytest.fixture
def segmented(head_path: Path, tiny_weights: Path, tmp_path: Path, monkeypatch):
    """Segment that head by `Bright`; the result and what was written about it."""
    monkeypatch.setattr(Segmenter, "models", lambda self, scene: models("coronal", "axial"))

    def segment(**choices):
        segmenter = Segmenter(make_options(weights=str(tiny_weights), threads=1, report=False, **choices))
        result = segmenter.segment(head_path, tmp_path, overwrite=True)
        return result, json.loads((tmp_path / "head" / "nansurfer.json").read_text())

    return segment


class TestInASegmentation:
    def test_nothing_is_lost(self, segmented) -> None:
        found, record = segmented()
        whole, other = segmented(find_brain=False)
        np.testing.assert_array_equal(found.labels, whole.labels)
        assert found.brain_volume_ml == pytest.approx(137, abs=1)
        search = record["brain_search"]
        assert search == found.brain_search
        assert search["brain_restricted"]
        assert not search["brain_run_again"]
        assert 0.1 < search["brain_share_of_head"] < 0.5
        assert search["brain_margin_mm"] == brain.MARGIN_MM + 3
        assert other["brain_search"] is whole.brain_search is None

    @pytest.mark.parametrize(("axis", "shift"), [(0, 20), (1, -30), (2, 24)])
    def test_a_misplaced_region_is_given_up(self, segmented, monkeypatch, caplog, axis, shift) -> None:
        """The first view labels only the brain's shadow, the others would label all of it."""
        whole, _ = segmented(find_brain=False)
        labelled = brain._labelled

        def misplaced(sums: np.ndarray) -> np.ndarray:
            return np.roll(labelled(sums), shift // 2, axis)  # in cells of two voxels

        monkeypatch.setattr(brain, "_labelled", misplaced)
        with caplog.at_level(logging.WARNING, "nansurfer"):
            found, record = segmented()
        assert "Labels reach farther than the brain was found to" in caplog.text
        np.testing.assert_array_equal(found.labels, whole.labels)
        assert record["brain_search"]["brain_run_again"]
        assert not record["brain_search"]["brain_restricted"]


@pytest.mark.slow
def test_all_of_a_real_brain_is_wanted(data_dir: Path) -> None:
    """By a look at the sagittal view alone, which labels least."""
    segmenter = Segmenter(make_options(views=("sagittal", "axial"), report=False, device="cpu"))
    scene = segmenter._scene(nib.load(data_dir / "t1" / "subject-01_orig.mgz"))
    truth = np.asanyarray(nib.load(data_dir / "labels" / "subject-01_aparc+aseg.mgz").dataobj) > 0
    search = BrainSearch(scene)

    class SeenEnoughError(Exception):
        pass

    def restrict(sums: np.ndarray, box: Box) -> None:
        wanted = np.zeros(truth.shape, bool)
        wanted[box] = search.near_brain(sums, box)
        assert wanted[truth].all()
        raise SeenEnoughError

    with pytest.raises(SeenEnoughError):
        aggregate_views(scene, segmenter.models(scene), Progress(), restrict=restrict)
    assert not search.may_have_cut(truth.astype(np.uint8))
    assert 0.5 < search.findings["brain_share_of_head"] < 0.8
