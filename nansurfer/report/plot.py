"""What all plots share: their style, their files, and matplotlib, which they need."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nansurfer.errors import ConfigError
from nansurfer.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
GREY = "#555555"

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "nansurfer",  # the same figures give the same file
}
_DOTS_PER_INCH = 200


def check_plotting() -> None:
    """Check that matplotlib is installed.

    Raises
    ------
    ConfigError
        It is not.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "The plot needs matplotlib, which is missing: pip install 'nansurfer[plot]', or do without by --no-plot."
        )


def save_figure(stem: str | Path, draw: Callable[[], Figure]) -> list[Path]:
    """Paths of the figure that ``draw`` returns, written as ``stem.png`` and ``stem.svg``.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    import matplotlib as mpl

    paths = [Path(f"{stem}{suffix}") for suffix in SUFFIXES]
    with mpl.rc_context(_STYLE):
        figure = draw()
        for path in paths:
            with atomic_path(path) as temporary:
                metadata = {"Date": None} if path.suffix == ".svg" else None
                figure.savefig(temporary, dpi=_DOTS_PER_INCH, metadata=metadata)
    return paths
