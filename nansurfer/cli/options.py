"""Options that several commands share, each with its one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

COMPUTING = "Computing"
OUTPUT = "Output"
SKIPPING = "Skipping"

Image = Annotated[
    Path,
    typer.Argument(metavar="INPUT", help="T1 volume: .mgz, .mgh, .nii, .nii.gz or .img/.hdr.", show_default=False),
]
Weights = Annotated[str, typer.Option(help="Name of a set of weights, or a folder of them.")]
Views = Annotated[str, typer.Option(help="Views to run, separated by commas.")]
VoxSize = Annotated[str, typer.Option(help="Voxel size in mm (0.1 to 1), or 'min': the image's own, at most 1.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=COMPUTING)]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.", rich_help_panel=COMPUTING)]
Threads = Annotated[int | None, typer.Option(help="CPU threads.", show_default="all", rich_help_panel=COMPUTING)]
Engine = Annotated[
    str,
    typer.Option(help="auto, reference (PyTorch) or fast (compiled, for background).", rich_help_panel=COMPUTING),
]
BatchSize = Annotated[
    int,
    typer.Option(help="Slices computed at once by the reference; on a CPU, 1 is fastest.", rich_help_panel=COMPUTING),
]
Fill = Annotated[
    str | None,
    typer.Option(
        help="What stands for NaN in other windows: the window's mean, zero, or blank, an empty slice's values.",
        show_default="blank, or mean for aggressive and conservative",
        rich_help_panel=SKIPPING,
    ),
]
Margin = Annotated[
    int | None,
    typer.Option(
        help="Voxels around the head that are computed (background).",
        show_default="by threshold",
        rich_help_panel=SKIPPING,
    ),
]
PoolMargin = Annotated[
    int | None,
    typer.Option(
        help="Pixels around what is kept that every pooling keeps as well (background, blank).",
        show_default="2",
        rich_help_panel=SKIPPING,
    ),
]
PaperCompat = Annotated[
    bool,
    typer.Option(
        "--paper-compat",
        help="Compute every slice, count padding, and let NaN in any view win, as the NaN papers do.",
        rich_help_panel=SKIPPING,
    ),
]
NoPlot = Annotated[
    bool, typer.Option("--no-plot", help="Write no plot, which needs matplotlib.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show more, and the traceback of an error.")]
LogFile = Annotated[Path | None, typer.Option(help="Append everything that happens to this file.")]


def parse_list(text: str) -> tuple[str, ...]:
    """The parts between commas."""
    return tuple(part.strip() for part in text.split(","))


def parse_vox_size(text: str) -> float | Literal["min"]:
    """``"min"``, or a number of mm.

    Raises
    ------
    typer.BadParameter
        It is neither.
    """
    if text == "min":
        return "min"
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is neither 'min' nor a number of mm", param_hint="--vox-size") from None
