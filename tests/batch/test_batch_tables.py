"""The tables of a batch, literally, and as FreeSurfer's programs read them."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from nansurfer.batch import Record
from nansurfer.batch.tables import MEASURES, read_group_table, read_stats_volumes, structure_columns, write_tables
from nansurfer.labels import volume_statistics, write_stats
from nansurfer.pipeline.outputs import STATS

LABELS = np.array([[[0, 2, 2, 2], [0, 17, 2035, 16]]], np.int16)


def add_stats(folder: Path, sid: str, voxel_mm3: float = 1.0) -> None:
    """Three voxels of left white matter, one of left hippocampus, one of right insula, one of brain stem."""
    stats = volume_statistics(LABELS, None, voxel_mm3)
    write_stats(folder / sid / STATS, stats, subject=sid, voxel_volume_mm3=voxel_mm3, mask_volume_mm3=7 * voxel_mm3)


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.reader(file))


def test_batch_table(tmp_path: Path, done: Callable[..., Record], failed: Callable[..., Record]) -> None:
    """In order of id, empty where nothing is known."""
    write_tables(tmp_path, [failed("b", error='bad, "really"'), done("a", skip_ratio=None)])
    assert (tmp_path / "batch.csv").read_text() == (
        "id,input,status,error_kind,error,exit_code,seconds,peak_memory_mb,brain_volume_ml,skip_ratio,attempts,host,"
        "started,finished\n"
        "a,/data/a.mgz,done,,,0,20.5,1300,1200.0,,1,node01,2026-11-22T20:00:03+00:00,2026-11-22T20:00:24+00:00\n"
        'b,/data/b.mgz,failed,InputFormatError,"bad, ""really""",4,0.5,300,,,1,node02,2026-11-22T20:00:03+00:00,'
        "2026-11-22T20:00:04+00:00\n"
    )


def test_group_table(tmp_path: Path, done: Callable[..., Record], failed: Callable[..., Record]) -> None:
    add_stats(tmp_path, "a")
    add_stats(tmp_path, "c", voxel_mm3=0.5)
    write_tables(tmp_path, [done("c"), failed("b"), done("a")])
    header, a, c = rows(tmp_path / "volumes.csv")
    assert header[:3] == ["Measure:volume", "Left-Cerebral-White-Matter", "Left-Lateral-Ventricle"]
    assert header[95:] == ["ctx-rh-insula", *MEASURES]
    assert a[:3] == ["a", "3.0", "0.0"]
    # All but the brain stem; white matter; subcortical gray; mask.
    assert a[95:] == ["1.0", "5.0", "5.0", "3.0", "1.0", "5.0", "5.0", "7.0"]
    assert c[:3] == ["c", "1.5", "0.0"]
    assert len(header) == len(a) == len(c) == 103


def test_columns_are_all_that_asegstats2table_takes_up(tmp_path: Path) -> None:
    """The rows of our files, in their order, and the measures; ``VentricleChoroidVol`` it does not know."""
    add_stats(tmp_path, "a")
    volumes = list(read_stats_volumes(tmp_path / "a" / STATS))
    measures = [name for name in volumes[:8] if name != "VentricleChoroidVol"]
    assert [*structure_columns(), *MEASURES] == [*volumes[8:], *measures]


def test_read_again(tmp_path: Path, done: Callable[..., Record]) -> None:
    add_stats(tmp_path, "a")
    write_tables(tmp_path, [done("a")])
    ((sid, volumes),) = read_group_table(tmp_path)
    assert sid == "a"
    assert volumes["Left-Cerebral-White-Matter"] == 3
    assert volumes["MaskVol"] == 7


def test_without_subjects(tmp_path: Path) -> None:
    write_tables(tmp_path, [])
    assert [len(rows(tmp_path / name)) for name in ("batch.csv", "volumes.csv")] == [1, 1]
    assert list(read_group_table(tmp_path)) == []


@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "binary"])
def test_a_damaged_subject_costs_only_itself(
    tmp_path: Path, done: Callable[..., Record], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    for sid in "ab":
        add_stats(tmp_path, sid)
    stats = tmp_path / "a" / STATS
    content = stats.read_bytes()
    damaged = {"empty": b"", "torn": content[:-700], "binary": b"\xff\xfe" + content}
    shutil.rmtree(tmp_path / "a") if damage == "missing" else stats.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING, "nansurfer"):
        write_tables(tmp_path, [done("a"), done("b")])
    assert [row[0] for row in rows(tmp_path / "volumes.csv")[1:]] == ["b"]
    assert "volumes.csv lacks 1 finished subject(s), whose stats/aseg+DKT.stats cannot be read: a." in caplog.text


def test_names_of_any_kind(tmp_path: Path, done: Callable[..., Record]) -> None:
    names = ['a, "b"', "caf\udce9", "ünï"]
    for name in names:
        add_stats(tmp_path, name.encode("ascii", "replace").decode())
        (tmp_path / name.encode("ascii", "replace").decode()).rename(tmp_path / name)
    write_tables(tmp_path, [done(name) for name in names])
    for table in ("batch.csv", "volumes.csv"):
        assert sorted(row[0] for row in rows(tmp_path / table)[1:]) == sorted(names)


def test_many_subjects_take_little_time(tmp_path: Path, done: Callable[..., Record]) -> None:
    """Under 5 ms each, ten times what it takes: a hundred thousand in minutes."""
    add_stats(tmp_path, "s0")
    for i in range(1, 200):
        (tmp_path / f"s{i}").symlink_to("s0")
    started = process_time()
    write_tables(tmp_path, [done(f"s{i}") for i in range(200)])
    assert process_time() - started < 1
    assert len(rows(tmp_path / "volumes.csv")) == 201


def test_real_labels(data_dir: Path, tmp_path: Path, done: Callable[..., Record]) -> None:
    """A real FastSurfer output: its voxels are its volumes."""
    import nibabel as nib

    image = nib.load(data_dir / "labels" / "subject-140_aparc.DKTatlas+aseg.deep.mgz")
    labels = np.asarray(image.dataobj).astype(np.int16)
    write_stats(
        tmp_path / "a" / STATS,
        volume_statistics(labels, None, 1.0),
        subject="a",
        voxel_volume_mm3=1.0,
        mask_volume_mm3=1.0,
    )
    write_tables(tmp_path, [done("a")])
    ((_, volumes),) = read_group_table(tmp_path)
    assert volumes["Left-Hippocampus"] == (labels == 17).sum() > 2000
    assert sum(volumes[name] for name in structure_columns()) == (labels > 0).sum()
