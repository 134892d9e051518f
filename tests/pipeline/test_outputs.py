"""A subject's folder: complete or not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.errors import BusyError, ConfigError, OutputError
from nansurfer.files import sha256
from nansurfer.pipeline import holds_result_of, is_finished, outputs, subject_folder, subject_id
from nansurfer.pipeline.outputs import (
    ASEG,
    CONFORMED,
    LABELS,
    MASK,
    NATIVE_LABELS,
    ORIGINAL,
    PICTURE,
    RECORD,
    STATS,
    THUMBNAIL,
    VOLUMES,
    discard_unfinished,
    staged_folder,
    subjects_at_hand,
    write_outputs,
    write_record,
)
from nansurfer.pipeline.result import SegmentationResult, measured


def tree(folder: Path) -> dict[str, str]:
    """Content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fill(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class TestStaging:
    def test_files_arrive_when_the_block_ends(self, tmp_path: Path) -> None:
        folder = tmp_path / "subjects" / "s1"
        with staged_folder(folder) as staging:
            assert staging.parent == folder.parent  # the same file system, so that moving is renaming
            assert staging.name.startswith(".s1-")
            fill(staging, mri__a="1", stats__deep__b="2")
            assert not folder.exists()
        assert tree(tmp_path) == {"subjects/s1/mri/a": "1", "subjects/s1/stats/deep/b": "2"}

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_nothing_arrives_after_an_error(self, tmp_path: Path, error) -> None:
        def interrupted() -> None:
            with staged_folder(tmp_path / "s1") as staging:
                fill(staging, mri__a="1")
                raise error

        with pytest.raises(error):
            interrupted()
        assert list(tmp_path.iterdir()) == []

    def test_the_old_result_stays_until_then(self, tmp_path: Path) -> None:
        folder = tmp_path / "s1"
        fill(folder, **{"nansurfer.json": "old", "mri__a": "old", "surf__theirs": "kept"})
        with staged_folder(folder) as staging:
            fill(staging, **{"nansurfer.json": "new", "mri__a": "new"})
            assert tree(folder)["nansurfer.json"] == tree(folder)["mri/a"] == "old"
        assert tree(folder) == {"nansurfer.json": "new", "mri/a": "new", "surf/theirs": "kept"}

    def test_the_record_arrives_last_and_the_old_one_goes_first(self, tmp_path: Path, monkeypatch) -> None:
        folder = tmp_path / "s1"
        fill(folder, **{"nansurfer.json": "old"})
        finished, replace = [], Path.replace

        def watched(self: Path, target: Path) -> Path:
            finished.append(is_finished(folder))
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", watched)
        with staged_folder(folder) as staging:
            fill(staging, **{"mri__a": "1", "nansurfer.json": "new", "zzz": "1"})
        assert finished == [False, False, False]
        assert is_finished(folder)

    def test_native_labels_of_an_earlier_run_do_not_stay(self, tmp_path: Path) -> None:
        folder = tmp_path / "s1"
        with staged_folder(folder) as staging:
            fill(staging, **{str(NATIVE_LABELS).replace("/", "__"): "old", "nansurfer.json": "old"})
        with staged_folder(folder) as staging:
            fill(staging, **{"nansurfer.json": "new"})
        assert tree(folder) == {"nansurfer.json": "new"}

    def test_a_second_run_is_told_so_and_disturbs_nothing(self, tmp_path: Path) -> None:
        with staged_folder(tmp_path / "s1") as staging:
            fill(staging, mri__a="1")
            with (
                pytest.raises(BusyError, match=r"Another run is at work on .*s1; wait until it has ended"),
                staged_folder(tmp_path / "s1"),
            ):
                pytest.fail("two at a time")
            discard_unfinished(tmp_path / "s1")
            with staged_folder(tmp_path / "s1-b") as other:  # another subject, whose name begins with the same
                fill(other, mri__a="2")
        assert tree(tmp_path) == {"s1/mri/a": "1", "s1-b/mri/a": "2"}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["s1", "s1-b"]

    def test_who_is_at_hand(self, tmp_path: Path) -> None:
        (tmp_path / "done").mkdir()
        (tmp_path / ".tmp-17-batch.csv").touch()
        with staged_folder(tmp_path / "s1"), staged_folder(tmp_path / "s-2"):
            assert subjects_at_hand(tmp_path) == {"s1", "s-2"}
        assert subjects_at_hand(tmp_path) == set()
        assert subjects_at_hand(tmp_path / "nowhere") == set()

    def test_what_a_killed_run_left_is_removed_by_the_next(self, tmp_path: Path) -> None:
        fill(tmp_path / ".s1-unfinished", mri__a="half")
        (tmp_path / ".s1-lock").touch()
        with staged_folder(tmp_path / "s1") as staging:
            fill(staging, mri__b="1")
        assert tree(tmp_path) == {"s1/mri/b": "1"}

    def test_or_by_who_knows_that_it_was_killed(self, tmp_path: Path) -> None:
        fill(tmp_path / ".s1-unfinished", mri__a="half")
        (tmp_path / ".s1-lock").touch()
        discard_unfinished(tmp_path / "s1")
        assert list(tmp_path.iterdir()) == []

    def test_errors_of_the_work_are_not_taken_for_those_of_moving(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), staged_folder(tmp_path / "s1") as staging:
            (staging / "none").read_text()
        assert list(tmp_path.iterdir()) == []

    def test_a_file_in_place_of_the_subject(self, tmp_path: Path) -> None:
        (tmp_path / "s1").write_text("mine")
        with pytest.raises(OutputError, match="s1 is no folder that may be written to"), staged_folder(tmp_path / "s1"):
            pytest.fail("not before the work, but after it")
        assert tree(tmp_path) == {"s1": "mine"}

    def test_a_file_in_place_of_the_output_folder(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("mine")
        with (
            pytest.raises(OutputError, match=r"out cannot be written .*choose another"),
            staged_folder(tmp_path / "out" / "s1"),
        ):
            pytest.fail("not before the work, but after it")

    def test_a_file_system_that_takes_nothing(self) -> None:
        with pytest.raises(OutputError, match="/proc/nansurfer"), staged_folder(Path("/proc/nansurfer/s1")):
            pytest.fail("not before the work, but after it")

    def test_a_folder_in_place_of_a_file(self, tmp_path: Path) -> None:
        fill(tmp_path / "s1" / "mri" / "a", b="theirs")
        with pytest.raises(OutputError, match=r"could not be moved to .*s1"), staged_folder(tmp_path / "s1") as staging:
            fill(staging, **{"mri__a": "1", "nansurfer.json": "new"})
        assert not is_finished(tmp_path / "s1")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data/subj.mgz", "subj"),
        ("subj.nii.gz", "subj"),
        ("SUBJ.NII.GZ", "SUBJ"),
        ("sub-01_ses-2_T1w.nii", "sub-01_ses-2_T1w"),
        ("a.b.img", "a.b"),
        ("a.img.nii", "a.img"),
        ("mgz", "mgz"),
        ("notes.txt", "notes.txt"),
    ],
)
def test_subject_id(path, expected) -> None:
    assert subject_id(path) == expected


