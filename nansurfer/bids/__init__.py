"""BIDS datasets: their T1s as input, BIDS derivatives as output."""

from nansurfer.bids.dataset import write_dataset_files
from nansurfer.bids.derivatives import FREESURFER, write_all_derivatives, write_derivatives
from nansurfer.bids.find import find_t1s, plain_path
from nansurfer.bids.group import write_group

__all__ = [
    "FREESURFER",
    "find_t1s",
    "plain_path",
    "write_all_derivatives",
    "write_dataset_files",
    "write_derivatives",
    "write_group",
]
