"""Label tables, and everything that is done to label volumes after the network and around it."""

from nansurfer.labels.classes import MERGED_LABELS, classes_to_labels, labels_to_classes
from nansurfer.labels.hemispheres import split_cortex
from nansurfer.labels.mask import LEFT_CORTEX, RIGHT_CORTEX, brain_mask, merge_parcels, reaches_edge, reduce_to_aseg
from nansurfer.labels.names import find_label, structure_name
from nansurfer.labels.overlap import LabelOverlap, Overlap, count_overlap, dice, mapped_dk_to_dkt
from nansurfer.labels.sagittal import N_SAGITTAL_CLASSES, SAGITTAL_CLASS_LABELS, SAGITTAL_TO_FULL
from nansurfer.labels.statistics import (
    MIN_BRAIN_VOLUME_ML,
    Measure,
    StructureStats,
    brain_measures,
    brain_volume_ml,
    volume_statistics,
)
from nansurfer.labels.stats_files import write_stats, write_volumes_csv
from nansurfer.labels.surface import hausdorff95
from nansurfer.labels.table import N_CLASSES, LabelTable, Structure, load_table

__all__ = [
    "LEFT_CORTEX",
    "MERGED_LABELS",
    "MIN_BRAIN_VOLUME_ML",
    "N_CLASSES",
    "N_SAGITTAL_CLASSES",
    "RIGHT_CORTEX",
    "SAGITTAL_CLASS_LABELS",
    "SAGITTAL_TO_FULL",
    "LabelOverlap",
    "LabelTable",
    "Measure",
    "Overlap",
    "Structure",
    "StructureStats",
    "brain_mask",
    "brain_measures",
    "brain_volume_ml",
    "classes_to_labels",
    "count_overlap",
    "dice",
    "find_label",
    "hausdorff95",
    "labels_to_classes",
    "load_table",
    "mapped_dk_to_dkt",
    "merge_parcels",
    "reaches_edge",
    "reduce_to_aseg",
    "split_cortex",
    "structure_name",
    "volume_statistics",
    "write_stats",
    "write_volumes_csv",
]
