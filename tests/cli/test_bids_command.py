"""``nansurfer bids``: the BIDS App interface, and a real dataset from raw T1s to the group table."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("ancpbids")

from nansurfer.batch import Record, RecordFile, Subject
from nansurfer.cli.bids import _with_option_each
from nansurfer.errors import BatchError
from nansurfer.pipeline.outputs import ASEG, LABELS, MASK, RECORD

ORIGINALS = Path("sourcedata/freesurfer")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two participants, each with a T1 of noise."""
    folder = tmp_path / "raw"
    for name in ("sub-01", "sub-02"):
        (folder / name / "anat").mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 99, (16, 16, 16), np.uint8)
        nib.Nifti1Image(noise, np.eye(4)).to_filename(folder / name / "anat" / f"{name}_T1w.nii.gz")
    (folder / "dataset_description.json").write_text('{"Name": "Demo", "BIDSVersion": "1.9.0"}')
    return folder


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Names in every batch that was run: all are segmented at once, but for ``sub-02``, of which there is nothing."""
    run: list[list[str]] = []

    def run_batch(subjects: list[Subject], options: Any, folder: Path, how: Any, *_: Any, **__: Any) -> None:
        run.append([subject.sid for subject in subjects])
        for subject in subjects:
            if subject.sid != "sub-02":
                segment_at_once(subject, folder)
        if "sub-02" in run[-1]:
            raise BatchError("1 of 2 subjects have no result.")

    monkeypatch.setattr(importlib.import_module("nansurfer.cli.bids"), "run_batch", run_batch)
    return run


def segment_at_once(subject: Subject, folder: Path) -> None:
    for path in (LABELS, ASEG, MASK):
        (folder / subject.sid / path).parent.mkdir(parents=True, exist_ok=True)
        nib.MGHImage(np.ones((16, 16, 16), np.uint8), np.eye(4)).to_filename(folder / subject.sid / path)
    (folder / subject.sid / RECORD).write_text("{}")
    record = Record(subject.sid, str(subject.path), "done", None, None, 0, 1.0, 1, 1.0, 0.5, 1, "here", "", "")
    RecordFile(folder).append(record)


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("in out participant", "in out participant"),
        ("in out participant --participant-label 01", "in out participant --participant-label 01"),
        (
            "in out participant --participant_label 01 02 --jobs 2",
            "in out participant --participant_label 01 --participant_label 02 --jobs 2",
        ),
        (
            "in out participant --session-label 1 2 --participant-label 3 4",
            "in out participant --session-label 1 --session-label 2 --participant-label 3 --participant-label 4",
        ),
        (
            "in out participant --participant-label=01 02",
            "in out participant --participant-label=01 --participant-label 02",
        ),
        ("--participant-label 01 in out participant", "--participant-label 01 in out participant"),
    ],
)
def test_labels_in_a_row(given: str, understood: str) -> None:
    assert _with_option_each(given.split()) == understood.split()


@pytest.mark.parametrize(
    ("labels", "names"),
    [([], ["sub-01", "sub-02"]), (["--participant_label", "sub-01"], ["sub-01"])],
)
def test_derivatives_of_those_that_have_a_result(
    nansurfer: Callable[..., Any],
    dataset: Path,
    tmp_path: Path,
    batches: list[list[str]],
    labels: list[str],
    names: list[str],
) -> None:
    out = tmp_path / "out"
    done = nansurfer("bids", dataset, out, "participant", *labels)
    assert done.exit_code == (13 if "sub-02" in names else 0)
    assert batches == [names]
    assert (out / "sub-01/anat/sub-01_desc-brain_mask.nii.gz").is_file()
    assert not (out / "sub-02").exists()
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"


def test_paths_from_a_neighbouring_folder(
    nansurfer: Callable[..., Any], dataset: Path, monkeypatch: pytest.MonkeyPatch, batches: list[list[str]]
) -> None:
    monkeypatch.chdir(dataset / "sub-01")
    assert nansurfer("bids", "..", "../../out", "participant", "--participant-label", "01").exit_code == 0
    assert (dataset.parent / "out/sub-01/anat/sub-01_desc-brain_mask.nii.gz").is_file()
    assert nansurfer("bids", "..", "../../out", "group").exit_code == 0


def test_derivatives_that_cannot_be_written(
    nansurfer: Callable[..., Any], dataset: Path, tmp_path: Path, batches: list[list[str]]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub-01").write_text("in the way")
    done = nansurfer("bids", dataset, tmp_path / "out", "participant", "--participant-label", "01")
    assert done.exit_code == 13
    assert "sub-01 is segmented, but has no derivatives: " in done.err
    assert done.err.splitlines()[-1].startswith("nansurfer: 1 of 1 segmented T1s have no derivatives")


def test_dry_run_writes_nothing(nansurfer: Callable[..., Any], dataset: Path, tmp_path: Path) -> None:
    done = nansurfer("bids", dataset, tmp_path / "out", "participant", "--dry-run", "--device", "cpu")
    assert done.exit_code == 0
    assert [line.split()[:3] for line in done.out.splitlines()[:2]] == [["to", "do", "sub-01"], ["to", "do", "sub-02"]]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["{raw}", "{out}", "session"], 2, "'session'"),
        (["{raw}", "{out}", "group", "--participant-label", "01"], 2, "the group level is over all participants"),
        (["{raw}", "{out}", "group"], 3, "holds no finished participant"),
        (["{raw}", "{out}", "participant", "--participant-label", "01", "99"], 3, "has no sub-99"),
        (["{out}", "{raw}", "participant"], 3, "is no folder"),
        (["{raw}/sub-01", "{out}", "participant"], 4, "is no BIDS dataset"),
        (["{raw}", "{raw}", "participant"], 8, "holds a dataset that nansurfer has not made"),
    ],
)
def test_wrong_calls(
    nansurfer: Callable[..., Any], dataset: Path, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = nansurfer("bids", *(text.format(raw=dataset, out=tmp_path / "out") for text in arguments))
    assert done.exit_code == code
    assert sentence in done.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_real_dataset(nansurfer: Callable[..., Any], data_dir: Path, dataset: Path, tmp_path: Path) -> None:
    """A real T1 in scanner orientation, and a damaged one; done again, nothing changes."""
    image = nib.load(data_dir / "t1" / "subject-03_brain.mgz")
    path = dataset / "sub-01/anat/sub-01_T1w.nii.gz"
    turned = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(image.dataobj), image.affine))
    turned.to_filename(path)
    volume = np.asarray(turned.dataobj)
    (dataset / "sub-02/anat/sub-02_T1w.nii.gz").write_bytes(b"damaged")
    out = tmp_path / "out"
    command = ("bids", dataset, out, "participant", "--views", "coronal", "--device", "cpu", "--jobs", "1")
    done = nansurfer(*command)
    assert done.exit_code == 13
    mask = nib.load(out / "sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    brain = np.asarray(mask.dataobj) != 0
    np.testing.assert_array_equal(mask.affine, nib.load(path).affine)
    assert (volume[brain] > 0).mean() > 0.9
    assert brain[volume > 40].mean() > 0.9
    original = nib.load(out / ORIGINALS / "sub-01" / MASK)
    assert brain.sum() == np.count_nonzero(np.asarray(original.dataobj))

    before = {path: path.read_bytes() for path in out.glob("sub-*/**/*.*")}
    assert len(before) == 6
    for path in before:
        path.unlink()
    assert nansurfer(*command).exit_code == 13
    assert {path: path.read_bytes() for path in out.glob("sub-*/**/*.*")} == before
    assert nansurfer("bids", dataset, out, "group").exit_code == 0
    assert [line.split("\t")[0] for line in (out / "group_volumes.tsv").read_text().splitlines()] == [
        "participant_id",
        "sub-01",
    ]
