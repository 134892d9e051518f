"""The ``nansurfer weights`` commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nansurfer.cli.weights import _progress_bars, app
from nansurfer.errors import DownloadError, OutputError, WeightsError
from nansurfer.weights import resolve, verify


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_list_shows_what_is_here(publish: Callable[..., Path], checkpoints: dict[str, Path]) -> None:
    publish("http://127.0.0.1:9/closed")
    assert "not downloaded" in run("list")
    run("import", *checkpoints.values())
    assert "not downloaded" not in run("list")


def test_import_then_verify_path_and_download(publish: Callable[..., Path], checkpoints: dict[str, Path]) -> None:
    folder = publish("http://127.0.0.1:9/closed")
    assert f"axial: {folder / checkpoints['axial'].name}\n" in run("import", *checkpoints.values())
    shown = run("verify", "official")
    assert all(checksum in shown for checksum in verify(resolve("official")).values())
    assert shown.count("yes") == 3
    assert run("path", "official") == f"{folder}\n"
    assert run("download", "--offline") == f"{folder}\n"


def test_bars_are_for_what_is_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    with _progress_bars():
        pass
    assert capsys.readouterr() == ("", "")
    with _progress_bars() as report:
        for n_bytes in (0, 5, 10):
            report("axial.pkl", n_bytes, 10)
    out, err = capsys.readouterr()
    assert out == ""
    assert "axial.pkl" in err
    assert "10/10 bytes" in err


def test_verify_a_folder_without_a_record(bundle: Path) -> None:
    shown = run("verify", bundle)
    assert "model 'vinn-compact'" in shown
    assert "yes" not in shown


@pytest.mark.parametrize("name", ["bundle_axial.pkl", "axial.safetensors"])
def test_export_can_be_used_as_weights(name: str, bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "export"
    shown = run("export", bundle, "-o", target, "--format", "fastsurfer" if name.endswith("pkl") else "safetensors")
    assert str(target / name) in shown.splitlines()
    assert resolve(target).model == "vinn-compact"
    verify(resolve(target))


def test_export_replaces_files_only_when_told_to(bundle: Path, tmp_path: Path) -> None:
    ours = tmp_path / "bundle_sagittal.pkl"
    ours.write_text("ours")
    with pytest.raises(OutputError, match=r"bundle_sagittal.pkl exists already; pass --overwrite"):
        run("export", bundle, "-o", tmp_path)
    assert list(tmp_path.glob("*.pkl")) == [ours]
    run("export", bundle, "-o", tmp_path, "--overwrite")
    assert ours.stat().st_size > 100_000


def test_errors_pass_through(publish: Callable[..., Path]) -> None:
    publish("http://127.0.0.1:9/closed")
    with pytest.raises(DownloadError, match="offline"):
        run("download", "official", "--offline")
    with pytest.raises(WeightsError, match="weights download official"):
        run("verify", "official")
