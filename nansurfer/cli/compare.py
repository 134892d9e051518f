"""``nansurfer compare``: how two segmentations of an image differ, and whether one may stand in for the other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from nansurfer.cli.console import set_up_logging
from nansurfer.cli.options import OUTPUT, Verbose
from nansurfer.errors import InputFormatError
from nansurfer.files import check_absent, check_writable, read_list

_SEVERAL = "Several pairs"

logger = logging.getLogger("nansurfer")


class Pair(NamedTuple):
    """Two segmentations of one image: label files or subject folders."""

    name: str
    a: Path
    b: Path


def compare(
    a: Annotated[
        Path | None, typer.Argument(metavar="A", help="Label volume or subject folder: the reference.", readable=False)
    ] = None,
    b: Annotated[
        Path | None,
        typer.Argument(metavar="B", help="Label volume or subject folder, on the same grid.", readable=False),
    ] = None,
    structures: Annotated[
        str | None, typer.Option(help="Structures to compare: numbers or names, with commas.", show_default="all")
    ] = None,
    surface: Annotated[
        str | None, typer.Option(help="Structures to measure the surface distance of, or 'all'.", show_default="none")
    ] = None,
    map_dk: Annotated[
        bool, typer.Option("--map-dk", help="Relabel Desikan-Killiany parcels that DKT lacks, and the corpus callosum.")
    ] = False,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns a, b and perhaps id, a pair a line, in place of A and B; "
            "paths are relative to its folder.",
            readable=False,
            rich_help_panel=_SEVERAL,
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Test equivalence within this fraction, such as 0.01.", rich_help_panel=_SEVERAL),
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write every structure of every pair.", rich_help_panel=OUTPUT)
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the same and the tests.", rich_help_panel=OUTPUT)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace these files if they exist.", rich_help_panel=OUTPUT)
    ] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show all structures, not the worst only.", rich_help_panel=OUTPUT)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no table; warnings and errors only.")] = False,
    verbose: Verbose = False,
) -> None:
    """Compare two segmentations: overlap, volumes, surfaces.

    A and B are label volumes (.mgz, .mgh, .nii, .nii.gz) or subject folders of nansurfer, FastSurfer or FreeSurfer.
    With --pairs, many of them; with --margin, a test of equivalence over the pairs.
    """
    set_up_logging(Console(stderr=True), quiet=quiet, verbose=verbose, log_file=None)

    from nansurfer.cli.comparison_tables import comparison_tables
    from nansurfer.report import comparison, comparison_files, equivalence

    todo = _pairs(a, b, pairs)
    if margin is not None:
        equivalence.check_testable(margin, len(todo))
    for path in (csv_file, json_file):
        if path is not None:
            check_absent(path, overwrite=overwrite)
            check_writable(path.parent)
    labels = None if structures is None else _labels(structures)
    surfaces = None if surface == "all" else _labels(surface or "")
    # All paths are looked up first, so that a missing one is told before the work.
    todo = [Pair(pair.name, comparison.find_labels(pair.a), comparison.find_labels(pair.b)) for pair in todo]

    comparisons = []
    for number, pair in enumerate(todo, start=1):
        logger.debug("Pair %d of %d: %s and %s", number, len(todo), pair.a, pair.b)
        comparisons.append(
            comparison.compare(pair.a, pair.b, pair=pair.name, structures=labels, surfaces=surfaces, map_dk=map_dk)
        )
    tests = None if margin is None else equivalence.equivalence_tests(comparisons, margin)
    if csv_file is not None:
        comparison_files.write_comparison_csv(csv_file, comparisons)
    if json_file is not None:
        comparison_files.write_comparison_json(json_file, comparisons, tests)
    if not quiet:
        Console().print(comparison_tables(comparisons, tests, show_all=show_all))


def _pairs(a: Path | None, b: Path | None, pairs: Path | None) -> list[Pair]:
    if pairs is not None and a is None:
        return _read_pairs(pairs)
    if pairs is None and a is not None and b is not None:
        return [Pair("1", a, b)]
    raise typer.BadParameter("give two segmentations, or a list of them with --pairs.", param_hint="A B")


def _read_pairs(path: Path) -> list[Pair]:
    """The pairs in a CSV file with the columns a, b and perhaps id; without ids, the numbers of the lines."""
    heading, *lines = read_list(path) or [[]]
    columns = [cell.lower() for cell in heading]
    rows = [dict(zip(columns, line, strict=False)) for line in lines]
    if not all(row.get("a") and row.get("b") for row in rows) or not rows:
        raise InputFormatError(f"{path} does not list pairs; give a CSV file with the columns a and b filled in.")
    read = [
        Pair(row.get("id") or str(number), path.parent / row["a"], path.parent / row["b"])
        for number, row in enumerate(rows, start=1)
    ]
    for what, values in (("id", [pair.name for pair in read]), ("pair", [pair[1:] for pair in read])):
        if len(set(values)) < len(values):
            raise InputFormatError(f"{path} lists the same {what} twice; give every subject one line of its own.")
    return read


def _labels(text: str) -> list[int]:
    from nansurfer.labels import find_label

    return [find_label(part) for part in text.split(",") if part.strip()]
