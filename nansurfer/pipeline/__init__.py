"""From a T1 on disk to a segmented subject on disk."""

from nansurfer.pipeline.options import SegmentOptions, make_options
from nansurfer.pipeline.outputs import holds_result_of, is_finished, other_choices
from nansurfer.pipeline.progress import Progress
from nansurfer.pipeline.result import SegmentationResult
from nansurfer.pipeline.segment import Segmenter, segment, subject_folder, subject_id

__all__ = [
    "Progress",
    "SegmentOptions",
    "SegmentationResult",
    "Segmenter",
    "holds_result_of",
    "is_finished",
    "make_options",
    "other_choices",
    "segment",
    "subject_folder",
    "subject_id",
]
