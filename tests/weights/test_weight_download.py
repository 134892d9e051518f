"""Downloading and importing, over real HTTP on the loopback."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nansurfer.errors import DownloadError, OutputError, WeightsError
from nansurfer.files import sha256
from nansurfer.volume import VIEWS
from nansurfer.weights import import_files, load_network, resolve, verify
from nansurfer.weights.fetch import download

AXIAL = "aparc_vinn_axial_v2.0.0.pkl"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between rounds, noted instead of slept."""
    noted: list[float] = []
    monkeypatch.setattr("nansurfer.weights.fetch.sleep", noted.append)
    return noted


@pytest.fixture
def axial(checkpoints: dict[str, Path]) -> bytes:
    return checkpoints["axial"].read_bytes()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_download_all_views(server: Any, publish: Callable[..., Path], checkpoints: dict[str, Path]) -> None:
    folder = publish(f"{server.address}/files")
    for path in checkpoints.values():
        server.answers[f"/files/{path.name}"] = [path.read_bytes()]
    arrived: dict[str, tuple[int, int | None]] = {}
    weight_set = download("official", progress=lambda name, done, total: arrived.update({name: (done, total)}))

    assert weight_set == resolve("official")
    assert arrived == {path.name: (path.stat().st_size,) * 2 for path in checkpoints.values()}
    record = json.loads((folder / "checksums.json").read_text())
    assert record == {path.name: sha256(path) for path in checkpoints.values()}
    assert verify(weight_set) == {view: sha256(checkpoints[view]) for view in VIEWS}
    assert names_in(folder) == {*record, "checksums.json"}


def test_what_is_there_is_not_fetched_again(server: Any, publish: Callable[..., Path], axial: bytes) -> None:
    publish(server.address)
    server.answers[f"/{AXIAL}"] = [axial]
    download(views=["axial"])
    download(views=["axial"])
    download(views=["axial"], offline=True)
    assert len(server.requests) == 1


def test_damaged_file_is_fetched_again(server: Any, publish: Callable[..., Path], axial: bytes) -> None:
    folder = publish(server.address)
    server.answers[f"/{AXIAL}"] = [axial]
    weight_set = download(views=["axial"])
    (folder / AXIAL).write_bytes(axial[:-1] + b"x")
    with pytest.raises(WeightsError, match="damaged or was changed"):
        load_network(weight_set, "axial")
    download(views=["axial"])
    assert (folder / AXIAL).read_bytes() == axial


def test_second_address_when_the_first_has_lost_the_file(
    server: Any, publish: Callable[..., Path], axial: bytes, waits: list[float]
) -> None:
    publish(f"{server.address}/gone", f"{server.address}/mirror")
    server.answers[f"/mirror/{AXIAL}"] = [axial]
    download(views=["axial"])
    assert server.requests == [f"/gone/{AXIAL}", f"/mirror/{AXIAL}"]
    assert waits == []


def test_busy_server_is_asked_again_later(
    server: Any, publish: Callable[..., Path], axial: bytes, waits: list[float]
) -> None:
    publish(server.address, f"{server.address}/gone")
    server.answers[f"/{AXIAL}"] = [503, 429, axial]
    download(views=["axial"])
    assert server.requests == [f"/{AXIAL}", f"/gone/{AXIAL}", f"/{AXIAL}", f"/{AXIAL}"]
    assert waits == [2.0, 4.0]


def test_broken_transfer_is_repeated(server: Any, publish: Callable[..., Path], axial: bytes) -> None:
    folder = publish(server.address)
    server.answers[f"/{AXIAL}"] = [(axial[:1000], len(axial)), axial]
    download(views=["axial"])
    assert (folder / AXIAL).read_bytes() == axial


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda body: body[:-1], r"127\.0\.0\.1: \d+ bytes instead of \d+"),
        (lambda body: body + b"x", r"127\.0\.0\.1: TooManyBytesError"),
        (lambda body: b"<html>Please log in.</html>", r"127\.0\.0\.1: 27 bytes instead of \d+"),
    ],
)
def test_file_of_wrong_size_is_refused(
    change: Callable[[bytes], bytes],
    reason: str,
    server: Any,
    publish: Callable[..., Path],
    axial: bytes,
) -> None:
    folder = publish(server.address)
    server.answers[f"/{AXIAL}"] = [change(axial)]
    with pytest.raises(DownloadError, match=reason):
        download(views=["axial"])
    assert names_in(folder) == set()
    assert len(server.requests) == 3


