"""Writing statistics: FreeSurfer's ``.stats`` format and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nansurfer.files import atomic_path, write_csv
from nansurfer.labels.statistics import StructureStats, brain_measures
from nansurfer.version import __version__

_COLUMNS = (
    ("Index", "Index", "NA"),
    ("SegId", "Segmentation Id", "NA"),
    ("NVoxels", "Number of Voxels", "unitless"),
    ("Volume_mm3", "Volume", "mm^3"),
    ("StructName", "Structure Name", "NA"),
)
_INTENSITY_COLUMNS = tuple(
    (f"norm{what}", f"Intensity norm{what}", "MR") for what in ("Mean", "StdDev", "Min", "Max", "Range")
)
"""``norm`` for FreeSurfer's readers, who know the columns by these names."""

_CSV_FIELDS = ("label", "name", "n_voxels", "volume_mm3", "mean", "std", "min", "max", "range")


def write_stats(
    path: str | Path,
    stats: Sequence[StructureStats],
    *,
    subject: str,
    voxel_volume_mm3: float,
    mask_volume_mm3: float | None = None,
) -> None:
    """Write ``aseg+DKT.stats`` in the format of FreeSurfer's ``mri_segstats``, as ``asegstats2table`` reads
    it.

    Parameters
    ----------
    path
        The file.
    stats
        From `volume_statistics`. Intensity columns are written if any structure has intensities; then those
        of an empty structure are 0, as FreeSurfer's.
    subject
        Its name, for the header.
    voxel_volume_mm3
        Volume of one voxel.
    mask_volume_mm3
        Volume of the brain mask, for FreeSurfer's measure ``Mask``.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    intensities = any(s.mean is not None for s in stats)
    lines = [
        *_header(stats, subject, voxel_volume_mm3, mask_volume_mm3, intensities),
        *_column_lines(len(stats), intensities),
        *(_row(index, s, intensities) for index, s in enumerate(stats, start=1)),
    ]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def write_volumes_csv(path: str | Path, stats: Sequence[StructureStats]) -> None:
    """Write one line a structure: label, name, voxels, volume and intensities; what is unknown stays blank.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_csv(path, _CSV_FIELDS, ([getattr(s, field) for field in _CSV_FIELDS] for s in stats))


def _header(
    stats: Sequence[StructureStats],
    subject: str,
    voxel_volume_mm3: float,
    mask_volume_mm3: float | None,
    intensities: bool,
) -> Iterator[str]:
    yield "# Title Segmentation Statistics"
    yield "#"
    yield "# generating_program nansurfer"
    yield f"# nansurfer_version {__version__}"
    yield "# anatomy_type volume"
    yield "#"
    yield f"# subjectname {subject}"
    for m in brain_measures(stats, mask_volume_mm3):
        yield f"# Measure {m.key}, {m.name}, {m.description}, {m.volume_mm3:f}, mm^3"
    yield "# Volumes are voxel counts, without partial volume correction"
    if intensities:
        yield "# Intensities are those of the conformed T1, without bias correction"
    yield f"# VoxelVolume_mm3 {voxel_volume_mm3:g}"


def _column_lines(n_rows: int, intensities: bool) -> Iterator[str]:
    columns = _COLUMNS + (_INTENSITY_COLUMNS if intensities else ())
    for number, (header, field, unit) in enumerate(columns, start=1):
        yield f"# TableCol {number:2d} ColHeader {header}"
        yield f"# TableCol {number:2d} FieldName {field}"
        yield f"# TableCol {number:2d} Units     {unit}"
    yield f"# NRows {n_rows}"
    yield f"# NTableCols {len(columns)}"
    yield "# ColHeaders  " + " ".join(header for header, _, _ in columns)


def _row(index: int, s: StructureStats, intensities: bool) -> str:
    """One structure in the widths of ``mri_segstats``."""
    row = f"{index:3d} {s.label:3d}  {s.n_voxels:8d} {s.volume_mm3:10.1f}  {s.name:<30s}"
    if not intensities:
        return row.rstrip()
    values = (s.mean, s.std, s.min, s.max, s.range)
    return row + "".join(f" {0.0 if value is None else value:10.4f}" for value in values)
