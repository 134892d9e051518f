"""The three files of the skip report: JSON for programs, CSV for tables, HTML for people."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from nansurfer.files import atomic_path, write_csv
from nansurfer.report.published import compared_with_published
from nansurfer.report.skip_page import skip_page
from nansurfer.report.skip_pictures import plane_pictures
from nansurfer.report.skips import LayerSkips, SkipReport, ViewSkips, by_block, mac_skip_ratio, mean_skip_ratio

SKIP_REPORT_FILES = ("skip_report.json", "skip_report.csv", "skip_report.html")
SCHEMA_VERSION = 1
_RATIO_DIGITS = 6
_CSV_FIELDS = (
    "view",
    "block",
    "layer",
    "windows",
    "skipped",
    "mixed",
    "skip_ratio",
    "mixed_ratio",
    "macs",
    "macs_skipped",
)


def write_skip_report(
    folder: str | Path, report: SkipReport, conformed: nib.MGHImage, labels: npt.NDArray[np.int16]
) -> None:
    """Write ``skip_report.json``, ``skip_report.csv`` and ``skip_report.html`` into a folder.

    Parameters
    ----------
    folder
        Made if need be.
    report
        What the files say; what cannot be the same after another run of the same image is not in them.
    conformed
        T1 that was segmented, uint8.
    labels : int16 array of shape (X, Y, Z)
        Its segmentation, FreeSurfer's label numbers.

    Raises
    ------
    OutputError
        The folder cannot be written, or the disk is full.
    """
    folder = Path(folder)
    json_name, csv_name, html_name = SKIP_REPORT_FILES
    pictures = plane_pictures(report.views, conformed, labels)

    with atomic_path(folder / json_name) as path:
        path.write_text(json.dumps(skip_json(report), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    rows = map(layer_row, report.layers)
    write_csv(folder / csv_name, _CSV_FIELDS, ([row[field] for field in _CSV_FIELDS] for row in rows))
    with atomic_path(folder / html_name) as path:
        # A subject's name comes from a file's and may hold what UTF-8 has no bytes for.
        path.write_text(skip_page(report, pictures), encoding="utf-8", errors="xmlcharrefreplace")


def skip_json(report: SkipReport) -> dict[str, Any]:
    """The skip report's figures as plain data; ratios are 0 to 1, rounded to six digits.

    ``speedup_bound`` is None if nothing was left to compute, ``comparison`` if the NaN papers give no figures
    for this policy and threshold.
    """
    comparison = compared_with_published(report)
    return {
        "schema_version": SCHEMA_VERSION,
        "sid": report.sid,
        "versions": dict(report.versions),
        "options": dict(report.options),
        "engine": report.engine,
        "mean_skip_ratio": _ratio(report.mean_skip_ratio),
        "mac_skip_ratio": _ratio(report.mac_skip_ratio),
        "speedup_bound": round(report.speedup_bound, 4) if math.isfinite(report.speedup_bound) else None,
        **_macs(report.layers),
        "blocks": {
            block: {"skip_ratio": _ratio(mean_skip_ratio(layers)), **_macs(layers)}
            for block, layers in by_block(report.layers).items()
        },
        "views": [_view_json(view) for view in report.views],
        "comparison": dataclasses.asdict(comparison) if comparison else None,
        "left_dense": list(report.left_dense),
    }


def layer_row(layer: LayerSkips) -> dict[str, Any]:
    """One layer of one view as plain data, its block and ratios included."""
    ratios = {"skip_ratio": _ratio(layer.skip_ratio), "mixed_ratio": _ratio(layer.mixed_ratio)}
    return {**dataclasses.asdict(layer), "block": layer.block, **ratios}


def _view_json(view: ViewSkips) -> dict[str, Any]:
    layers = view.layer_skips()
    macs_skipped = view.macs_skipped_per_slice
    return {
        "view": view.view,
        "mean_skip_ratio": _ratio(mean_skip_ratio(layers)),
        "mac_skip_ratio": _ratio(mac_skip_ratio(layers)),
        **_macs(layers),
        "slices": view.n_slices,
        "slices_computed": int(view.computed.sum()),
        "layers": [layer_row(layer) for layer in layers],
        "windows_per_slice": int(view.windows.sum()),
        "macs_per_slice": view.macs_per_slice,
        "per_slice": {
            "computed": view.computed.tolist(),
            "skipped": view.skipped_windows.sum(axis=0).tolist(),
            "mixed": view.mixed_windows.sum(axis=0).tolist(),
            "macs_skipped": macs_skipped.tolist(),
            "mac_skip_ratio": [_ratio(macs / view.macs_per_slice) for macs in macs_skipped.tolist()],
        },
    }


def _macs(layers: Sequence[LayerSkips]) -> dict[str, int]:
    return {"macs": sum(x.macs for x in layers), "macs_skipped": sum(x.macs_skipped for x in layers)}


def _ratio(value: float) -> float:
    return round(value, _RATIO_DIGITS)
