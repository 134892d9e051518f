"""The files of a derivative dataset: its description, label tables, group table; and what the validator says."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nansurfer.batch import Record, RecordFile, Subject
from nansurfer.bids import FREESURFER, write_all_derivatives, write_dataset_files, write_group
from nansurfer.bids.dataset import _container
from nansurfer.errors import InputFormatError, InputNotFoundError, OutputError
from nansurfer.labels import load_table, volume_statistics, write_stats
from nansurfer.pipeline.outputs import STATS
from nansurfer.version import __version__

Segmented = tuple[Path, Path, list[Subject]]


@pytest.fixture(autouse=True)
def outside_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nansurfer.bids.dataset._container", dict)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def read_tsv(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def record_of(subject: Subject, output: Path) -> None:
    """Of two voxels of white matter and one of hippocampus."""
    stats = volume_statistics(np.array([[[2, 2, 17]]], np.int16), None, 8.0)
    path = output / FREESURFER / subject.sid / STATS
    write_stats(path, stats, subject=subject.sid, voxel_volume_mm3=8.0, mask_volume_mm3=24.0)
    record = Record(subject.sid, str(subject.path), "done", None, None, 0, 1.0, 1, 1.0, 0.5, 1, "here", "", "")
    RecordFile(output / FREESURFER).append(record)


def test_description(raw: Callable[..., Path], tmp_path: Path) -> None:
    dataset = raw(DatasetDOI="doi:10.1/x")
    write_dataset_files(dataset, tmp_path / "out")
    assert read_json(tmp_path / "out/dataset_description.json") == {
        "Name": "nansurfer segmentations of Demo",
        "BIDSVersion": "1.11.1",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "nansurfer", "Version": __version__}],
        "SourceDatasets": [{"DOI": "doi:10.1/x"}],
        "DatasetLinks": {"raw": dataset.as_uri()},
    }


def test_apptainer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPTAINER_CONTAINER", "/images/nansurfer-1.0.sif")
    assert _container() == {"Container": {"Type": "apptainer", "Tag": "nansurfer-1.0.sif"}}


def test_within_the_raw_dataset_the_link_moves_along(raw: Callable[..., Path]) -> None:
    dataset = raw()
    output = dataset / "derivatives" / "nansurfer"
    write_dataset_files(dataset, output)
    description = read_json(output / "dataset_description.json")
    assert description["DatasetLinks"] == {"raw": "../.."}
    assert description["SourceDatasets"] == [{"URL": "../.."}]


def test_label_tables(raw: Callable[..., Path], tmp_path: Path) -> None:
    write_dataset_files(raw(), tmp_path / "out")
    full, aseg = (read_tsv(tmp_path / f"out/desc-{name}_dseg.tsv") for name in ("aparcaseg", "aseg"))
    assert full[:3] == [
        ["index", "name", "color"],
        ["0", "Background", "#000000"],
        ["2", "Left-Cerebral-White-Matter", "#f5f5f5"],
    ]
    assert full[-1] == ["2035", "ctx-rh-insula", "#ffc020"]
    assert tuple(int(row[0]) for row in full[1:]) == load_table().labels
    assert aseg[3] == ["3", "Left-Cerebral-Cortex", "#cd3e4e"]
    assert [int(row[0]) for row in aseg[1:]] == sorted(
        [*(label for label in load_table().labels if label < 1000), 3, 42]
    )


@pytest.mark.parametrize("text", ["{}", '{"GeneratedBy": [{"Name": "fMRIPrep"}]}', '{"GeneratedBy": "nansurfer"}'])
def test_the_dataset_of_another_is_left_alone(raw: Callable[..., Path], tmp_path: Path, text: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "dataset_description.json").write_text(text)
    with pytest.raises(OutputError, match="other holds a dataset that nansurfer has not made"):
        write_dataset_files(raw(), other)
    assert [path.name for path in other.iterdir()] == ["dataset_description.json"]


def test_the_raw_dataset_is_never_the_output(raw: Callable[..., Path]) -> None:
    dataset = raw()
    before = (dataset / "dataset_description.json").read_bytes()
    with pytest.raises(OutputError):
        write_dataset_files(dataset, dataset)
    assert (dataset / "dataset_description.json").read_bytes() == before


def test_group_table(segmented: Segmented) -> None:
    dataset, output, subjects = segmented
    for subject in reversed(subjects):
        record_of(subject, output)
    table = write_group(dataset, output)
    header, first, second = read_tsv(table)
    assert header[:4] == ["participant_id", "session_id", "bids_name", "Left-Cerebral-White-Matter"]
    assert first[:4] == ["sub-01", "n/a", "sub-01", "16.0"]
    assert second[:4] == ["sub-02", "ses-a", "sub-02_ses-a_acq-hi_run-1", "16.0"]
    assert (header[-1], first[-1]) == ("MaskVol", "24.0")
    columns = read_json(table.with_suffix(".json"))
    assert columns["Left-Hippocampus"] == {"Description": "Volume of Left-Hippocampus.", "Units": "mm^3"}
    assert set(columns) == set(header[2:])
    assert (output / FREESURFER / "batch.html").is_file()


def test_group_without_participants(raw: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="out holds no finished participant; run the level 'participant'"):
        write_group(raw(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_group_of_no_dataset(tmp_path: Path, segmented: Segmented) -> None:
    _, output, subjects = segmented
    record_of(subjects[0], output)
    with pytest.raises(InputFormatError, match="is no BIDS dataset"):
        write_group(tmp_path, output)


def test_the_validator_finds_no_error(segmented: Segmented) -> None:
    dataset, output, subjects = segmented
    write_dataset_files(dataset, output)
    write_all_derivatives(subjects, dataset, output, threads=1)
    for subject in subjects:
        record_of(subject, output)
    write_group(dataset, output)
    assert found_by_validator(output) == {"TOO_FEW_AUTHORS"}  # a warning: who they are, the user knows
    (output / "sub-01/anat/sub-01_desc-aseg_segmentation.nii.gz").touch()
    assert "NOT_INCLUDED" in found_by_validator(output)  # it does look


def found_by_validator(dataset: Path) -> set[str]:
    """Codes of all errors and warnings, by the validator of this Python or of the path."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    validator = shutil.which("bids-validator-deno", path=places)
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run(
        [validator, "--format", "json", dataset], capture_output=True, text=True, check=False, timeout=120
    )
    return {issue["code"] for issue in json.loads(done.stdout)["issues"]["issues"]}
