"""Where NaN comes from and how it travels, as one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from nansurfer.errors import ConfigError
from nansurfer.nn.options import ConvOptions, Fill, PoolOptions

Mode = Literal["off", "aggressive", "conservative", "background"]


@dataclass(frozen=True)
class NaNPolicy:
    """What makes NaN, and what convolution does with it.

    Parameters
    ----------
    mode
        ``"off"``: the network as it is; convolutions are counted.
        ``"aggressive"``: pooling makes NaN of a tied maximum, unpooling writes it to the window's first position.
        ``"conservative"``: pooling keeps the value, unpooling writes NaN to every tied position.
        ``"background"``: the caller marks the input's background NaN; pooling is NaN where the whole window is, and
        unpooling writes that to the whole window.
    threshold
        Share of NaN, above 0 and at most 1, from which a convolution's window is skipped.
    fill
        What stands for NaN in a window that is computed: the ``"mean"`` of the window's values, ``"zero"``, or
        (background only) ``"blank"``, the layer's input for an empty image, see :func:`nansurfer.nn.record_blank`.
    max_ties, rtol, atol
        When a maximum counts as tied, see :func:`nansurfer.nn.functional.nan_max_pool2d`.
    count_include_pad
        Whether zero padding counts as values (the papers' way).
    pool_margin
        Positions around what is kept that every pooling keeps as well, filled with its blank response: deeper levels
        look farther, and cost less. For fill ``"blank"`` only.

    Raises
    ------
    ConfigError
        A value makes no sense.
    """

    mode: Mode
    threshold: float = 0.5
    fill: Fill = "mean"
    max_ties: int = 1
    rtol: float = 1e-7
    atol: float = 1e-8
    count_include_pad: bool = False
    pool_margin: int = 0

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ConfigError(f"The NaN mode is {self.mode!r}; give one of {', '.join(get_args(Mode))}.")
        ConvOptions(self.threshold, self.count_include_pad, self.fill)  # these check
        PoolOptions(self.max_ties, self.rtol, self.atol, margin=self.pool_margin)  # themselves
        if self.pool_margin and self.fill != "blank":
            raise ConfigError(
                f'The pool margin is {self.pool_margin}, but only the fill "blank" knows what lies there.'
            )
        if self.fill == "blank" and self.mode in ("aggressive", "conservative"):
            raise ConfigError(
                f'The fill "blank" does not go with mode "{self.mode}", whose ties turn an empty image into NaN; '
                'use mode "background" or fill "mean".'
            )

    @property
    def conv_options(self) -> dict[str, Any]:
        """Keyword arguments of :class:`nansurfer.nn.NaNConv2d`."""
        return {"threshold": self.threshold, "fill": self.fill, "count_include_pad": self.count_include_pad}

    @property
    def pool_options(self) -> dict[str, Any]:
        """Keyword arguments of :class:`nansurfer.nn.NaNMaxPool2d`."""
        return {
            "max_ties": None if self.mode == "background" else self.max_ties,
            "rtol": self.rtol,
            "atol": self.atol,
            "ties": "mark" if self.mode == "conservative" else "nan",
            "margin": self.pool_margin,
        }

    @property
    def unpool_options(self) -> dict[str, Any]:
        """Keyword arguments of :class:`nansurfer.nn.NaNMaxUnpool2d`."""
        return {"nan": "window" if self.mode == "background" else "position"}
