"""What a person looks at after a run."""

from __future__ import annotations

from nansurfer.report.mosaic import mosaic, save_mosaic

__all__ = ["mosaic", "save_mosaic"]
