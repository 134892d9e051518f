"""Synthetic slices: painted and scanned on a tiny atlas; tissues from the real tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def atlas(synthesis):
    """A head of 60 voxels a side in one map: background, left and right white matter, a parcel, fat."""
    head = torch.zeros((1, 256, 256, 256), dtype=torch.uint8)
    head[0, 98:158, 98:158, 98:158] = 4
    head[0, 102:154, 102:154, 102:154] = 3
    head[0, 106:128, 106:150, 106:150], head[0, 128:150, 106:150, 106:150] = 2, 1
    return synthesis.Atlas(
        maps=head,
        centers=torch.tensor([[127.5] * 3]),
        extents=torch.tensor([[26.0] * 3]),
        mirrored=torch.tensor([0, 2, 1, 3, 4]),
        brain=torch.tensor([False, True, True, True, False]),
        head=torch.tensor([False, False, False, False, True]),
        classes={view: torch.tensor([0, 1, 19, 35, 0]) for view in ("coronal", "axial", "sagittal")},
        tissues=torch.tensor([0, 2, 2, 3, 4]),
        mean=torch.tensor([5.0, 160, 160, 95, 100]),
        mean_spread=torch.tensor([1.0, 20, 20, 12, 10]),
        std=torch.zeros(5),
        std_spread=torch.zeros(5),
    )


def drawn(synthesis, atlas, seed: int = 3):
    """A synthesiser that draws from a seed."""
    return synthesis.Synthesiser(atlas, torch.Generator().manual_seed(seed))


def test_a_seed_gives_the_same_batch_again_and_another_another(synthesis, atlas) -> None:
    first, again, other = (drawn(synthesis, atlas, seed).batch("coronal", 2, 1, 64, 0.75) for seed in (3, 3, 4))
    assert first.images.shape == (2, 7, 64, 64)
    assert first.images.equal(again.images)
    assert first.targets.equal(again.targets)
    assert not first.images.equal(other.images)


def test_labels_of_a_tissue_are_nearly_as_bright_as_each_other(synthesis, atlas) -> None:
    labels = torch.arange(5).view(1, 1, 5)
    synthesiser = drawn(synthesis, atlas)
    left, right, parcel = torch.stack([synthesiser._paint(labels)[0, 0] for _ in range(500)]).T[1:4]
    spread = 1.2 * 20
    assert left.std() == pytest.approx(spread, rel=0.1)
    assert (left - right).std() == pytest.approx(2**0.5 * synthesis.OWN_TONE * spread, rel=0.1)
    assert np.corrcoef(left, parcel)[0, 1] == pytest.approx(synthesis.SHARED_TONE**2, abs=0.1)


def test_half_of_the_slabs_have_white_noise_and_half_are_interpolated(synthesis, atlas) -> None:
    synthesiser, flat = drawn(synthesis, atlas), torch.full((9, 40, 40), 100.0)
    scanned = [synthesiser._scanned(flat) for _ in range(60)]
    assert all(image.shape == flat.shape and abs(image.mean() - 100) < 2 for image in scanned)
    neighbours = [np.corrcoef(image[:, 1:].ravel(), image[:, :-1].ravel())[0, 1] for image in scanned]
    assert all(correlation > -0.05 for correlation in neighbours)
    assert 20 <= sum(correlation > 0.1 for correlation in neighbours) <= 40


def test_both_sides_and_all_of_the_cortex_are_one_tissue(synthesis, data_dir: Path) -> None:
    white, other_white, cortex, parcel, other_parcel, fat = synthesis._tissues(
        data_dir / "labels", np.array([2, 41, 3, 1002, 2035, 516])
    )
    assert white == other_white
    assert cortex == parcel == other_parcel
    assert len({white, cortex, fat}) == 3


def test_fluid_between_the_thalami_is_csf_and_no_other(synthesis) -> None:
    volume = np.zeros((40, 40, 40), np.int16)
    volume[:, :, 2:38] = synthesis.FLUID
    volume[10:15, 10:31, 10:31], volume[26:31, 10:31, 10:31] = synthesis.THALAMI
    split = synthesis.split_fluid(volume.copy())
    inner = split == synthesis.INNER_FLUID
    assert [(places.min(), places.max()) for places in np.nonzero(inner)] == [(17, 23), (11, 26), (14, 28)]
    assert inner.sum() == 7 * 16 * 15
    assert (split == volume)[~inner].all()


def test_every_label_is_freesurfers_or_none(synthesis) -> None:
    known = {synthesis.FLUID: 0, synthesis.INNER_FLUID: 24, 25: 77, 57: 77, 62: 41, 85: 0, 164: 63, 515: 0, 17: 17}
    assert {label: synthesis._freesurfer_label(label) for label in known} == known
