"""A batch as one HTML page: what failed and why, then every subject with its picture, its volumes and its costs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from statistics import fmean, median

from nansurfer.batch.page_tables import failures, subjects
from nansurfer.batch.record import Record
from nansurfer.batch.tables import read_group_table
from nansurfer.batch.volumes import BatchVolumes
from nansurfer.files import atomic_path
from nansurfer.report.page_files import page_template, page_text
from nansurfer.report.skip_figures import percent

BATCH_PAGE = Path("batch.html")


def write_page(folder: Path, records: Sequence[Record]) -> None:
    """Write ``batch.html``; its volumes are those of the group table, which `write_tables` has to write first.

    Parameters
    ----------
    folder
        The batch's folder. The page refers to the subjects' pictures and reports in it, and to nothing else.
    records
        One a subject.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    page = batch_page(folder.resolve().name, records, BatchVolumes(read_group_table(folder)))
    with atomic_path(folder / BATCH_PAGE) as path:
        # A subject's name comes from a file's and may hold what UTF-8 has no bytes for.
        path.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")


def batch_page(title: str, records: Sequence[Record], volumes: BatchVolumes) -> str:
    """The HTML page, complete but for the subjects' pictures, to which it links.

    Parameters
    ----------
    title
        Name of the batch.
    records
        One a subject; their texts may hold any character.
    volumes
        Of the finished subjects; those that it lacks are shown without.
    """
    ordered = sorted(records, key=lambda record: record.id)
    done = [record for record in ordered if record.status == "done"]
    failed = [record for record in ordered if record.status == "failed"]
    script = page_text("batch.js")
    return page_template("batch.html").substitute(
        title=escape(title),
        style=page_text("page.css") + page_text("batch.css"),
        script=script,
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        chips=_chips(ordered),
        claim=_claim(len(done), len(failed)),
        tiles=_tiles(done, failed, volumes),
        failures=failures(failed),
        subjects=subjects(done, volumes),
    )


def _chips(records: Sequence[Record]) -> str:
    """When and where; times are UTC in ISO 8601, so that the order of their texts is theirs."""
    if not records:
        return ""
    hosts = {record.host for record in records}
    chips = {
        "first start": _minute(min(record.started for record in records)),
        "last end": _minute(max(record.finished for record in records)),
        "on": hosts.pop() if len(hosts) == 1 else f"{len(hosts)} machines",
    }
    return "".join(f"<li>{name} <b>{escape(value)}</b></li>" for name, value in chips.items())


def _minute(iso: str) -> str:
    return iso[: len("2026-01-01T00:00")].replace("T", " ") + " UTC"


def _claim(n_done: int, n_failed: int) -> str:
    total = n_done + n_failed
    if total == 0:
        return "No subject has ended yet."
    rest = f'<a href="#failures">{n_failed} failed</a>' if n_failed else "none failed"
    return f"<strong>{n_done}</strong> of {total} subjects are segmented, {rest}."


def _tiles(done: Sequence[Record], failed: Sequence[Record], volumes: BatchVolumes) -> str:
    ratios = [record.skip_ratio for record in done if record.skip_ratio is not None]
    peaks_mb = [record.peak_memory_mb for record in done if record.peak_memory_mb is not None]
    tiles = {
        "failed": str(len(failed)),
        "with a volume far from the others'": str(len(volumes.with_outliers())),
        "median time of a subject": _figure(median, [record.seconds for record in done], _duration),
        "time of all, one after another": _figure(sum, [record.seconds for record in (*done, *failed)], _duration),
        "multiply-adds skipped, mean": _figure(fmean, ratios, percent),
        "largest memory of a process": _figure(max, peaks_mb, lambda peak_mb: f"{peak_mb / 1000:.2f} GB"),
    }
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles.items())


def _figure(of: Callable[[Sequence[float]], float], values: Sequence[float], text: Callable[[float], str]) -> str:
    return text(of(values)) if values else "–"


def _duration(seconds: float) -> str:
    """``9.5 s``, ``3 min 5 s`` or ``41 h 7 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, rest_min = divmod(minutes, 60)
    return f"{hours} h {rest_min} min" if hours else f"{minutes} min {rest_s} s"
