"""``nansurfer compare``: what it prints and writes, and how it ends when it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


def save(path: Path, changed: int = 0) -> Path:
    """Labels of 16³ voxels, the first ``changed`` of the 64 hippocampal voxels given to the amygdala."""
    data = np.zeros((16, 16, 16), np.int16)
    data[4:8, 4:8, 4:8] = np.where(np.arange(64) < changed, 18, 17).reshape(4, 4, 4)
    data[8:12, 4:8, 4:8] = 53
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.MGHImage(data, np.eye(4)).to_filename(path)
    return path


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return save(tmp_path / "a.mgz")


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return save(tmp_path / "b.mgz", changed=16)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three pairs, listed by paths relative to the list."""
    lines = ["id,a,b"]
    for n in (1, 2, 4):
        save(tmp_path / "list" / f"a{n}.mgz")
        save(tmp_path / "list" / f"b{n}.mgz", changed=n)
        lines.append(f"sub-{n},a{n}.mgz,b{n}.mgz")
    path = tmp_path / "list" / "pairs.csv"
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return path


def rows_of(text: str) -> list[str]:
    """The lines, with one space between words."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_two_files(nansurfer, a: Path, b: Path) -> None:
    done = nansurfer("compare", a, b, "--surface", "Left-Hippocampus")
    assert (done.exit_code, done.err) == (0, "")
    rows = rows_of(done.out)
    header = rows.index("structure Dice A mm³ B mm³ B - A % HD95 mm")
    assert rows[header + 2 : header + 5] == [
        "Left-Hippocampus 0.8571 64 48 -25.00 1.00",
        "Left-Amygdala 0.0000 0 16 - -",
        "Right-Hippocampus 1.0000 64 64 +0.00 -",
    ]
    assert "Dice, all labels 0.875000" in rows
    assert "Dice, labelled or not 1.000000" in rows
    assert "voxels changed 16 (12.5 % of 128 labelled)" in rows
    assert f"A {a}" in rows


def test_without_surfaces_there_is_no_column_for_them(nansurfer, a: Path, b: Path) -> None:
    assert "HD95" not in nansurfer("compare", a, b).out


def test_subject_folders_say_which_file_was_taken(nansurfer, tmp_path: Path) -> None:
    ours = save(tmp_path / "x" / "mri" / "aparc.DKTatlas+aseg.deep.mgz")
    theirs = save(tmp_path / "y" / "mri" / "aseg.mgz")
    done = nansurfer("compare", tmp_path / "x", tmp_path / "y")
    assert f"A {ours}" in rows_of(done.out)
    assert f"B {theirs}" in rows_of(done.out)


def test_paths_are_shown_whole(nansurfer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = save(tmp_path / "[bold]" / f"{100 * 'x'}.mgz")
    done = nansurfer("compare", path, path)
    assert "".join(done.out.split()).count(str(path)) == 2


def test_the_worst_are_shown_or_all(nansurfer, tmp_path: Path) -> None:
    data = np.zeros((16, 16, 32), np.int16)
    data[8, 8, 1:31] = np.arange(1001, 1031)
    nib.MGHImage(data, np.eye(4)).to_filename(tmp_path / "a.mgz")
    data[8, 8, 5] = 0
    nib.MGHImage(data, np.eye(4)).to_filename(tmp_path / "b.mgz")
    done = nansurfer("compare", tmp_path / "a.mgz", tmp_path / "b.mgz")
    assert "... and 10 better ones; --all shows them." in done.out
    assert done.out.count("ctx-lh") == 19  # and 1004, which has no name
    assert rows_of(done.out)[4].startswith("ctx-lh-cuneus 0.0000 ")
    everything = nansurfer("compare", tmp_path / "a.mgz", tmp_path / "b.mgz", "--all").out
    assert (everything.count("1.0000 "), "better ones" in everything) == (29, False)


def test_files(nansurfer, a: Path, b: Path, tmp_path: Path) -> None:
    table, record = tmp_path / "c.csv", tmp_path / "c.json"
    arguments = ["compare", a, b, "--csv", table, "--json", record, "--structures", "17,right-hippocampus", "-q"]
    done = nansurfer(*arguments)
    assert (done.exit_code, done.out, done.err) == (0, "", "")
    assert [line.split(",")[3] for line in table.read_text().splitlines()] == ["label", "17", "53", "", ""]
    assert json.loads(record.read_text())["pairs"][0]["voxels_labelled"] == 128
    done = nansurfer(*arguments)
    assert (done.exit_code, done.err) == (
        8,
        f"nansurfer: {table} exists already; pass --overwrite or choose another place.\n",
    )
    assert nansurfer(*arguments, "--overwrite").exit_code == 0


def test_several_pairs(nansurfer, pairs: Path) -> None:
    done = nansurfer("compare", "--pairs", pairs)
    assert (done.exit_code, done.err) == (0, "")
    assert "Structures (means over 3 pairs)" in done.out
    rows = rows_of(done.out)
    first = rows.index("pair Dice, all labels labelled or not mean Dice voxels changed")
    assert [row[:5] for row in rows[first + 2 : first + 5]] == ["sub-4", "sub-2", "sub-1"]


def test_equivalence(nansurfer, pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    record = tmp_path / "c.json"
    done = nansurfer("compare", "--pairs", pairs, "--margin", "0.1", "--structures", "17,53", "--json", record)
    assert (done.exit_code, done.err) == (0, "")
    assert "Volume difference: equivalent within 10 %?" in done.out
    assert "Of 3 regions: 1 equivalent within 10 %, 2 identical." in done.out
    assert "Dice loss: below 10 %?" in done.out
    assert "Of 4 regions: 3 below 10 %, 1 identical." in done.out
    tests = json.loads(record.read_text())["equivalence"]["tests"]
    assert tests[0] == {
        "measure": "volume difference",
        "label": 17,
        "name": "Left-Hippocampus",
        "n_pairs": 3,
        "margin_percent": 10,
        "mean_percent": pytest.approx(-100 * 7 / 3 / 64),
        "interval_90_low_percent": pytest.approx(-7.66956, abs=1e-5),
        "interval_90_high_percent": pytest.approx(0.37789, abs=1e-5),
        "p": pytest.approx(0.0219765, abs=1e-6),
        "outcome": "shown",
        "verdict": "equivalent within 10 %",
    }


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        ([], 2, "give two segmentations, or a list of them with --pairs"),
        (["{a}"], 2, "give two segmentations"),
        (["{a}", "{b}", "--pairs", "{pairs}"], 2, "give two segmentations"),
        (["{a}", "{b}", "--structures", "Left-Hipocampus"], 12, "did you mean Left-Hippocampus?"),
        (["{a}", "{b}", "--margin", "0.01"], 12, "at least 2 pairs"),
        (["--pairs", "{pairs}", "--margin", "1"], 12, "fraction between 0 and 1"),
        (["{a}", "nobody"], 3, "nobody does not exist"),
        (["{a}", "{b}", "--csv", "/proc/c/c.csv"], 8, "/proc/c could not be written"),
        (["--pairs", "nothing.csv"], 3, "nothing.csv cannot be read"),
    ],
)
def test_what_cannot_be(nansurfer, a: Path, b: Path, pairs: Path, arguments, exit_code, sentence) -> None:
    done = nansurfer("compare", *(argument.format(a=a, b=b, pairs=pairs) for argument in arguments))
    assert done.exit_code == exit_code
    assert sentence in done.err
    assert done.out == ""


def test_other_grids_are_5(nansurfer, a: Path, tmp_path: Path) -> None:
    nib.MGHImage(np.zeros((16, 16, 16), np.int16), 2 * np.eye(4)).to_filename(tmp_path / "c.mgz")
    done = nansurfer("compare", a, tmp_path / "c.mgz")
    assert done.exit_code == 5
    assert "lie on different grids" in done.err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "does not list pairs"),
        ("a,b\n", "does not list pairs"),
        ("x,y\n1,2\n", "does not list pairs"),
        ("a,b\na.mgz\n", "does not list pairs"),
        ("id,a,b\n1,x,y\n1,z,w\n", "lists the same id twice"),
        ("a,b\nx,y\nx,y\n", "lists the same pair twice"),
        ("A,B\nx,y\n\nx,y\n", "lists the same pair twice"),
        ('a,b\n"x,y\n', "is no list of files (unexpected end of data)"),
        ("a,b\nx\xff,y\n", "no text in UTF-8"),
    ],
)
def test_lists_that_are_none(nansurfer, tmp_path: Path, text, sentence) -> None:
    (tmp_path / "pairs.csv").write_text(text, encoding="latin-1")
    done = nansurfer("compare", "--pairs", tmp_path / "pairs.csv")
    assert done.exit_code == 4
    assert sentence in done.err


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from nansurfer.cli import app; app(['compare', '--help'], standalone_mode=False);"
        "print({'torch', 'numpy', 'nibabel', 'scipy', 'statsmodels'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "--margin" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_comparing_needs_no_pytorch(a: Path, b: Path) -> None:
    code = (
        "import sys; from nansurfer.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "print({'torch'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, "compare", str(a), str(b)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
