from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from nansurfer.volume import conform, to_native

LIA_1MM = np.array([[-1, 0, 0, 20], [0, 0, 1, -20], [0, -1, 0, 20], [0, 0, 0, 1.0]])


def test_the_same_grid_gives_the_same_labels():
    labels = np.random.default_rng(0).integers(0, 2036, (40, 40, 40)).astype(np.int32)
    native = to_native(labels, LIA_1MM, nib.MGHImage(labels, LIA_1MM))
    assert np.array_equal(native.dataobj, labels)
    assert native.get_data_dtype() == np.int16


def test_literal_flip_crop_and_outside():
    labels = np.zeros((40, 40, 40), np.int16)
    labels[20, 20, 20], labels[19, 20, 20] = 7, 8  # at the origin and 1 mm to its right
    grid = nib.Nifti1Image(np.zeros((4, 1, 1), np.uint8), np.array(np.diag([1.0, 1, 1, 1])))
    assert np.asanyarray(to_native(labels, LIA_1MM, grid).dataobj).ravel().tolist() == [7, 8, 0, 0]
    labels[:] = 5
    beyond = nib.Nifti1Image(np.zeros((50, 1, 1), np.uint8), np.diag([1.0, 1, 1, 1]))
    row = np.asanyarray(to_native(labels, LIA_1MM, beyond).dataobj).ravel()
    assert row.tolist() == [5] * 21 + [0] * 29  # x from 0 to 49; the labels end at x = 20


def test_grids_half_a_voxel_apart_fall_to_one_side_everywhere():
    labels = np.broadcast_to(np.arange(40, dtype=np.int16), (40, 40, 40))
    shifted = LIA_1MM.copy()
    shifted[:3, 3] += [0.5, 0.5 + 1e-7, 0.5]
    native = np.asanyarray(to_native(labels, LIA_1MM, nib.Nifti1Image(labels, shifted)).dataobj)
    inside = native[:-1, :-1, :-1]
    assert np.all(inside == inside[0, 0])


@pytest.mark.parametrize("shape", [(64, 72, 80), (63, 71, 81)])
def test_labels_of_a_conformed_image_return_to_their_voxels(shape):
    data = np.random.default_rng(0).integers(1, 200, shape).astype(np.uint8)
    axes = np.array([[0, 0, -1], [1, 0, 0], [0, 1, 0]])
    image = nib.Nifti1Image(data, nib.affines.from_matvec(axes, [30, -20, 10]))
    conformed = conform(image)
    back = to_native(np.asanyarray(conformed.dataobj), conformed.affine, image)
    assert np.array_equal(back.dataobj, data)


def test_forms_and_units():
    oblique = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, 0.3) @ np.diag([0.8, 0.9, 1]), [1, 2, 3])
    source = nib.Nifti1Image(np.zeros((20, 20, 20), np.uint8), oblique)
    source.set_sform(oblique, code="mni")
    native = to_native(np.zeros((8, 8, 8), np.int16), np.eye(4), source)
    assert native.header["sform_code"] == native.header["qform_code"] == 4
    assert native.get_sform() == pytest.approx(oblique, abs=1e-5)
    assert native.get_qform() == pytest.approx(oblique, abs=1e-5)
    assert native.header.get_xyzt_units()[0] == "mm"
    assert native.header.get_zooms() == pytest.approx((0.8, 0.9, 1.0))


def test_a_sheared_affine_has_no_qform():
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    native = to_native(np.zeros((8, 8, 8), np.int16), np.eye(4), nib.MGHImage(np.zeros((8, 8, 8), np.uint8), np.eye(4)))
    assert int(native.header["qform_code"]) == 1
    native = to_native(
        np.zeros((8, 8, 8), np.int16), np.eye(4), nib.Nifti1Image(np.zeros((8, 8, 8), np.uint8), sheared)
    )
    assert int(native.header["qform_code"]) == 0
    assert native.affine == pytest.approx(sheared)
