"""Which T1s of a BIDS dataset are found, and what is said where there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nansurfer.batch import Subject, find_subjects
from nansurfer.bids import find_t1s
from nansurfer.errors import ConfigError, InputFormatError, InputNotFoundError

FOUND = (
    "sub-01/ses-1/anat/sub-01_ses-1_acq-hi_T1w.nii.gz",
    "sub-01/ses-1/anat/sub-01_ses-1_run-01_T1w.nii.gz",
    "sub-01/ses-1/anat/sub-01_ses-1_run-02_T1w.nii.gz",
    "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
    "sub-02/anat/sub-02_part-mag_T1w.nii.gz",
    "sub-10/anat/sub-10_T1w.nii",
)
OTHERS = (
    "sub-01/ses-1/anat/sub-01_ses-1_T1w.json",
    "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz",
    "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz",
    "sub-02/anat/sub-02_part-phase_T1w.nii.gz",
    "sub-02/func/sub-02_T1w.nii.gz",
    "derivatives/prep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
    "sourcedata/sub-03/anat/sub-03_T1w.nii.gz",
    "anat/sub-04_T1w.nii.gz",
)
NAMES = [Path(path).name.partition("_T1w")[0] for path in FOUND]


@pytest.fixture
def dataset(raw: Callable[..., Path]) -> Path:
    return raw(*FOUND, *OTHERS)


def names(dataset: Path, participants: tuple[str, ...] = (), sessions: tuple[str, ...] = ()) -> list[str]:
    return [subject.sid for subject in find_t1s(dataset, participants, sessions)]


def test_every_raw_t1_by_its_entities(dataset: Path) -> None:
    assert find_t1s(dataset) == [Subject(sid, dataset / path) for sid, path in zip(NAMES, FOUND, strict=True)]


@pytest.mark.parametrize(
    ("participants", "sessions", "found"),
    [
        (("01",), (), NAMES[:4]),
        (("sub-01",), ("1",), NAMES[:3]),
        (("01", "sub-02"), ("ses-2",), NAMES[3:4]),
        (("10", "02"), (), NAMES[4:]),
        ((), ("2",), NAMES[3:4]),
    ],
)
def test_labels_with_and_without_prefix(
    dataset: Path, participants: tuple[str, ...], sessions: tuple[str, ...], found: list[str]
) -> None:
    assert names(dataset, participants, sessions) == found


def test_the_folder_of_the_dataset_may_have_any_name(dataset: Path) -> None:
    assert names(dataset.rename(dataset.with_name("anat"))) == NAMES


def test_only_where_t1s_may_lie_is_looked_into(dataset: Path) -> None:
    """A folder that holds itself would be walked through forty times."""
    for folder in ("derivatives", "sub-01/ses-1/func"):
        (dataset / folder / "sub-01").mkdir(exist_ok=True)
        (dataset / folder / "sub-01" / "all").symlink_to(dataset, target_is_directory=True)
    assert names(dataset) == NAMES


@pytest.mark.parametrize("given", [".", "../raw", "../raw/sub-01/..", "../out/../raw"])
def test_relative_paths(dataset: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    (dataset.parent / "out").mkdir()
    monkeypatch.chdir(dataset)
    assert find_t1s(given)[0].path == dataset / FOUND[0]
    assert find_subjects([given], ["10"])[0].path == dataset / FOUND[-1]


def test_as_input_of_a_batch(dataset: Path) -> None:
    assert [subject.sid for subject in find_subjects([dataset], ["sub-10"])] == ["sub-10"]


def test_participant_that_is_not_there(dataset: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"raw has no sub-99; .* such as sub-01\.$"):
        find_t1s(dataset, ["01", "99"])


def test_participant_without_t1_is_named(
    raw: Callable[..., Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nansurfer.bids.find._logger.propagate", True)
    dataset = raw("sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz")
    assert names(dataset, ("01", "02")) == ["sub-01"]
    assert caplog.messages == ["No T1 was found of sub-02."]


def test_no_t1_at_all(raw: Callable[..., Path]) -> None:
    with pytest.raises(InputNotFoundError, match=r"No T1 was found in .*raw; expected files such as sub-01/anat"):
        find_t1s(raw("sub-01/anat/sub-01_T2w.nii.gz"))


def test_one_name_twice(raw: Callable[..., Path]) -> None:
    with pytest.raises(InputFormatError, match="holds sub-01_T1w twice"):
        find_t1s(raw("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii"))


def test_derivative_dataset(raw: Callable[..., Path]) -> None:
    with pytest.raises(InputFormatError, match="of type 'derivative', expected 'raw'"):
        find_t1s(raw("sub-01/anat/sub-01_T1w.nii.gz", DatasetType="derivative"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "is no BIDS dataset, as it has no dataset_description.json"),
        ("{", r"dataset_description.json cannot be read \(Expecting property name"),
        ("\xff", r"dataset_description.json cannot be read \('utf-8' codec"),
        ("[]", "dataset_description.json holds no JSON object"),
    ],
)
def test_bad_description(dataset: Path, text: str | None, sentence: str) -> None:
    path = dataset / "dataset_description.json"
    path.unlink() if text is None else path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputFormatError, match=sentence):
        find_t1s(dataset)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="nowhere is no folder"):
        find_t1s(tmp_path / "nowhere")


def test_without_the_library(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nansurfer.bids.find.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"missing: pip install 'nansurfer\[bids\]'"):
        find_t1s(dataset)
