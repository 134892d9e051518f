"""Where the brain is, by a look at a few slices, and what is done when that was wrong."""

from __future__ import annotations

import importlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from nansurfer.engine import LogitSum
from nansurfer.pipeline import Progress, Segmenter, brain, make_options
from nansurfer.pipeline.aggregate import Scene, ViewModel
from nansurfer.pipeline.brain import BrainRegion, find_brain
from nansurfer.volume import VIEWS, View, mask_box, whole_box

segment_module = importlib.import_module("nansurfer.pipeline.segment")

SIDE, RADIUS = 128, 32  # mm: 137 ml
AIR, HEAD, BRAIN = 0, 100, 200
from_middle = np.linalg.norm(np.indices((SIDE,) * 3) - np.array([64, 60, 66])[:, None, None, None], axis=0)
"""From each voxel to the middle of the brain."""


class Bright:
    """An engine that labels whatever is as bright as brain, where that is wanted."""

    name, device, batch_size, left_dense = "fast", torch.device("cpu"), 4, ()

    def __init__(self) -> None:
        self.slices = self.counts_taken = 0

    def largest(self, slices, scale, head, sums: LogitSum, classes: Tensor, wanted=None) -> None:
        self.slices += len(slices)
        rows, columns = sums.part
        is_brain = slices[:, 3] == BRAIN
        classes.copy_(torch.from_numpy(is_brain if wanted is None else is_brain & wanted)[:, rows, columns])

    def take_counts(self) -> None:
        self.counts_taken += 1

    def release(self) -> None:
        """Nothing is kept."""


def models(*views: View) -> dict[View, ViewModel]:
    return {view: ViewModel(Bright(), 0.4, 7) for view in views}


def volume_with(is_brain: np.ndarray) -> np.ndarray:
    """A head that fills nearly all of the volume, and what is bright in it."""
    volume = np.full(is_brain.shape, HEAD, np.uint8)
    volume[:4] = AIR
    volume[is_brain] = BRAIN
    return volume


def scene_of(volume: np.ndarray, **options) -> Scene:
    head = volume > AIR
    return Scene(volume, mask_box(head), **{"head": head, "margin": 3, **options})


def region_of(is_brain: np.ndarray, view: View = "coronal", **options) -> BrainRegion:
    return find_brain(scene_of(volume_with(is_brain), **options), models(view), Progress())


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
def region() -> BrainRegion:
    return region_of(from_middle <= RADIUS)


