"""How much memory a worker needs, and how much there is."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nansurfer.batch import Subject, memory
from nansurfer.batch.memory import available_memory_mb, largest_grid, memory_per_worker_mb
from nansurfer.pipeline import make_options

OPTIONS = make_options()


def test_at_1_mm_it_is_two_gigabytes() -> None:
    assert memory_per_worker_mb(256, OPTIONS) == 1994
    assert memory_per_worker_mb(256, OPTIONS, threads=2) == 2079


def test_smaller_voxels_and_all_logits_at_once_need_more() -> None:
    assert memory_per_worker_mb(320, OPTIONS) > 1.7 * memory_per_worker_mb(256, OPTIONS)
    compat = make_options(fastsurfer_compat=True)
    assert memory_per_worker_mb(256, compat) - memory_per_worker_mb(256, OPTIONS) == pytest.approx(1193, abs=1)


def test_grids_come_from_headers_and_damaged_files_count_as_usual(tmp_path: Path) -> None:
    fine = nib.Nifti1Image(np.zeros((280, 300, 16), np.uint8), np.diag([0.8, 0.8, 0.8, 1]))
    fine.to_filename(tmp_path / "fine.nii")
    content = (tmp_path / "fine.nii").read_bytes()
    (tmp_path / "fine.nii").write_bytes(content[:352])  # without its voxels
    (tmp_path / "damaged.mgz").write_text("no image")
    paths = [tmp_path / name for name in ("damaged.mgz", "gone.mgz", "fine.nii")]
    subjects = [Subject(path.stem, path) for path in paths]
    assert largest_grid(subjects, OPTIONS) == 300
    assert largest_grid(subjects, make_options(vox_size=1.0)) == 256
    assert largest_grid(subjects[:2], OPTIONS) == largest_grid([], OPTIONS) == 256


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GB free whose files lie below a folder, and no Slurm."""
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroups")
    for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    return tmp_path


def limit(group: Path, **values: str) -> None:
    group.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (group / name.replace("__", ".")).write_text(value)


def test_what_is_free(system: Path) -> None:
    assert available_memory_mb() == 8192


def test_the_tightest_control_group_counts(system: Path) -> None:
    (system / "cgroup").write_text("0::/slice/job\n")
    root = system / "cgroups"
    limit(root / "slice" / "job", memory__max="max", memory__current="5", memory__stat="inactive_file 0\n")
    limit(
        root / "slice",
        memory__max="4000000000\n",
        memory__current="1500000000",
        memory__stat="anon 7\ninactive_file 500000000\n",
    )
    assert available_memory_mb() == 3000


def test_control_groups_of_version_1(system: Path) -> None:
    (system / "cgroup").write_text("5:cpu:/job\n3:memory:/job\n")
    limit(
        system / "cgroups" / "memory" / "job",
        memory__limit_in_bytes="2000000000",
        memory__usage_in_bytes="1000000000",
        memory__stat="total_inactive_file 0\n",
    )
    assert available_memory_mb() == 1000


@pytest.mark.parametrize(
    ("granted", "expected"),
    [
        ({"MEM_PER_NODE": "4096"}, 4294),
        ({"MEM_PER_NODE": "0"}, 8192),
        ({"MEM_PER_CPU": "1024", "CPUS_ON_NODE": "4"}, 4294),
    ],
)
def test_what_slurm_has_granted(system: Path, monkeypatch, granted: dict[str, str], expected: int) -> None:
    for name, value in granted.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert available_memory_mb() == expected


def test_a_system_that_does_not_tell(system: Path, monkeypatch) -> None:
    (system / "meminfo").unlink()
    monkeypatch.setattr("os.sysconf_names", {})
    assert available_memory_mb() is None
