"""What a person looks at after a run."""

from __future__ import annotations

from nansurfer.report.mosaic import mosaic, save_mosaic, save_thumbnail
from nansurfer.report.skip_files import SKIP_REPORT_FILES, write_skip_report
from nansurfer.report.skips import SkipReport, ViewSkips

__all__ = [
    "SKIP_REPORT_FILES",
    "SkipReport",
    "ViewSkips",
    "mosaic",
    "save_mosaic",
    "save_thumbnail",
    "write_skip_report",
]
