"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nansurfer.errors import BusyError, OutputError
from nansurfer.files import atomic_path, check_writable, locked, sha256, write_csv


def test_the_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "image.nii.gz"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".tmp-")
        assert temporary.name.endswith("image.nii.gz")
        temporary.write_text("whole")
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["image.nii.gz"]
    assert path.read_text() == "whole"


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with atomic_path(str(path)) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_there_and_no_other(tmp_path: Path, error) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "old"


def test_processes_of_one_number_in_two_containers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic_path(path) as first, atomic_path(path) as second:
        first.write_text("first")
        second.write_text("second")
        assert (first.read_text(), second.read_text()) == ("first", "second")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "first"


def test_a_folder_is_checked_and_left_as_it_is(tmp_path: Path) -> None:
    check_writable(tmp_path)
    check_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "new", "/proc/new"):
        with pytest.raises(OutputError, match=rf"{folder} could not be written \(.*\); choose a folder"):
            check_writable(folder)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_that(tmp_path: Path, number) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=r"The disk is full: .*/a could not be written"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_what_a_secretive_writer_wrote(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "a") as temporary:
        temporary.touch(mode=0o600)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_device_that_is_full(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("more than nothing")

    with pytest.raises(OutputError, match="The disk is full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(OutputError, match=r"out/a could not be written .*choose a folder"),
        atomic_path(tmp_path / "out" / "a"),
    ):
        pytest.fail("there is nowhere to write")


def test_a_writer_that_wrote_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"), atomic_path(tmp_path / "a"):
        pass


@pytest.mark.parametrize("content", [b"", b"abc", b"x" * ((1 << 20) + 1)])
def test_sha256(tmp_path: Path, content) -> None:
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_sha256_of_an_image_in_two_files(tmp_path: Path) -> None:
    """Two images of one scanner may have the very same header."""
    (tmp_path / "a.hdr").write_bytes(b"header")
    assert sha256(tmp_path / "a.hdr") == hashlib.sha256(b"header").hexdigest()  # an image cannot be read from that
    (tmp_path / "a.img").write_bytes(b"voxels")
    both = hashlib.sha256(b"headervoxels").hexdigest()
    assert sha256(tmp_path / "a.hdr") == sha256(str(tmp_path / "a.img")) == both


@pytest.mark.parametrize(
    ("delimiter", "expected"),
    [
        (",", 'name,"a, b",c\nAmmonshorn ä,0.5,\nx\ty,"""",1\n'),
        ("\t", 'name\ta, b\tc\nAmmonshorn ä\t0.5\t\n"x\ty"\t""""\t1\n'),
    ],
)
def test_tables(tmp_path: Path, delimiter, expected) -> None:
    rows = ["Ammonshorn ä", 0.5, None], ("x\ty", '"', 1)
    write_csv(tmp_path / "new" / "t", ("name", "a, b", "c"), iter(rows), delimiter=delimiter)
    assert (tmp_path / "new" / "t").read_bytes() == expected.encode()


def test_names_in_tables_keep_their_bytes(tmp_path: Path) -> None:
    write_csv(tmp_path / "t", ["id"], [[os.fsdecode(b"caf\xe9")]])
    assert (tmp_path / "t").read_bytes() == b"id\ncaf\xe9\n"


class TestLocks:
    def test_one_holds_it_and_no_file_stays(self, tmp_path: Path) -> None:
        path = tmp_path / ".lock"
        with (
            locked(path),
            pytest.raises(BusyError, match=r"\.lock is locked by another run"),
            locked(path, wait=False),
        ):
            pytest.fail("two at a time")
        assert list(tmp_path.iterdir()) == []

    def test_who_waits_gets_it_next(self, tmp_path: Path) -> None:
        """Four threads add to a number that none may see half-way; the file is removed each time."""
        number = tmp_path / "number"
        number.write_text("0")

        def add() -> None:
            for _ in range(50):
                with locked(tmp_path / ".lock"):
                    before = int(number.read_text())
                    number.write_text(str(before + 1))

        with ThreadPoolExecutor(4) as threads:
            for future in [threads.submit(add) for _ in range(4)]:
                future.result()
        assert number.read_text() == "200"
        assert [path.name for path in tmp_path.iterdir()] == ["number"]

    def test_what_a_dead_process_held_is_free(self, tmp_path: Path) -> None:
        path = tmp_path / ".lock"
        code = (
            "import os, sys; from nansurfer.files import locked; lock = locked(sys.argv[1]); lock.__enter__();"
            "os.kill(os.getpid(), 9)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60, check=False)
        assert (done.returncode, path.exists()) == (-9, True)
        with locked(path, wait=False):
            pass
        assert not path.exists()

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), locked(tmp_path / "none" / ".lock"):
            pytest.fail("nothing to lock")