class TestTheRegion:
    @pytest.mark.parametrize("view", VIEWS)
    @pytest.mark.parametrize(("scale", "margin"), [(1.0, 3), (1.0, 0), (1.25, 3)])
    def test_is_what_is_near_to_the_brain(self, view, scale, margin) -> None:
        is_brain = from_middle <= RADIUS * scale  # the same in mm
        region = region_of(is_brain, view, scale=scale, margin=margin)
        wanted, distance_mm = region.scene.wanted, to_mm(~is_brain, scale)
        reach_mm = brain.MARGIN_MM + margin / scale
        sloppy_mm = 2 * np.sqrt(3)  # the diagonal of a cell
        assert wanted[distance_mm <= reach_mm - 6 / 2 - sloppy_mm].all()  # a slice may lie half a step away
        assert distance_mm[wanted].max() <= reach_mm + sloppy_mm
        assert region.scene.box == mask_box(wanted)
        assert region.share == pytest.approx((wanted & region.whole.head).sum() / region.whole.head.sum())
        assert region.findings == {
            "brain_margin_mm": pytest.approx(reach_mm, abs=0.01),
            "brain_share_of_head": round(region.share, 4),
            "brain_restricted": True,
            "brain_run_again": False,
        }

    def test_and_what_the_networks_see_stays(self, region) -> None:
        assert replace(region.scene, box=region.whole.box, wanted=None) == region.whole

    @pytest.mark.parametrize("first", range(7))
    def test_holds_the_brain_whichever_slices_are_looked_at(self, first) -> None:
        is_brain = np.roll(from_middle, first, axis=2) <= RADIUS
        region = region_of(is_brain)
        assert region.scene.wanted[is_brain].all()
        assert not region.may_cut(is_brain.astype(np.uint8))

    def test_is_not_widened_by_specks_of_scalp(self, region) -> None:
        specks = np.zeros((SIDE,) * 3, bool)
        specks[10:14, 10:14, :] = specks[110:, 110:, 60:70] = True
        np.testing.assert_array_equal(region_of((from_middle <= RADIUS) | specks).scene.wanted, region.scene.wanted)

    def test_holds_both_parts_of_a_brain_that_is_cut_in_two(self) -> None:
        is_brain = (from_middle <= RADIUS) & (np.abs(np.indices((SIDE,) * 3)[0] - 70) > 6)
        assert region_of(is_brain).scene.wanted[is_brain].all()

    def test_costs_every_sixth_slice_of_the_first_view(self) -> None:
        views = models("coronal", "axial")
        region = find_brain(scene_of(volume_with(from_middle <= RADIUS)), views, Progress(), counting=True)
        assert region.slices == views["coronal"].engine.slices == -(-(SIDE - 3) // 6)
        assert views["coronal"].engine.counts_taken == 1
        assert views["axial"].engine.slices == 0
        assert region.search_s > 0

    def test_progress_is_told_of_every_slice(self) -> None:
        told = []

        class Listening(Progress):
            def view(self, view: str, slices: int) -> None:
                told.append((view, slices))

            def advance(self, slices: int) -> None:
                told.append(slices)

        find_brain(scene_of(volume_with(from_middle <= RADIUS)), models("coronal"), Listening())
        assert told == [("brain", 21), 4, 4, 4, 4, 4, 1]

    def test_without_a_head_mask_it_is_of_the_box(self) -> None:
        volume = volume_with(from_middle <= RADIUS)
        region = find_brain(Scene(volume, whole_box(volume)), models("coronal"), Progress())
        assert region.scene.head is None
        assert region.share == pytest.approx(region.scene.wanted.mean())


class TestNothingIsRestricted:
    def assert_whole(self, region: BrainRegion) -> None:
        assert region.scene is region.whole
        assert not region.findings["brain_restricted"]
        assert not region.may_cut(np.ones((SIDE,) * 3, np.uint8))

    @pytest.mark.parametrize("radius", [0, 20])  # nothing, 34 ml
    def test_where_too_little_is_found(self, radius) -> None:
        region = region_of(from_middle < radius)
        self.assert_whole(region)
        assert region.share == 1

    def test_around_a_stripped_brain(self) -> None:
        volume = volume_with(from_middle <= RADIUS)
        volume[from_middle > RADIUS + 3] = AIR
        region = find_brain(scene_of(volume), models("coronal"), Progress())
        self.assert_whole(region)
        assert region.share == 1

    def test_in_a_head_no_larger_than_a_brain_and_no_slice_is_looked_at(self, monkeypatch) -> None:
        monkeypatch.setattr(brain, "STRIPPED_BELOW_ML", 2100.0)  # it is of 2031 ml
        region = region_of(from_middle <= RADIUS)
        self.assert_whole(region)
        assert region.slices == 0

    def test_in_a_box_thinner_than_a_step(self) -> None:
        volume = volume_with(from_middle <= RADIUS)
        box = slice(0, SIDE), slice(0, SIDE), slice(60, 62)
        self.assert_whole(find_brain(Scene(volume, box, head=volume > AIR), models("coronal"), Progress()))


class TestWhetherItMayCut:
    def labels(self, where: np.ndarray) -> np.ndarray:
        return np.where(where, 5, 0).astype(np.uint8)

    def test_what_was_found(self, region) -> None:
        assert not region.may_cut(self.labels(from_middle <= RADIUS))
        assert not region.may_cut(self.labels(from_middle <= RADIUS + brain.EXPECTED_WITHIN_MM - 3))

    def test_labels_all_over_the_region(self, region) -> None:
        assert region.may_cut(self.labels(region.scene.wanted))

    @pytest.mark.parametrize("axis", range(3))
    @pytest.mark.parametrize("shift", [-16, 16])
    def test_a_brain_that_is_elsewhere(self, region, axis, shift) -> None:
        moved = np.roll(from_middle, shift, axis) <= RADIUS
        assert (moved & ~region.scene.wanted).any()
        assert region.may_cut(self.labels(moved & region.scene.wanted))

    @pytest.mark.parametrize("radius", [8, 10, 15])
    def test_a_pole_that_reaches_beyond(self, region, radius) -> None:
        """The first look has missed a pole of the brain whose tip is just not wanted any more."""
        tip = RADIUS + brain.MARGIN_MM + region.whole.margin + 2
        middle = np.array([64 - tip + radius, 60, 66])
        pole = np.linalg.norm(np.indices((SIDE,) * 3) - middle[:, None, None, None], axis=0) <= radius
        assert (pole & ~region.scene.wanted).any()
        assert region.may_cut(self.labels((pole | (from_middle <= RADIUS)) & region.scene.wanted))

    def test_scalp_does_not_count(self, region) -> None:
        rim = region.scene.wanted & (to_mm(~(from_middle <= RADIUS)) > brain.EXPECTED_WITHIN_MM)
        sheet = rim & (np.indices(rim.shape)[0] == 40)
        specks = rim & (np.indices(rim.shape) % 8 < 3).all(axis=0)
        assert sheet.sum() > 300
        assert specks.sum() > 1000
        assert not region.may_cut(self.labels(sheet | specks))


@pytest.fixture
def head_path(tmp_path: Path) -> Path:
    """A conformed T1 of a head with a brain of the brightness that `Bright` labels."""
    data = np.zeros((256,) * 3, np.uint8)
    data[64:192, 64:192, 64:192] = volume_with(from_middle <= RADIUS)
    affine = np.array([[-1.0, 0, 0, 128], [0, 0, 1, -128], [0, -1, 0, 128], [0, 0, 0, 1]])
    nib.MGHImage(data, affine).to_filename(tmp_path / "head.mgz")
    return tmp_path / "head.mgz"


@pytest.fixture
def segmented(head_path: Path, tiny_weights: Path, tmp_path: Path, monkeypatch):
    """Segment that head by `Bright`; the result and what was written about it."""
    monkeypatch.setattr(Segmenter, "models", lambda self, scene: models("coronal"))

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
        assert (search["slices"], search["search_s"] > 0) == (22, True)
        assert other["brain_search"] is whole.brain_search is None

    @pytest.mark.parametrize(("axis", "shift"), [(0, 20), (1, -30), (2, 60)])
    def test_a_misplaced_region_is_given_up(self, segmented, monkeypatch, caplog, axis, shift) -> None:
        whole, _ = segmented(find_brain=False)

        def misplaced(*args, **options) -> BrainRegion:
            region = find_brain(*args, **options)
            wanted = np.roll(region.scene.wanted, shift, axis)
            far = np.roll(region.far, shift // 2, axis)  # in cells of two voxels
            return replace(region, restricted=replace(region.restricted, wanted=wanted, box=mask_box(wanted)), far=far)

        monkeypatch.setattr(segment_module, "find_brain", misplaced)
        with caplog.at_level(logging.WARNING, "nansurfer"):
            found, record = segmented()
        assert "Labels reach farther than the brain was found to" in caplog.text
        np.testing.assert_array_equal(found.labels, whole.labels)
        assert record["brain_search"]["brain_run_again"]
        assert not record["brain_search"]["brain_restricted"]


@pytest.mark.parametrize("view", ["coronal", "sagittal"])
def test_all_of_a_real_brain_is_wanted(data_dir: Path, view) -> None:
    segmenter = Segmenter(make_options(views=(view,), report=False, device="cpu"))
    image = nib.load(data_dir / "t1" / "subject-01_orig.mgz")
    scene = segmenter._scene(image)
    region = find_brain(scene, segmenter.models(scene), Progress())
    truth = np.asanyarray(nib.load(data_dir / "labels" / "subject-01_aparc+aseg.mgz").dataobj) > 0
    assert region.scene.wanted[truth].all()
    assert not region.may_cut(truth.astype(np.uint8))
    assert 0.5 < region.share < 0.8