def test_subject_folder(tmp_path: Path) -> None:
    assert subject_folder(tmp_path, None, "x/subj.mgz") == tmp_path / "subj"
    assert subject_folder(tmp_path, "Jürgen 1", "x/subj.mgz") == tmp_path / "Jürgen 1"


@pytest.mark.parametrize("sid", ["", ".", "..", "a/b", "/etc", "../up", "a\nb", "a\0b"])
def test_names_that_are_no_folder_of_their_own(tmp_path: Path, sid) -> None:
    with pytest.raises(ConfigError, match=r"The subject's name is .*; give --sid a plain name"):
        subject_folder(tmp_path, sid, "subj.mgz")


def test_a_file_without_a_name_needs_a_sid(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="The subject's name is ''"):
        subject_folder(tmp_path, None, ".nii.gz")


class TestFinished:
    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        path = tmp_path / "subj.mgz"
        path.write_text("an image")
        return path

    @pytest.fixture
    def folder(self, tmp_path: Path, image: Path) -> Path:
        record = {"input": {"path": str(image), "sha256": sha256(image)}, "timings_s": {}}
        write_record(tmp_path / "s1", record)
        return tmp_path / "s1"

    def test_by_its_record(self, folder: Path, image: Path) -> None:
        assert is_finished(folder)
        assert holds_result_of(folder, image)

    def test_without_one_it_is_not(self, folder: Path, image: Path) -> None:
        (folder / RECORD).unlink()
        assert not is_finished(folder)
        assert not holds_result_of(folder, image)
        assert not is_finished(folder.parent / "absent")
        assert not is_finished(folder.parent / ("long" * 100))

    @pytest.mark.parametrize("path", [ORIGINAL, CONFORMED, LABELS, MASK, ASEG, STATS])
    def test_another_programs_subject(self, tmp_path: Path, image: Path, path: Path) -> None:
        fill(tmp_path / "bert", **{"surf__lh.white": "theirs"})
        assert not holds_result_of(tmp_path / "bert", image)
        (tmp_path / "bert" / path).parent.mkdir(parents=True)
        (tmp_path / "bert" / path).touch()
        with pytest.raises(
            OutputError, match=rf"bert holds {re.escape(str(path))} but no nansurfer.json: .* --overwrite"
        ):
            holds_result_of(tmp_path / "bert", image)
        (tmp_path / "bert" / RECORD).write_text("{}")
        with pytest.raises(OutputError, match="looks finished but cannot be read"):
            holds_result_of(tmp_path / "bert", image)

    def test_the_input_may_have_moved(self, folder: Path, image: Path, tmp_path: Path) -> None:
        assert holds_result_of(folder, image.rename(tmp_path / "moved.mgz"))
        assert holds_result_of(folder, tmp_path / "gone.mgz")

    def test_another_image_of_that_name(self, folder: Path, image: Path) -> None:
        image.write_text("another image")
        with pytest.raises(OutputError, match=r"s1 holds the segmentation of another image, .*subj.mgz; choose"):
            holds_result_of(folder, image)

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"timings_s": {}}', "\xff"])
    def test_a_damaged_record(self, folder: Path, image: Path, content) -> None:
        (folder / RECORD).write_text(content, encoding="latin1")
        with pytest.raises(OutputError, match=r"s1 looks finished but cannot be read .*--overwrite"):
            holds_result_of(folder, image)

    def test_damaged_images(self, folder: Path) -> None:
        with pytest.raises(OutputError, match=r"s1 looks finished but cannot be read .*orig.mgz"):
            outputs.load_result(folder)
        fill(folder, **{"mri__orig.mgz": "no image"})
        with pytest.raises(OutputError, match="s1 looks finished but cannot be read"):
            outputs.load_result(folder)


