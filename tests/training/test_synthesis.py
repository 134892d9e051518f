"""Synthetic slices: painted and scanned on a tiny atlas; tissues from the real tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch


def drawn(synthesis, atlas, seed: int = 3):
    """A synthesiser that draws from a seed."""
    return synthesis.Synthesiser(atlas, torch.Generator().manual_seed(seed))


def bent_only(synthesis, atlas, seed: int):
    """One that neither turns, scales nor mirrors heads."""
    synthesiser = drawn(synthesis, atlas, seed)
    synthesiser._affine_matrix = lambda: np.eye(3).tolist()
    synthesiser._mirror = False
    return synthesiser


def test_a_seed_gives_the_same_batch_again_and_another_another(synthesis, atlas) -> None:
    first, again, other = (drawn(synthesis, atlas, seed).batch("coronal", 2, 1, 64, 0.75) for seed in (3, 3, 4))
    assert first.images.shape == (2, 7, 64, 64)
    assert first.images.equal(again.images)
    assert first.targets.equal(again.targets)
    assert not first.images.equal(other.images)


def test_structures_of_a_tissue_are_nearly_as_bright_as_each_other(synthesis, atlas) -> None:
    synthesiser, lifted = drawn(synthesis, atlas), atlas.lift
    means = torch.stack([synthesiser._means() for _ in range(1000)])
    _, left, right, parcel, _, other_parcel, nucleus, _ = means.T
    assert left.equal(right)
    assert parcel.equal(other_parcel)
    assert left.std() == pytest.approx(1.2 * 20, rel=0.1)
    assert np.corrcoef(left, parcel)[0, 1] == pytest.approx(synthesis.SHARED_TONE**2, abs=0.1)
    departure = 2**0.5 * synthesis.OWN_TONE * 1.2 * 12
    height = (nucleus - parcel) / (left - parcel).clamp(min=20)
    assert (parcel - nucleus).max() < 4 * departure
    assert height.median() == pytest.approx(float(lifted[6]) / 2, abs=0.05)


def test_grains_and_folia_are_of_unit_variance_and_some_voxels_wide(synthesis, atlas) -> None:
    shape = torch.Size((40, 60, 60))

    def similarity(noise: torch.Tensor, distance: int) -> float:
        return float((noise[..., distance:] * noise[..., :-distance]).mean() / noise.square().mean())

    synthesiser = drawn(synthesis, atlas)
    grains = [synthesiser._grains(shape) for _ in range(20)]
    assert torch.stack(grains).std() == pytest.approx(1, abs=0.1)
    assert all(similarity(noise, 1) > 0.3 and abs(similarity(noise, 10)) < 0.1 for noise in grains)
    folia = synthesiser._folia(shape)
    assert folia.std() == pytest.approx(1, abs=1e-5)
    assert similarity(folia, 1) > 0.3
    assert similarity(folia, 3) < -0.05  # bands


def test_folia_are_painted_in_the_cerebellar_cortex_and_nowhere_else(synthesis, atlas) -> None:
    labels = torch.full((7, 20, 20), 1)
    labels[:, :, 10:] = 6
    everywhere = torch.ones(8, dtype=torch.bool)  # labels fit: no specks
    foliated = drawn(synthesis, replace(atlas, foliated=torch.arange(8) == 6, fitted=everywhere))
    grid = foliated._window("coronal", 0, (7, 20, 20), 1.0)
    mean = torch.tensor([5.0, 160, 160, 95, 100, 95, 95, 40])
    images = torch.stack([foliated._paint(labels, mean, grid) for _ in range(50)])  # the atlas has no other texture
    assert (images[..., :10] == 160).all()
    spread = images[..., 10:].flatten(1).std(dim=1) / 65
    assert spread.max() < 1.1 * synthesis._FOLIA
    assert spread.mean() == pytest.approx(synthesis._FOLIA / 2, rel=0.25)


def test_specks_are_few_and_lie_in_nuclei_alone(synthesis, atlas) -> None:
    labels = torch.full((7, 40, 40), 1)
    labels[:, :, 10:] = 6
    mean = torch.tensor([5.0, 160, 160, 95, 100, 95, 110, 40])
    synthesiser = drawn(synthesis, atlas)
    images = torch.stack([synthesiser._specked(mean[labels], labels, mean) for _ in range(50)])
    assert (images[..., :10] == 160).all()
    nuclei = images[..., 10:]
    assert 75 <= nuclei.min() < 80  # half-way to fluid, which has 40
    assert 130 < nuclei.max() <= 135  # and to white matter
    darker, brighter = ((sign * (nuclei - 110) > 0).float().mean() for sign in (-1, 1))
    assert 0.01 < darker < 0.06
    assert 0.01 < brighter < 0.06


def test_white_matter_darkens_toward_the_cortex(synthesis, atlas) -> None:
    labels = torch.full((7, 20, 20), 1)
    labels[:, :, :10] = 3
    mean = torch.tensor([5.0, 160, 160, 95, 100, 95, 95, 40])
    synthesiser = drawn(synthesis, atlas)
    grid = synthesiser._window("coronal", 0, (7, 20, 20), 1.0)
    rows = torch.stack([synthesiser._toward_cortex(mean, labels, grid)[3, 10] for _ in range(200)])
    assert (rows[:, :10] == 95).all()
    assert (rows[:, 14:] == 160).all()
    beside = rows[:, 10:14]
    assert (beside.diff(dim=1) >= 0).all()
    # Next to a flat border the blur with 1.5 voxels is the normal distribution's tail beyond 0.5 / 1.5.
    assert float(160 - beside[:, 0].mean()) == pytest.approx(0.65 * 0.37 * 65, rel=0.15)


def test_fluid_around_the_brain_lies_between_fluid_and_cortex(synthesis, atlas) -> None:
    mean = torch.tensor([5.0, 160, 160, 95, 100, 95, 95, 40])
    synthesiser = drawn(synthesis, atlas)
    grid = synthesiser._window("coronal", 0, (7, 32, 32), 1.0)
    fluid = torch.full((7, 32, 32), 7)
    slabs = torch.stack([synthesiser._toward_cortex(mean, fluid, grid) for _ in range(100)])
    assert 40 <= slabs.min() < slabs.max() <= 95
    assert float(slabs.mean()) == pytest.approx(40 + 55 * synthesis._VEIL / 2, abs=5)
    assert (slabs.std(dim=(1, 2, 3)) > 1).all()


def test_a_ventricle_that_blur_made_bright_is_labelled_as_what_is_beside_it(synthesis, atlas) -> None:
    labels = torch.full((7, 20, 20), 1)
    labels[:, 4:10, 4:10] = labels[:, :, 15] = 6  # a wide one and a thin one
    mean = torch.tensor([0.0, 100, 100, 70, 0, 70, 20, 0])
    blurred = synthesis._gaussian(mean[labels], [0.8] * 3)
    with_ventricle = drawn(synthesis, replace(atlas, ventricle=torch.arange(8) == 6))
    expected = labels.clone()
    expected[:, :, 15] = expected[:, [4, 4, 9, 9], [4, 9, 4, 9]] = 1  # and corners
    assert with_ventricle._without_faint_ventricles(labels, blurred, mean).equal(expected)
    assert drawn(synthesis, atlas)._without_faint_ventricles(labels, blurred, mean).equal(labels)


def test_an_average_is_smooth_and_has_what_most_heads_have(synthesis, atlas) -> None:
    labels = torch.full((7, 24, 24), 3)
    labels[:, :, 12:] = 1
    labels[:, :, 6] = 7  # a sulcus
    image = 100.0 * (labels == 1)
    smooth, elected = drawn(synthesis, atlas)._averaged(image, labels)
    assert elected.unique().tolist() == [1, 3]
    assert (elected[:, :, 12:] == 1).all()
    assert (elected[:, :, :12] == 3).all()
    across = smooth[3, 12]
    assert (across.diff() >= 0).all()
    assert across[10:14].diff().max() < 50
    assert float(across[11] + across[12]) == pytest.approx(100, abs=0.1)


def test_an_average_has_no_lesions_but_is_dark_where_heads_have_them(synthesis, atlas) -> None:
    labels = torch.full((7, 24, 24), 1)
    labels[:, 8:16, 8:16] = 6
    healthy = torch.tensor([0, 1, 2, 3, 4, 5, 1, 7])
    smooth, elected = drawn(synthesis, replace(atlas, healthy=healthy))._averaged(100.0 * (labels == 1), labels)
    assert (elected == 1).all()
    assert smooth[3, 12, 12] < 50 < 99 < smooth[3, 0, 0]


def test_a_fine_deformation_changes_the_size_of_a_nucleus(synthesis, atlas, monkeypatch) -> None:
    offset = torch.arange(256) - 127.5
    ball = (offset**2 + offset[:, None] ** 2 + offset[:, None, None] ** 2 < 100).to(torch.uint8)
    nucleus, whole = replace(atlas, maps=ball[None]), ball.sum()
    grid = synthesis.Grid((0, 1, 2), {axis: torch.arange(40.0) - 19.5 for axis in range(3)})

    def sizes() -> torch.Tensor:
        found = []
        for seed in range(40):
            labels, _ = bent_only(synthesis, nucleus, seed)._deformed_labels(0, grid)
            found.append(labels.sum() / whole)
        return torch.stack(found)

    fine = sizes()
    monkeypatch.setattr(synthesis, "_FINE_BEND", 0)
    coarse = sizes()
    assert coarse.std() < 0.1 < 0.15 < fine.std() < 0.3
    assert fine.mean() == pytest.approx(1, abs=0.1)


def test_an_image_misses_borders_by_a_voxel_and_fitted_ones_by_less(synthesis, atlas, monkeypatch) -> None:
    half = torch.zeros((256, 256, 256), dtype=torch.uint8)
    half[:128] = 1
    grid = synthesis.Grid((0, 1, 2), {axis: torch.arange(40.0) - 19.5 for axis in range(3)})
    monkeypatch.setattr(synthesis, "_FINE_BEND", 0)

    def shift(label: int) -> float:
        """Mean distance from the labels' border to the image's, in voxels."""
        halves, found = replace(atlas, maps=(label * half)[None]), []
        for seed in range(20):
            labels, seen = bent_only(synthesis, halves, seed)._deformed_labels(0, grid)
            found.append((labels != seen).sum() / labels[0].numel())
        return float(torch.stack(found).mean())

    nucleus, fitted = shift(6), shift(1)
    assert 0.25 < nucleus < 0.75
    assert 0 < fitted < 0.5 * nucleus
    monkeypatch.setattr(synthesis, "_MISFIT", 0)
    assert shift(6) == 0


def test_a_segmented_brain_becomes_a_map_in_a_rim_of_fluid(synthesis) -> None:
    brain = np.zeros((20, 20, 20), np.int16)
    brain[8:12, 8:12, 8:12] = 2
    brain[8, 8, 8:12] = 24, 31, 63, 77
    volume = synthesis.in_fluid(brain)
    assert volume[8, 8, 8:12].tolist() == [synthesis.INNER_FLUID, 136, 163, 25]
    assert (volume[brain == 2] == 2).all()
    assert volume[10, 10, 4:17].tolist() == [0, *[synthesis.FLUID] * 3, *[2] * 4, *[synthesis.FLUID] * 3, 0, 0]
    assert all(synthesis._freesurfer_label(own) == label for label, own in synthesis.MAPS_OWN.items())


def test_segmented_brains_have_their_share_of_the_slabs_however_many(synthesis, atlas) -> None:
    both = replace(atlas, maps=atlas.maps.expand(3, -1, -1, -1), heads=2)
    synthesiser = drawn(synthesis, both)
    subjects = np.bincount([synthesiser._subject() for _ in range(2000)], minlength=3) / 2000
    assert subjects[2] == pytest.approx(synthesis._SEGMENTED_SHARE, abs=0.03)
    assert subjects[0] == pytest.approx(subjects[1], abs=0.05)
    assert all(drawn(synthesis, atlas, seed)._subject() == 0 for seed in range(20))


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


def test_both_sides_and_all_of_the_cortex_are_one_structure(synthesis) -> None:
    structures = {label: synthesis._structure(label) for label in (2, 41, 1002, 2035, 50, 11, 163, 16)}
    assert structures == {2: 2, 41: 2, 1002: 3, 2035: 3, 50: 11, 11: 11, 163: 136, 16: 16}
    assert set(synthesis.LIFT) <= {synthesis._structure(label) for label in synthesis.LIFT}


def test_fluid_between_the_thalami_is_csf_and_no_other(synthesis) -> None:
    volume = np.zeros((40, 40, 40), np.int16)
    volume[:, :, 2:38] = synthesis.FLUID
    volume[10:15, 10:31, 10:31], volume[26:31, 10:31, 10:31] = synthesis.THALAMI
    split = synthesis.split_fluid(volume.copy())
    inner = split == synthesis.INNER_FLUID
    assert [(places.min(), places.max()) for places in np.nonzero(inner)] == [(17, 23), (11, 26), (14, 28)]
    assert inner.sum() == 7 * 16 * 15
    assert (split == volume)[~inner].all()


def test_what_cannot_be_painted_is_told_in_a_sentence(synthesis, tmp_path) -> None:
    with pytest.raises(SystemExit, match=r"labelmaps has no seg_\*\.nii\.gz; --data is"):
        synthesis.load_atlas(tmp_path, torch.device("cpu"))
    nib.save(nib.Nifti1Image(np.zeros((16, 16, 16), np.int16), np.eye(4)), tmp_path / "small.nii.gz")
    with pytest.raises(SystemExit, match=r"small\.nii\.gz is not conformed: .*256x256x256 voxels, LIA\."):
        synthesis._read_labels(tmp_path / "small.nii.gz")
    (tmp_path / "damaged.nii.gz").write_bytes(b"no image")
    with pytest.raises(SystemExit, match=r"damaged\.nii\.gz is not an image"):
        synthesis._read_labels(tmp_path / "damaged.nii.gz")


def test_every_label_is_freesurfers_or_none(synthesis) -> None:
    known = {synthesis.FLUID: 0, synthesis.INNER_FLUID: 24, 25: 77, 57: 77, 62: 41, 85: 0, 164: 63, 515: 0, 17: 17}
    assert {label: synthesis._freesurfer_label(label) for label in known} == known


def test_labels_of_surfaces_fluid_and_surroundings_fit_the_image(synthesis) -> None:
    fitted = {0, 2, 41, 1003, 2029, 4, 43, 5, 14, 15, 24, 72, 515}
    assert {label for label in (*fitted, 8, 10, 13, 17, 25, 46, 60, 136) if synthesis._fitted(label)} == fitted
