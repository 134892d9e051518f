"""Many subjects: found, segmented by several processes or machines, recorded, tabled."""

from nansurfer.batch.local import BatchOptions, BatchProgress, Plan, plan_batch, run_local
from nansurfer.batch.overview import write_overview
from nansurfer.batch.record import Record, RecordFile
from nansurfer.batch.subjects import Subject, find_subjects

__all__ = [
    "BatchOptions",
    "BatchProgress",
    "Plan",
    "Record",
    "RecordFile",
    "Subject",
    "find_subjects",
    "plan_batch",
    "run_local",
    "write_overview",
]
