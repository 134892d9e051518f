"""Options that several commands share, each with its one help text."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

COMPUTING = "Computing"
OUTPUT = "Output"
SKIPPING = "Skipping"

Image = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="T1 volume: .mgz, .mgh, .nii, .nii.gz or .img/.hdr.",
        show_default=False,
        readable=False,  # not typer's to check: the library has a sentence and an exit code for that
    ),
]
Weights = Annotated[str, typer.Option(help="Name of a set of weights, or a folder of them.")]
Views = Annotated[str, typer.Option(help="Views to run, separated by commas.")]
VoxSize = Annotated[str, typer.Option(help="Voxel size in mm (0.1 to 1), or 'min': the image's own, at most 1.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=COMPUTING)]
Precision = Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.", rich_help_panel=COMPUTING)]
Threads = Annotated[
    int | None,
    typer.Option(
        help="CPU threads.",
        show_default="all, at most OMP_NUM_THREADS; shared out in a batch",
        rich_help_panel=COMPUTING,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        help="auto, fast (compiled), masked (PyTorch, background) or reference (PyTorch, all).",
        rich_help_panel=COMPUTING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        help="Slices that PyTorch computes at once.", show_default="16 on a GPU, else 1", rich_help_panel=COMPUTING
    ),
]
Nan = Annotated[
    str,
    typer.Option(help="What is skipped: auto, off, aggressive, conservative or background.", rich_help_panel=SKIPPING),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Share of NaN in a window, above 0 and at most 1, from which its convolution is skipped.",
        show_default="0.5",
        rich_help_panel=SKIPPING,
    ),
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
MaxTies = Annotated[
    int | None,
    typer.Option(
        help="Equal values that a maximum may have (aggressive, conservative).",
        show_default="1",
        rich_help_panel=SKIPPING,
    ),
]
TieTolerance = Annotated[
    float | None,
    typer.Option(
        help="Relative difference of equal values (aggressive, conservative).",
        show_default="1e-7",
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
FindBrain = Annotated[
    bool | None,
    typer.Option(
        "--find-brain/--no-find-brain",
        help="Label only what is near to the brain, which the first view finds.",
        show_default="with auto at threshold 0.5",
        rich_help_panel=SKIPPING,
    ),
]
NoReport = Annotated[
    bool, typer.Option("--no-report", help="Neither count skips nor write report/.", rich_help_panel=SKIPPING)
]
Native = Annotated[
    bool, typer.Option("--native", help="Also write the labels on the input's own grid.", rich_help_panel=OUTPUT)
]
Force = Annotated[
    bool, typer.Option("--force", help="Write the result even if no brain was found.", rich_help_panel=OUTPUT)
]
FastSurferCompat = Annotated[
    bool, typer.Option("--fastsurfer-compat", help="Conform and compute exactly as FastSurfer, faults included.")
]
NoPlot = Annotated[
    bool, typer.Option("--no-plot", help="Write no plot, which needs matplotlib.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show more, and the traceback of an error.")]
LogFile = Annotated[Path | None, typer.Option(help="Append everything that happens to this file.")]


def segment_choices(
    weights: Weights = "compact",
    views: Views = "axial,coronal,sagittal",
    vox_size: VoxSize = "min",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    batch_size: BatchSize = None,
    engine: Engine = "auto",
    nan: Nan = "auto",
    threshold: Threshold = None,
    fill: Fill = None,
    margin: Margin = None,
    pool_margin: PoolMargin = None,
    max_ties: MaxTies = None,
    tie_tolerance: TieTolerance = None,
    paper_compat: PaperCompat = False,
    find_brain: FindBrain = None,
    no_report: NoReport = False,
    native: Native = False,
    force: Force = False,
    fastsurfer_compat: FastSurferCompat = False,
) -> dict[str, Any]:
    """What these options, those of every command that segments, are to `nansurfer.pipeline.make_options`."""
    choices = locals()
    return choices | {
        "views": parse_list(views),
        "vox_size": parse_vox_size(vox_size),
        "report": not choices.pop("no_report"),
    }


def with_segment_choices(command: Callable[..., None], only: Collection[str] | None = None) -> Callable[..., None]:
    """A command for typer with the options of `segment_choices` in place of its keyword parameter ``choices``.

    Parameters
    ----------
    command
        Given what the options are to `nansurfer.pipeline.make_options`.
    only
        Names of those that it has; None for all.
    """
    parameters_of_all = inspect.signature(segment_choices, eval_str=True).parameters
    shared = {name: p for name, p in parameters_of_all.items() if only is None or name in only}
    signature = inspect.signature(command, eval_str=True)
    own = list(signature.parameters.values())
    place = [parameter.name for parameter in own].index("choices")

    @wraps(command)
    def run(**arguments: Any) -> None:
        choices = segment_choices(**{name: arguments.pop(name) for name in shared})
        if only is not None:
            choices = {name: choices[name] for name in only}
        command(**arguments, choices=choices)

    parameters = [*own[:place], *shared.values(), *own[place + 1 :]]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


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
