"""The skip report on disk: JSON and CSV to the last digit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from nansurfer.errors import OutputError
from nansurfer.report import SkipReport, write_skip_report

CSV = """\
view,block,layer,windows,skipped,mixed,skip_ratio,mixed_ratio,macs,macs_skipped
coronal,encode1,encode1.conv0,12,8,3,0.666667,0.25,120,80
coronal,bottleneck,bottleneck.conv0,3,2,1,0.666667,0.333333,18,12
coronal,decode1,decode1.conv0,12,10,1,0.833333,0.083333,240,200
coronal,classifier,classifier.conv,12,4,0,0.333333,0.0,60,20
"""


@pytest.fixture
def written(tmp_path: Path, tiny_report: SkipReport, tiny_t1: nib.MGHImage, tiny_labels: np.ndarray) -> Path:
    write_skip_report(tmp_path / "report", tiny_report, tiny_t1, tiny_labels)
    return tmp_path / "report"


@pytest.fixture
def content(written: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((written / "skip_report.json").read_text())
    return loaded


def test_three_files(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == {f"skip_report.{suffix}" for suffix in ("json", "csv", "html")}


def test_csv(written: Path) -> None:
    assert (written / "skip_report.csv").read_bytes().decode() == CSV


def test_json_totals(content: dict[str, Any]) -> None:
    assert content["schema_version"] == 1
    assert content["options"] == {
        "nan": "conservative",
        "threshold": 0.5,
        "fill": "mean",
        "margin": None,
        "paper_compat": True,
    }
    assert content["engine"] == "reference"
    assert content["mean_skip_ratio"] == 0.625
    assert content["mac_skip_ratio"] == 0.712329
    assert content["speedup_bound"] == 3.4762
    assert (content["macs"], content["macs_skipped"]) == (438, 312)
    assert content["blocks"]["decode1"] == {"skip_ratio": 0.833333, "macs": 240, "macs_skipped": 200}
    assert content["left_dense"] == []


def test_json_of_a_view(content: dict[str, Any]) -> None:
    [view] = content["views"]
    layers = view.pop("layers")
    assert view == {
        "view": "coronal",
        "mean_skip_ratio": 0.625,
        "mac_skip_ratio": 0.712329,
        "macs": 438,
        "macs_skipped": 312,
        "slices": 3,
        "slices_computed": 2,
        "windows_per_slice": 13,
        "macs_per_slice": 146,
        "per_slice": {
            "computed": [True, False, True],
            "skipped": [3, 13, 8],
            "mixed": [4, 0, 1],
            "macs_skipped": [50, 146, 116],
            "mac_skip_ratio": [0.342466, 1.0, 0.794521],
        },
    }
    rows = [
        CSV.splitlines()[0].split(","),
        *([str(layer[key]) for key in CSV.splitlines()[0].split(",")] for layer in layers),
    ]
    assert [",".join(row) for row in rows] == CSV.splitlines()


def test_json_has_the_published_figures(content: dict[str, Any]) -> None:
    assert content["comparison"]["views"] == {"coronal": {"bottleneck": 0.5, "decode1": 0.75}}
    assert content["comparison"]["published"]["views"]["coronal"]["bottleneck"] == 0


def test_what_differs_from_run_to_run_is_not_in_the_files(
    tmp_path: Path, written: Path, tiny_report: SkipReport, tiny_t1: nib.MGHImage, tiny_labels: np.ndarray
) -> None:
    slower = dataclasses.replace(tiny_report, bookkeeping={"counting_s": 3.0, "memory_mb": 3.0})
    write_skip_report(tmp_path / "again", slower, tiny_t1, tiny_labels)
    for path in written.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_json_is_valid_if_all_was_skipped(
    tmp_path: Path, tiny_report: SkipReport, tiny_t1: nib.MGHImage, tiny_labels: np.ndarray
) -> None:
    nothing = dataclasses.replace(tiny_report.views[0], computed=np.zeros(3, bool))
    write_skip_report(tmp_path, dataclasses.replace(tiny_report, views=(nothing,)), tiny_t1, tiny_labels)
    content = json.loads((tmp_path / "skip_report.json").read_text())
    assert (content["mac_skip_ratio"], content["speedup_bound"], content["comparison"]) == (1.0, None, None)
    assert "nothing was left to compute" in (tmp_path / "skip_report.html").read_text()


def test_folder_that_cannot_be_made(
    tmp_path: Path, tiny_report: SkipReport, tiny_t1: nib.MGHImage, tiny_labels: np.ndarray
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not be written"):
        write_skip_report(tmp_path / "file" / "report", tiny_report, tiny_t1, tiny_labels)
