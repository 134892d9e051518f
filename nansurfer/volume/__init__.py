"""T1 volumes: reading, conforming, views and thick slices, the head's box and mask, the native grid, writing."""

from __future__ import annotations

from nansurfer.volume.box import Box, head_box, mask_box, whole_box
from nansurfer.volume.conform import VoxelSize, check_voxel_size, conform, conformed_size, is_conformed
from nansurfer.volume.head import head_mask, thick_mask, widened
from nansurfer.volume.native import to_native
from nansurfer.volume.read import EXTENSIONS, read_image, read_labels
from nansurfer.volume.views import VIEWS, View, from_view, thick_slices, to_view, view_axes
from nansurfer.volume.write import label_image, save_image

__all__ = [
    "EXTENSIONS",
    "VIEWS",
    "Box",
    "View",
    "VoxelSize",
    "check_voxel_size",
    "conform",
    "conformed_size",
    "from_view",
    "head_box",
    "head_mask",
    "is_conformed",
    "label_image",
    "mask_box",
    "read_image",
    "read_labels",
    "save_image",
    "thick_mask",
    "thick_slices",
    "to_native",
    "to_view",
    "view_axes",
    "whole_box",
    "widened",
]
