"""Which subjects the inputs of a batch hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nansurfer.batch import find_subjects
from nansurfer.errors import ConfigError, InputFormatError, InputNotFoundError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(*inputs: str | Path, participants: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Names, and paths from the first input's folder on."""
    return [(subject.sid, subject.path.name) for subject in find_subjects(inputs, participants)]


def test_files_in_their_order_and_each_once(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii.gz", "a.mgz")
    paths = tmp_path / "b.nii.gz", tmp_path / "a.mgz", tmp_path / "b.nii.gz"
    assert found(*paths) == [("b", "b.nii.gz"), ("a", "a.mgz")]


def test_an_image_that_is_not_there_is_a_subject_that_will_fail(tmp_path: Path) -> None:
    assert found(tmp_path / "gone.mgz") == [("gone", "gone.mgz")]


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [subject] = find_subjects(["a.mgz"])
    assert subject.path == tmp_path / "a.mgz"


def test_a_folder_of_images(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii", "a.mgz", "c.img", "c.hdr", "f.HDR", "f.IMG", "notes.txt", ".d.mgz", "deeper/e.mgz")
    assert found(tmp_path) == [("a", "a.mgz"), ("b", "b.nii"), ("c", "c.img"), ("f", "f.IMG")]


def test_a_freesurfer_subjects_folder(tmp_path: Path) -> None:
    touch(tmp_path, "bert/mri/orig.mgz", "bert/mri/orig/001.mgz", "anna/mri/orig/001.mgz", "empty/mri/brain.mgz")
    assert found(tmp_path) == [("anna", "001.mgz"), ("bert", "orig.mgz")]
    assert found(tmp_path / "bert") == [("bert", "orig.mgz")]


def test_globs(tmp_path: Path) -> None:
    touch(tmp_path, "x/b.mgz", "y/a.mgz", "y/notes.txt", "z/mri/orig.mgz")
    assert found(f"{tmp_path}/*/*.mgz") == [("b", "b.mgz"), ("a", "a.mgz")]
    assert found(f"{tmp_path}/?") == [("b", "b.mgz"), ("a", "a.mgz"), ("z", "orig.mgz")]
    touch(tmp_path, "[1].mgz")
    assert found(f"{tmp_path}/[1].mgz") == [("[1]", "[1].mgz")]  # a name, for it exists


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "x/T1.mgz", "y/T1.mgz", "p/x/T1.mgz")
    apart = [("x", "T1.mgz"), ("y", "T1.mgz")]
    assert found(f"{tmp_path}/?/T1.mgz") == apart
    assert found(tmp_path / "x/T1.mgz", tmp_path / "x/T1.mgz", tmp_path / "y/T1.mgz") == apart
    assert found(f"{tmp_path}/?/T1.mgz", participants=("y",)) == apart[1:]
    with pytest.raises(ConfigError, match="would both be subject T1; give them different names in a list"):
        found(tmp_path / "x/T1.mgz", tmp_path / "p/x/T1.mgz")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "one/a.mgz\n\n# not this one\ntwo/a.mgz, second\n"),
        ("list.csv", "path,id\none/a.mgz,\ntwo/a.mgz,second\n"),
        ("list.csv", "id,age,path\na,30,one/a.mgz\nsecond,40,two/a.mgz\n"),
        ("list.csv", "Path, ID\n one/a.mgz ,\n,,\ntwo/a.mgz, second\n"),
        ("list.csv", '\ufeff"one/a.mgz"\r\n"two/a.mgz","second"\r\n'),
        ("list.tsv", "one/a.mgz\ta\ntwo/a.mgz\tsecond\n"),
    ],
)
def test_lists(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    subjects = find_subjects([tmp_path / name])
    assert [(s.sid, s.path) for s in subjects] == [("a", tmp_path / "one/a.mgz"), ("second", tmp_path / "two/a.mgz")]


def test_participants(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01.mgz", "sub-02_ses-1.mgz", "sub-03.mgz")
    assert found(tmp_path, participants=("01", "sub-02_ses-1")) == [
        ("sub-01", "sub-01.mgz"),
        ("sub-02_ses-1", "sub-02_ses-1.mgz"),
    ]
    assert found(tmp_path, participants=("02", "03")) == [
        ("sub-02_ses-1", "sub-02_ses-1.mgz"),
        ("sub-03", "sub-03.mgz"),
    ]
    with pytest.raises(InputNotFoundError, match="No image of 04, 05 was found"):
        find_subjects([tmp_path], ["01", "sub-05", "sub-04"])


@pytest.mark.parametrize(
    ("names", "entry", "error", "said"),
    [
        ([], "nothing", InputNotFoundError, "nothing does not exist"),
        ([], "*.mgz", InputNotFoundError, "No file is named like"),
        (["notes.doc"], ".", InputNotFoundError, "holds neither images nor FreeSurfer subjects"),
        (["notes.doc"], "notes.doc", InputFormatError, "neither an image"),
        (["list.txt"], "list.txt", InputFormatError, "does not list images"),
        ([], "list.csv", InputNotFoundError, "list.csv cannot be read"),
        (["a.mgz", "a.nii"], ".", ConfigError, r"a\.mgz and .*a\.nii would both be subject a"),
        (["logs.mgz"], ".", ConfigError, "cannot be subject 'logs'"),
    ],
)
def test_what_cannot_be(tmp_path: Path, names: list[str], entry: str, error: type[Exception], said: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(error, match=said):
        find_subjects([tmp_path / entry])


@pytest.mark.parametrize("name", ["../elsewhere", "..", "logs", ".hidden", "a\0b"])
def test_a_name_in_a_list_is_that_of_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "list.csv").write_text(f"a.mgz,{name}\n")
    with pytest.raises(ConfigError, match=rf"a\.mgz cannot be subject {re.escape(repr(name))}; give it another name"):
        find_subjects([tmp_path / "list.csv"])


@pytest.mark.parametrize("text", ['"a.mgz\nb.mgz\n', "a" * 200_000])
def test_a_list_that_is_no_csv(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputFormatError, match=r"list\.txt is no list of files \(.*\); save it as CSV\."):
        find_subjects([tmp_path / "list.txt"])
