"""Label maps: what their labels are, and where heads lie; tissues from the real tables."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch


def test_heads_are_aligned_by_where_their_structures_lie(atlases) -> None:
    head = np.zeros((40, 40, 40), np.uint8)
    for label, (x, y, z) in enumerate(((8, 20, 20), (30, 20, 20), (19, 8, 20), (19, 30, 21), (19, 19, 33)), 1):
        head[x : x + 3, y : y + 3, z : z + 3] = label
    stretched = np.pad(head.repeat(2, axis=1), ((4, 0), (9, 0), (0, 0)))
    mirrored = np.array([0, 2, 1, 3, 4, 5, 6])  # the last does not occur
    first, second = atlases.align([head, stretched], np.arange(7) > 0, mirrored)
    x, y, z = first @ (3, -4, 5, 1)
    assert second @ (3, -4, 5, 1) == pytest.approx([x + 4, 2 * y + 0.5 + 9, z])
    assert first @ (0, 0, 0, 1) == pytest.approx([20, 20.4, 23.8])


def test_a_segmented_brain_becomes_a_map_in_a_rim_of_fluid(atlases) -> None:
    brain = np.zeros((20, 20, 20), np.int16)
    brain[8:12, 8:12, 8:12] = 2
    brain[8, 8, 8:12] = 24, 31, 63, 77
    volume = atlases.in_fluid(brain)
    assert volume[8, 8, 8:12].tolist() == [atlases.INNER_FLUID, 136, 163, 25]
    assert (volume[brain == 2] == 2).all()
    assert volume[10, 10, 4:17].tolist() == [0, *[atlases.FLUID] * 3, *[2] * 4, *[atlases.FLUID] * 3, 0, 0]
    assert all(atlases._freesurfer_label(own) == label for label, own in atlases.MAPS_OWN.items())


def test_both_sides_and_all_of_the_cortex_are_one_tissue(atlases, data_dir: Path) -> None:
    white, other_white, cortex, parcel, other_parcel, fat = atlases._tissues(
        data_dir / "labels", np.array([2, 41, 3, 1002, 2035, 516])
    )
    assert white == other_white
    assert cortex == parcel == other_parcel
    assert len({white, cortex, fat}) == 3


def test_both_sides_and_all_of_the_cortex_are_one_structure(atlases) -> None:
    structures = {label: atlases._structure(label) for label in (2, 41, 1002, 2035, 50, 11, 163, 16)}
    assert structures == {2: 2, 41: 2, 1002: 3, 2035: 3, 50: 11, 11: 11, 163: 136, 16: 16}
    assert set(atlases.LIFT) <= {atlases._structure(label) for label in atlases.LIFT}


def test_fluid_between_the_thalami_is_csf_and_no_other(atlases) -> None:
    volume = np.zeros((40, 40, 40), np.int16)
    volume[:, :, 2:38] = atlases.FLUID
    volume[10:15, 10:31, 10:31], volume[26:31, 10:31, 10:31] = atlases.THALAMI
    split = atlases.split_fluid(volume.copy())
    inner = split == atlases.INNER_FLUID
    assert [(places.min(), places.max()) for places in np.nonzero(inner)] == [(17, 23), (11, 26), (14, 28)]
    assert inner.sum() == 7 * 16 * 15
    assert (split == volume)[~inner].all()


def test_what_cannot_be_painted_is_told_in_a_sentence(atlases, tmp_path) -> None:
    with pytest.raises(SystemExit, match=r"labelmaps has no seg_\*\.nii\.gz; --data is"):
        atlases.load_atlas(tmp_path, torch.device("cpu"))
    nib.save(nib.Nifti1Image(np.zeros((16, 16, 16), np.int16), np.eye(4)), tmp_path / "small.nii.gz")
    with pytest.raises(SystemExit, match=r"small\.nii\.gz is not conformed: .*256x256x256 voxels, LIA\."):
        atlases._read_labels(tmp_path / "small.nii.gz")
    (tmp_path / "damaged.nii.gz").write_bytes(b"no image")
    with pytest.raises(SystemExit, match=r"damaged\.nii\.gz is not an image"):
        atlases._read_labels(tmp_path / "damaged.nii.gz")
    (tmp_path / "synthseg_prior_means_t1.npy").write_bytes(b"no table")
    with pytest.raises(SystemExit, match=r"prior_means_t1\.npy cannot be read .*SynthSeg's tables"):
        atlases._intensity_priors(tmp_path)
    with pytest.raises(SystemExit, match=r"generation_labels\.npy cannot be read .*No such file"):
        atlases._tissues(tmp_path, np.array([2]))


def test_a_map_without_a_thalamus_is_no_head(atlases, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(atlases, "_read_labels", lambda path: np.full((4, 4, 4), 2, np.int16))
    with pytest.raises(SystemExit, match=r"brain\.nii\.gz is no map of a head: it has no thalamus\.$"):
        atlases._read_head(tmp_path / "brain.nii.gz")


def test_every_label_is_freesurfers_or_none(atlases) -> None:
    known = {atlases.FLUID: 0, atlases.INNER_FLUID: 24, 25: 77, 57: 77, 62: 41, 85: 0, 164: 63, 515: 0, 17: 17}
    assert {label: atlases._freesurfer_label(label) for label in known} == known


def test_labels_of_surfaces_fluid_and_surroundings_fit_the_image(atlases) -> None:
    fitted = {0, 2, 41, 1003, 2029, 4, 43, 5, 14, 15, 24, 72, 515}
    assert {label for label in (*fitted, 8, 10, 13, 17, 25, 46, 60, 136) if atlases._fitted(label)} == fitted


def test_an_atlas_knows_of_each_label_what_it_belongs_to(atlases, data_dir, tmp_path) -> None:
    volume = np.zeros((256, 256, 256), np.int16)
    labels = (2, 41, 10, 49, 8, 1002, 2035, 1035, 24, 515)
    for place, label in enumerate(labels):
        volume[60 + 10 * place : 64 + 10 * place, 100:104, 120:124] = label
    volume[64:68, 100:104, 120:124] = 44
    (tmp_path / "labelmaps").mkdir()
    lia = np.array([[-1.0, 0, 0, 128], [0, 0, 1, -128], [0, -1, 0, 128], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(volume, lia), tmp_path / "labelmaps" / "seg_01.nii.gz")
    (tmp_path / "labels").mkdir()
    for table in (data_dir / "labels").glob("synthseg_*.npy"):
        shutil.copy(table, tmp_path / "labels")
    atlas = atlases.load_atlas(tmp_path, torch.device("cpu"))
    index = {label: int(atlas.maps[0, 60 + 10 * place, 100, 120]) for place, label in enumerate(labels)}
    at = [index[label] for label in labels]
    ventricle = int(atlas.maps[0, 64, 100, 120])
    assert sorted([*at, ventricle]) == list(range(1, 12))
    assert atlas.heads == 1
    assert atlas.brain[at].tolist() == [True] * 8 + [False] * 2
    assert atlas.cortex[at].tolist() == [False] * 5 + [True] * 3 + [False] * 2
    to_white = atlas.cessions["heads"][0]
    assert to_white.taker[at].tolist() == [True] * 2 + [False] * 8
    assert to_white.successor[at[2:4]].tolist() == at[:2]
    assert [float(value) for value in to_white.limit[at[1:5]]] == pytest.approx([1, 0.22, 0.22, 1])
    assert all(cession.limit[at[0]] == 1 for cession in atlas.cessions["heads"])  # heads' white matter stays
    assert [int(cession.taker.sum()) for cession in atlas.cessions["averages"]] == [2, 0, 1, 1, 2, 0]
    assert atlas.faint[at].tolist() == [0] * 10
    assert float(atlas.faint[ventricle]) == pytest.approx(0.35)
    parties = atlas.elected[at].tolist()
    assert len(set(parties)) == 8
    assert parties[6] != parties[7] == parties[5]
    assert parties[8] == parties[9] == int(atlas.elected[0])
    assert atlas.mirrored[at[:4]].tolist() == [at[1], at[0], at[3], at[2]]
    assert atlas.centers[0].tolist() == [96.5, 101.5, 121.5]
