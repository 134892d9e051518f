"""What ``nansurfer compare`` shows: structures, pairs and tests, the worst first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from nansurfer.report.comparison import Comparison, Region, by_structure
from nansurfer.report.equivalence import ALPHA, EquivalenceTest

_MAX_ROWS = 20
_MIN_TEXT_WIDTH = 12
_NO_NUMBER = "-"
_WORST_FIRST = ("not testable", "not shown", "shown", "identical")


def comparison_tables(
    comparisons: Sequence[Comparison], tests: Sequence[EquivalenceTest] | None, *, show_all: bool
) -> Group:
    """The tables of a run; of each the worst 20 rows, or all."""
    limit = None if show_all else _MAX_ROWS
    parts = [*_structures(comparisons, limit)]
    parts += [_summary(comparisons[0])] if len(comparisons) == 1 else _pairs(comparisons, limit)
    if tests is not None:
        parts += _tests(tests, limit)
    return Group(*parts)


def _structures(comparisons: Sequence[Comparison], limit: int | None) -> Iterator[RenderableType]:
    """A row a structure; its numbers are means over the pairs that have it."""
    means = "" if len(comparisons) == 1 else f" (means over {len(comparisons)} pairs)"
    structures = sorted(by_structure(comparisons), key=_structure_rank)
    columns = ["structure", "Dice", "A mm³", "B mm³", "B - A %", "HD95 mm"]
    rows = [
        [
            regions[0].name,
            _number(_mean(regions, "dice"), ".4f"),
            _number(_mean(regions, "volume_a_mm3"), ".0f"),
            _number(_mean(regions, "volume_b_mm3"), ".0f"),
            _number(100 * _mean(regions, "volume_difference"), "+.2f"),
            _number(_mean(regions, "hd95_mm"), ".2f"),
        ]
        for regions in structures
    ]
    if all(row[-1] == _NO_NUMBER for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return _filled(_table(f"Structures{means}", *columns), rows, limit)


def _summary(comparison: Comparison) -> Table:
    """The volume as a whole, and where the labels came from."""
    changed, labelled = comparison.whole.voxels_changed, comparison.voxels_labelled
    n_structures = sum(not math.isnan(s.dice) for s in comparison.structures)
    table = Table(title="Whole volume", title_justify="left", box=box.SIMPLE, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # paths are there to be copied
    table.add_row("Dice, all labels", _number(comparison.whole.dice, ".6f"))
    table.add_row("Dice, labelled or not", _number(comparison.foreground.dice, ".6f"))
    table.add_row(f"mean Dice of {n_structures} structures", _number(comparison.mean_dice, ".6f"))
    table.add_row("voxels changed", f"{changed} ({100 * changed / max(labelled, 1):.3g} % of {labelled} labelled)")
    for name, text in (("A", str(comparison.a)), ("B", str(comparison.b)), *(("note", n) for n in comparison.notes)):
        table.add_row(name, escape(text))
    return table


def _pairs(comparisons: Sequence[Comparison], limit: int | None) -> Iterator[RenderableType]:
    """A row a pair."""
    table = _table("Pairs", "pair", "Dice, all labels", "labelled or not", "mean Dice", "voxels changed")
    rows = [
        [
            c.pair,
            *(_number(dice, ".6f") for dice in (c.whole.dice, c.foreground.dice, c.mean_dice)),
            str(c.whole.voxels_changed),
        ]
        for c in sorted(comparisons, key=lambda c: _nan_last(c.whole.dice))
    ]
    yield from _filled(table, rows, limit)
    notes = [note for c in comparisons for note in c.notes]
    for note in dict.fromkeys(notes):
        yield f" In {notes.count(note)} of {len(comparisons)} pairs: {note}"


def _tests(tests: Sequence[EquivalenceTest], limit: int | None) -> Iterator[RenderableType]:
    """A row a test, in a table a measure with its conclusion below."""
    for measure in dict.fromkeys(test.measure for test in tests):
        of_measure = sorted((test for test in tests if test.measure == measure), key=_test_rank)
        title = f"{measure.capitalize()}: {of_measure[0].claim}?"
        table = _table(title, "region", "pairs", "mean %", f"{100 * (1 - 2 * ALPHA):.0f} % interval", "p", "verdict")
        rows = [
            [
                test.region,
                str(test.n_pairs),
                _number(100 * test.mean, "+.3f"),
                f"{100 * test.low:+.3f} to {100 * test.high:+.3f}" if math.isfinite(test.p) else _NO_NUMBER,
                _number(test.p, ".1e"),
                test.outcome,
            ]
            for test in of_measure
        ]
        yield from _filled(table, rows, limit)
        counts = Counter(test.verdict for test in of_measure)
        found = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        yield f" Of {len(of_measure)} regions: {found}."


def _structure_rank(regions: Sequence[Region]) -> tuple[bool, float]:
    """Sorts those whose surfaces were asked for to the top, where they are seen, and then the worst Dice."""
    return math.isnan(_mean(regions, "hd95_mm")), _nan_last(_mean(regions, "dice"))


def _test_rank(test: EquivalenceTest) -> tuple[int, float]:
    """Sorts the worst first: by outcome, then by how far the mean lies from 0."""
    return _WORST_FIRST.index(test.outcome), -abs(test.mean) if math.isfinite(test.mean) else -math.inf


def _table(title: str, *columns: str) -> Table:
    """A table whose first and last columns fold where the terminal is narrow."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    for column in columns:
        is_text = column in ("structure", "pair", "region", "verdict")
        if is_text:
            table.add_column(column, overflow="fold", min_width=_MIN_TEXT_WIDTH)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def _filled(table: Table, rows: Sequence[Sequence[str]], limit: int | None) -> Iterator[RenderableType]:
    """The table with the first rows, and a line that tells of the others."""
    for row in rows[:limit]:
        table.add_row(*map(escape, row))
    yield table
    if limit is not None and len(rows) > limit:
        yield f" ... and {len(rows) - limit} better ones; --all shows them.\n"


def _mean(regions: Sequence[Region], field: str) -> float:
    """Mean over the regions where the field is a number; nan where it is none anywhere."""
    values = [value for region in regions if not math.isnan(value := getattr(region, field))]
    return fmean(values) if values else math.nan


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _number(value: float, spec: str) -> str:
    return format(value, spec) if math.isfinite(value) else _NO_NUMBER
