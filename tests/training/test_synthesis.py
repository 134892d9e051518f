"""Synthetic slices: painted and scanned on a tiny atlas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch


def drawn(synthesis, atlas, seed: int = 3):
    """A synthesiser that draws from a seed."""
    return synthesis.Synthesiser(atlas, torch.Generator().manual_seed(seed))


def bent_only(synthesis, atlas, seed: int):
    """One that neither turns, scales nor mirrors heads."""
    synthesiser = drawn(synthesis, atlas, seed)
    synthesiser._affine_matrix = lambda: (np.eye(3).tolist(), False)
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


def test_a_nucleus_cedes_a_layer_to_the_white_matter_around_it_and_no_more(synthesis, atlases, atlas) -> None:
    labels = torch.full((9, 40, 40), 2)
    labels[:, :, 20:] = 3
    labels[:, 10:30, 10:30] = 6
    limit = torch.tensor([1.0] * 6 + [0.3, 1])
    cession = atlases.Cession(torch.arange(8) == 2, limit, torch.full((8,), 2))
    synthesiser = drawn(synthesis, replace(atlas, cessions={"heads": [cession], "averages": []}))
    ceded = synthesiser._ceded(labels, "heads")
    assert ceded[4, 20].tolist() == [2] * 11 + [6] * 19 + [3] * 10  # beside cortex it stays
    assert ceded[labels != 6].equal(labels[labels != 6])
    assert synthesiser._ceded(labels, "averages").equal(labels)


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
    with_ventricle = drawn(synthesis, replace(atlas, faint=torch.tensor([0.0] * 6 + [0.6, 0])))
    expected = labels.clone()
    expected[:, :, 15] = expected[:, [4, 4, 9, 9], [4, 9, 4, 9]] = 1  # and corners
    assert with_ventricle._without_faint_ventricles(labels, blurred, mean).equal(expected)
    assert drawn(synthesis, atlas)._without_faint_ventricles(labels, blurred, mean).equal(labels)


@pytest.fixture
def average(synthesis, atlas, monkeypatch):
    """Draws the average of three heads that lie as they are: lists of (label, planes) on parcel 3, and what an atlas
    has otherwise; as intensities and labels along those planes."""
    monkeypatch.setattr(synthesis, "_STRAY", 0)
    monkeypatch.setattr(synthesis, "_STRAY_LINEAR", 0)
    grid = synthesis.Grid((0, 1, 2), {axis: torch.arange(size) - 11.5 for axis, size in enumerate((7.0, 24.0, 24.0))})

    def draw(*heads: list[tuple[int, slice]], mean=(0.0, 100, 100, 0, 0, 0, 100, 50), seed=3, **changes):
        maps = torch.full((3, 256, 256, 256), 3, dtype=torch.uint8)
        for head, planes in zip(maps, heads, strict=True):
            for label, where in planes:
                head[:, where] = label
        alignments = atlas.alignments.expand(3, 3, 4)
        changed = replace(atlas, maps=maps, heads=3, alignments=alignments, **changes)
        synthesiser = drawn(synthesis, changed, seed)
        synthesiser._deformed = lambda grid: ([grid.combine(row) for row in torch.eye(3).tolist()], False)
        image, labels = synthesiser._averaged(torch.tensor(mean), grid)
        return image[3, :, 12], labels[3, :, 12]

    return draw


def test_an_average_is_smooth_and_has_what_most_heads_have(average) -> None:
    nucleus = [(6, slice(place, None)) for place in (126, 128, 130)]
    sulci = [(7, slice(place, place + 1)) for place in (118, 120, 122)]
    image, labels = average(*([fluid, wide] for fluid, wide in zip(sulci, nucleus, strict=True)))
    assert labels.tolist() == [3] * 12 + [6] * 12
    across = image[8:18]
    assert (across.diff() >= 0).all()
    assert across.diff().max() < 40
    assert across[4] == pytest.approx(50, abs=25)
    image, _ = average(*[[(6, slice(128, None))]] * 3)
    assert float(image[11] + image[12]) == pytest.approx(100, abs=0.1)


def test_neighbours_vote_together(average) -> None:
    speck = [(6, slice(128, 129))]
    image, labels = average(speck, speck, [])
    assert image[12] == image.max()
    assert labels.tolist() == [3] * 24
    _, labels = average(speck, speck, speck)  # nothing else is there
    assert labels.tolist() == [3] * 12 + [6] + [3] * 11


def test_parcels_of_a_side_vote_together(average) -> None:
    heads = [[(parcel, slice(None))] for parcel in (3, 5, 6)]
    together = torch.tensor([0, 1, 2, 3, 0, 3, 4, 0])
    alone = torch.tensor([0, 1, 2, 3, 0, 5, 4, 0])
    draws = {}
    for name, elected in (("together", together), ("alone", alone)):
        draws[name] = [int(average(*heads, seed=seed, elected=elected)[1][0]) for seed in range(6)]
    assert draws["together"].count(6) < draws["alone"].count(6)
    assert set(draws["together"]) >= {3, 5}


def test_an_average_has_no_lesions_but_is_dark_where_heads_have_them(average) -> None:
    healthy = torch.tensor([0, 1, 2, 3, 4, 5, 1, 7])
    lesions = [[(1, slice(None)), (6, slice(124, 132))] for _ in range(3)]
    image, labels = average(*lesions, healthy=healthy, mean=(0.0, 100, 100, 0, 0, 0, 0, 50))
    assert set(labels.tolist()) <= {1, 2}
    assert image[12] < 1 < 99 < image[0]


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
