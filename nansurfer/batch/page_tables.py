"""The two tables of a batch's page: subjects that failed, and subjects that are segmented."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from urllib.parse import quote

from nansurfer.batch.outliers import MAX_SCORE, MIN_VALUES, UsualRange
from nansurfer.batch.record import Record
from nansurfer.batch.volumes import SHOWN_VOLUMES, BatchVolumes, ShownVolume
from nansurfer.pipeline.outputs import PICTURE, REPORT, THUMBNAIL
from nansurfer.report import SKIP_REPORT_FILES
from nansurfer.report.page_files import page_template
from nansurfer.report.skip_figures import percent

MAX_LISTED = 5000
"""Rows of a table that a browser sorts and filters at once; what is beyond them stands in the CSV files alone."""

_UNMARKED = f"Nothing is marked yet: fewer than {MIN_VALUES} subjects are segmented, or most volumes are equal. Later: "


def failures(failed: Sequence[Record]) -> str:
    """The section on what failed, kind and sentence; empty if nothing did.

    Parameters
    ----------
    failed
        In the order in which they are listed.
    """
    if not failed:
        return ""
    kinds = Counter(_kind(record) for record in failed).most_common()
    return page_template("batch_failures.html").substitute(
        kinds="".join(f"<li>{escape(kind)} <b>{n}</b></li>" for kind, n in kinds),
        listed=_listed(len(failed)),
        rows="\n".join(map(_failure_row, failed[:MAX_LISTED])),
    )


def subjects(done: Sequence[Record], volumes: BatchVolumes) -> str:
    """The section on what is segmented; empty if nothing is.

    Parameters
    ----------
    done
        In the order in which they are listed. Of more than `MAX_LISTED`, those with outliers are listed first.
    volumes
        Theirs.
    """
    if not done:
        return ""
    listed = _listed(len(done))
    if listed:
        outlying = volumes.with_outliers()
        done = sorted(done, key=lambda record: record.id not in outlying)[:MAX_LISTED]
    return page_template("batch_subjects.html").substitute(
        listed=listed,
        unmarked="" if any(volumes.ranges) else _UNMARKED,
        max_score=MAX_SCORE,
        headings="".join(f'<th scope="col" data-sort="number">{shown.heading}</th>' for shown in SHOWN_VOLUMES),
        rows="\n".join(_subject_row(record, volumes) for record in done),
        footer=_usual_rows(volumes.ranges),
    )


def _kind(record: Record) -> str:
    return record.error_kind or "unknown"


def _listed(n: int) -> str:
    return f"{MAX_LISTED} of {n} are listed; the others are in batch.csv. " if n > MAX_LISTED else ""


def _failure_row(record: Record) -> str:
    sentence = record.error or ""
    path = "" if record.input in sentence else f'<span class="input">{escape(record.input)}</span>'
    return (
        f'<tr><th scope="row">{escape(record.id)}</th><td class="text kind">{escape(_kind(record))}</td>'
        f'<td class="text">{escape(sentence)}{path}</td>'
        f"<td>{record.exit_code}</td><td>{record.attempts}</td><td>{record.seconds:.1f}</td>"
        f'<td class="text">{escape(record.host)}</td></tr>'
    )


def _subject_row(record: Record, volumes: BatchVolumes) -> str:
    folder = quote(os.fsencode(record.id), safe="")
    memory = "" if record.peak_memory_mb is None else f"{record.peak_memory_mb / 1000:.2f}"
    return (
        f'<tr><td><a class="thumb" href="{folder}/{PICTURE}"><img src="{folder}/{THUMBNAIL}" alt="Segmentation of '
        f'{escape(record.id)}" loading="lazy"></a></td><th scope="row">{escape(record.id)}</th>'
        f"{_volume_cells(record.id, volumes)}<td>{_skip_link(record, folder)}</td>"
        f"<td>{record.seconds:.1f}</td><td>{memory}</td></tr>"
    )


def _volume_cells(sid: str, volumes: BatchVolumes) -> str:
    own = volumes.of(sid)
    if own is None:
        return "<td></td>" * len(SHOWN_VOLUMES)
    return "".join(map(_volume_cell, SHOWN_VOLUMES, own, volumes.ranges))


def _volume_cell(shown: ShownVolume, volume_ml: float, usual: UsualRange | None) -> str:
    if usual is None or usual.holds(volume_ml):
        return f"<td>{shown.text(volume_ml)}</td>"
    score = usual.score(volume_ml)
    side, words = ("high", "far above the others") if score > 0 else ("low", "far below the others")
    return (
        f'<td class="outlier {side}" title="modified z-score {score:+.1f}">{shown.text(volume_ml)}'
        f'<span class="unseen"> {words}</span></td>'
    )


def _skip_link(record: Record, folder: str) -> str:
    """The skip ratio, which leads to the report that was written with it."""
    if record.skip_ratio is None:
        return ""
    return f'<a href="{folder}/{REPORT}/{SKIP_REPORT_FILES[-1]}">{percent(record.skip_ratio)}</a>'


def _usual_rows(ranges: Sequence[UsualRange | None]) -> str:
    """Below each volume, where most subjects lie."""

    def row(name: str, value: Callable[[UsualRange], float]) -> str:
        cells = "".join(
            f"<td>{shown.text(value(usual)) if usual else ''}</td>"
            for shown, usual in zip(SHOWN_VOLUMES, ranges, strict=True)
        )
        return f'<tr><td></td><th scope="row">{name}</th>{cells}<td></td><td></td><td></td></tr>'

    if not any(ranges):
        return ""
    return (
        row("median", lambda usual: usual.median)
        + row("marked below", lambda usual: max(usual.bounds[0], 0.0))
        + row("marked above", lambda usual: usual.bounds[1])
    )