def test_file_of_right_size_that_is_no_checkpoint_is_refused(
    server: Any, publish: Callable[..., Path], axial: bytes
) -> None:
    folder = publish(server.address)
    server.answers[f"/{AXIAL}"] = [bytes(len(axial))]
    with pytest.raises(WeightsError, match=f"^{AXIAL} cannot be read as a checkpoint"):
        download(views=["axial"])
    assert names_in(folder) == set()


def test_file_that_changed_since_the_first_download_is_refused(
    server: Any, publish: Callable[..., Path], axial: bytes, checkpoints: dict[str, Path]
) -> None:
    folder = publish(server.address)
    server.answers[f"/{AXIAL}"] = [axial]
    download(views=["axial"])
    (folder / AXIAL).unlink()
    other = bytearray(axial)
    other[len(other) // 2] ^= 1
    server.answers[f"/{AXIAL}"] = [bytes(other)]
    with pytest.raises(WeightsError, match=r"differs from the file recorded first .* remove .*checksums.json"):
        download(views=["axial"])
    assert names_in(folder) == {"checksums.json"}


def test_nobody_answers(publish: Callable[..., Path], waits: list[float], server: Any) -> None:
    publish("http://127.0.0.1:9/closed", f"{server.address}/gone")
    with pytest.raises(DownloadError, match=r"ConnectionError, 127\.0\.0\.1: HTTP 404\); try again later"):
        download(views=["axial"])
    assert waits == [2.0, 4.0]
    assert len(server.requests) == 1  # a 404 stays one


@pytest.mark.parametrize("by_environment", [True, False])
def test_offline_never_asks(
    by_environment: bool, server: Any, publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server.address)
    if by_environment:
        monkeypatch.setenv("NANSURFER_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"no network may be used .*`nansurfer weights import FILE`"):
        download(offline=not by_environment)
    assert server.requests == []


def test_full_disk_is_not_blamed_on_the_network(
    server: Any, publish: Callable[..., Path], axial: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = publish(server.address)
    server.answers[f"/{AXIAL}"] = [axial]
    monkeypatch.setattr("nansurfer.weights.fetch._Counted.write", fail)
    with pytest.raises(OutputError, match="disk is full"):
        download(views=["axial"])
    assert names_in(folder) == set()
    assert len(server.requests) == 1


def test_import_is_equivalent_to_download(publish: Callable[..., Path], checkpoints: dict[str, Path]) -> None:
    folder = publish("http://127.0.0.1:9/closed")
    placed = import_files(checkpoints.values())
    assert placed == {view: folder / path.name for view, path in checkpoints.items()}
    assert verify(download(offline=True)) == {view: sha256(path) for view, path in checkpoints.items()}


def test_import_gives_a_browsers_copy_its_own_name(
    publish: Callable[..., Path], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = publish("http://127.0.0.1:9/closed")
    source = Path(shutil.copy(checkpoints["axial"], tmp_path / "aparc_vinn_axial_v2.0.0 (1).pkl"))
    assert import_files([source]) == {"axial": folder / AXIAL}


def test_import_refuses_what_is_not_published(
    publish: Callable[..., Path], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = publish("http://127.0.0.1:9/closed")
    wrong = Path(shutil.copy(checkpoints["sagittal"], tmp_path / "axial.pkl"))
    with pytest.raises(WeightsError, match=r"should have \d+ bytes, but this file has \d+"):
        import_files([wrong])
    wrong.write_bytes(bytes(checkpoints["axial"].stat().st_size))
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        import_files([wrong])
    with pytest.raises(WeightsError, match="for the same view"):
        import_files([wrong, checkpoints["axial"]])
    with pytest.raises(WeightsError, match="is not there"):
        import_files([tmp_path / "absent_axial.pkl"])
    (tmp_path / "weights.pkl").touch()
    with pytest.raises(WeightsError, match="is not clear; its name should hold one of axial, coronal, sagittal"):
        import_files([tmp_path / "weights.pkl"])
    assert names_in(folder) == set()


def test_bundled_set_is_neither_downloaded_nor_imported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="come with nansurfer"):
        import_files([tmp_path / "axial.pkl"], "compact")
    with pytest.raises(WeightsError, match="no weights named 'half'"):
        download("half")
