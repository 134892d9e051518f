"""The statistics files, read back the way FreeSurfer's asegstats2table reads them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from nansurfer.errors import OutputError
from nansurfer.labels import StructureStats, volume_statistics, write_stats, write_volumes_csv

LABELS = np.array([[[0, 2, 2, 2], [0, 17, 2035, 0]]], np.int16)
IMAGE = np.array([[[9, 100, 110, 120], [255, 7, 255, 0]]], np.uint8)


def stats(*, image: bool = True) -> list[StructureStats]:
    return volume_statistics(LABELS, IMAGE if image else None, 0.343)


def read_table(path: Path, column: int) -> dict[str, float]:
    """As asegstats2table: rows have no '#', measures their value after the third comma."""
    table = {}
    for line in path.read_text().splitlines():
        if "#" not in line:
            fields = line.split()
            table[fields[4]] = float(fields[column])
        elif line.startswith("# Measure "):
            name = line.removeprefix("# Measure ").split(",")[1].strip()
            table[name] = float(line.split(",")[3])
    return table


def header(path: Path) -> list[str]:
    return [line.rstrip() for line in path.read_text().splitlines() if line.startswith("#")]


def test_rows(tmp_path: Path) -> None:
    path = tmp_path / "stats" / "aseg+DKT.stats"
    write_stats(path, stats(), subject="bert", voxel_volume_mm3=0.343)
    rows = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert len(rows) == 95
    assert rows[0] == (
        "  1   2         3        1.0  Left-Cerebral-White-Matter    "
        "   110.0000    10.0000   100.0000   120.0000    20.0000"
    )
    assert rows[1].split() == ["2", "4", "0", "0.0", "Left-Lateral-Ventricle", *["0.0000"] * 5]
    assert rows[-1].split()[:5] == ["95", "2035", "1", "0.3", "ctx-rh-insula"]


def test_header(tmp_path: Path) -> None:
    path = tmp_path / "aseg+DKT.stats"
    write_stats(path, stats(), subject="bert", voxel_volume_mm3=0.343, mask_volume_mm3=5.0)
    lines = header(path)
    assert lines[0] == "# Title Segmentation Statistics"
    assert "# subjectname bert" in lines
    assert "# VoxelVolume_mm3 0.343" in lines
    assert "# Measure BrainSeg, BrainSegVol, Brain Segmentation Volume, 1.715000, mm^3" in lines
    assert "# Measure Mask, MaskVol, Mask Volume, 5.000000, mm^3" in lines
    assert lines[-3:] == [
        "# NRows 95",
        "# NTableCols 10",
        "# ColHeaders  Index SegId NVoxels Volume_mm3 StructName normMean normStdDev normMin normMax normRange",
    ]


def test_columns_are_described(tmp_path: Path) -> None:
    path = tmp_path / "aseg+DKT.stats"
    write_stats(path, stats(), subject="bert", voxel_volume_mm3=1.0)
    columns = re.findall(r"^# TableCol +(\d+) ColHeader (\S+)$", path.read_text(), re.MULTILINE)
    assert [int(number) for number, _ in columns] == list(range(1, 11))
    assert [name for _, name in columns] == header(path)[-1].split()[2:]
    assert "# TableCol  4 Units     mm^3" in header(path)


def test_without_intensities(tmp_path: Path) -> None:
    path = tmp_path / "aseg+DKT.stats"
    write_stats(path, stats(image=False), subject="bert", voxel_volume_mm3=1.0)
    assert header(path)[-2:] == [
        "# NTableCols 5",
        "# ColHeaders  Index SegId NVoxels Volume_mm3 StructName",
    ]
    assert all(len(line.split()) == 5 for line in path.read_text().splitlines() if line[0] != "#")


def test_reads_as_asegstats2table_reads(tmp_path: Path) -> None:
    path = tmp_path / "aseg+DKT.stats"
    write_stats(path, stats(), subject="bert", voxel_volume_mm3=1.0)
    volumes, means = read_table(path, 3), read_table(path, 5)
    assert volumes["Left-Cerebral-White-Matter"] == 1.0
    assert volumes["SupraTentorialVolNotVent"] == pytest.approx(5 * 0.343)
    assert means["Left-Hippocampus"] == 7


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "volumes.csv"
    write_volumes_csv(path, stats())
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 95
    assert rows[0]["name"] == "Left-Cerebral-White-Matter"
    assert float(rows[0]["volume_mm3"]) == pytest.approx(1.029)
    assert float(rows[0]["range"]) == 20
    assert rows[1]["mean"] == ""


def test_a_file_in_the_way_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "stats").write_text("")
    with pytest.raises(OutputError, match=re.escape("aseg+DKT.stats")):
        write_stats(tmp_path / "stats" / "aseg+DKT.stats", stats(), subject="bert", voxel_volume_mm3=1.0)
