"""``nansurfer weights``: list, download, verify, import, locate and export sets of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from nansurfer.files import check_absent

if TYPE_CHECKING:
    from nansurfer.weights import KnownSet

app = typer.Typer(help="List, download and check the networks' weights.", no_args_is_help=True)

WeightsArgument = Annotated[
    str, typer.Argument(metavar="NAME_OR_DIR", help="Name of a known set, or folder with a file per view.")
]


class ExportFormat(str, Enum):
    """What ``weights export`` writes."""

    FASTSURFER = "fastsurfer"
    SAFETENSORS = "safetensors"


@app.command("list")
def list_sets() -> None:
    """List the known sets and whether they are on this machine."""
    from nansurfer.weights import known_sets

    table = _table("name", "model", "where", "description")
    for known in known_sets().values():
        table.add_row(known.name, known.model, _where(known), known.description)
    Console().print(table)


@app.command("download")
def download_set(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a known set.")] = "official",
    offline: Annotated[
        bool, typer.Option("--offline", help="Use no network, like NANSURFER_OFFLINE=1; look in the cache.")
    ] = False,
) -> None:
    """Download a set of weights into the cache, unless it is there already."""
    from nansurfer.weights.fetch import download

    with _progress_bars() as report:
        weight_set = download(name, offline=offline, progress=report)
    typer.echo(weight_set.folder)


@app.command("verify")
def verify_set(name_or_dir: WeightsArgument = "compact") -> None:
    """Check a set of weights: recorded checksums, every tensor's name, shape and values."""
    from nansurfer.weights import recorded_checksum, resolve, verify

    weight_set = resolve(name_or_dir)
    table = _table("view", "file", "SHA-256", "recorded")
    for view, checksum in verify(weight_set).items():
        path = weight_set.files[view]
        table.add_row(view, path.name, checksum, "yes" if recorded_checksum(path) else "no")
    Console().print(table)
    typer.echo(f"The weights '{weight_set.name}' are sound: model '{weight_set.model}'.")


@app.command("import")
def import_into_cache(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Files fetched by hand, the view in each name.", readable=False)
    ],
    name: Annotated[str, typer.Option("--name", help="The known set they belong to.")] = "official",
) -> None:
    """Copy files that were fetched by hand into the cache, after checking them."""
    from nansurfer.weights import import_files

    for view, path in import_files(files, name).items():
        typer.echo(f"{view}: {path}")


@app.command("path")
def print_path(name_or_dir: WeightsArgument = "compact") -> None:
    """Print the folder that holds a set of weights."""
    from nansurfer.weights import resolve

    typer.echo(resolve(name_or_dir).folder)


@app.command("export")
def export_set(
    name_or_dir: WeightsArgument,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder for one file a view.")],
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="FastSurfer's checkpoints (.pkl) or nansurfer's files.")
    ] = ExportFormat.FASTSURFER,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace these files if they exist.")] = False,
) -> None:
    """Write a set of weights in another format, for FastSurfer say."""
    from nansurfer.weights import export_fastsurfer, load_network, resolve, save_network

    weight_set = resolve(name_or_dir)
    as_fastsurfer = format_ is ExportFormat.FASTSURFER
    name = f"{weight_set.name}_{{}}.pkl" if as_fastsurfer else "{}.safetensors"
    paths = {view: output_dir / name.format(view) for view in weight_set.files}
    for path in paths.values():
        check_absent(path, overwrite=overwrite)
    for view, path in paths.items():
        config, network = load_network(weight_set, view)
        if as_fastsurfer:
            export_fastsurfer(network, path)
        else:
            save_network(network, path, model=config.name, view=view, metadata={"source": weight_set.name})
        typer.echo(path)


def _where(known: KnownSet) -> str:
    if not all(known.path(view).is_file() for view in known.files):
        return "missing, reinstall nansurfer" if known.bundled else "not downloaded"
    return "comes with nansurfer" if known.bundled else str(known.folder)


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


@contextmanager
def _progress_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield a function that shows a bar on stderr for each file it is told of."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bars = Progress(*columns, console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def report(name: str, done: int, total: int | None) -> None:
        bars.start()  # with the first file, as bars without any are an empty line
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=total)
        bars.update(tasks[name], completed=done)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()