def test_a_record_takes_whatever_has_a_text(tmp_path: Path) -> None:
    write_record(tmp_path, {"path": Path("a/b"), "number": 1.5})
    assert json.loads((tmp_path / RECORD).read_text()) == {"path": "a/b", "number": 1.5}


@pytest.fixture
def block() -> SegmentationResult:
    """A bright block, labelled as left white matter."""
    t1 = np.zeros((32, 30, 28), np.uint8)
    t1[8:24, 8:24, 8:24] = 120
    brain = (t1 > 0).astype(np.uint8)
    conformed = nib.MGHImage(t1, np.diag([-1.0, 1, 1, 1]))
    return measured(conformed, labels=(2 * brain).astype(np.int16), mask=brain, aseg=2 * brain)


class TestWriting:
    def test_the_files_do_not_depend_on_the_threads(self, tmp_path: Path, block: SegmentationResult) -> None:
        written = {}
        for threads in (1, 3):
            folder = tmp_path / str(threads)
            assert write_outputs(folder, block.conformed, block, sid="s", native=True, caption="", threads=threads) == 0
            paths = [path for path in folder.rglob("*") if path.is_file()]
            written[threads] = {path.relative_to(folder): path.read_bytes() for path in paths}
        assert set(written[1]) == {
            ORIGINAL,
            CONFORMED,
            LABELS,
            MASK,
            ASEG,
            NATIVE_LABELS,
            STATS,
            VOLUMES,
            PICTURE,
            THUMBNAIL,
        }
        assert written[1] == written[3]

    def test_volumes_keep_their_voxels(self, tmp_path: Path, block: SegmentationResult) -> None:
        write_outputs(tmp_path, block.conformed, block, sid="s", native=False, caption="", threads=2)
        for path, values in ((CONFORMED, block.conformed.dataobj), (LABELS, block.labels), (ASEG, block.aseg)):
            assert np.array_equal(nib.load(tmp_path / path).dataobj, values)

    def test_the_error_of_a_thread_arrives(self, tmp_path: Path, block: SegmentationResult) -> None:
        (tmp_path / VOLUMES.parent).write_text("no folder")
        with pytest.raises(OutputError, match="could not be written"):
            write_outputs(tmp_path, block.conformed, block, sid="s", native=False, caption="", threads=2)
