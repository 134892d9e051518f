"""The network as the skip report draws it, as inline SVG; colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import isqrt

from nansurfer.report.shades import shade_class
from nansurfer.report.skip_figures import percent
from nansurfer.report.skips import LayerSkips, mean_skip_ratio

# The rows of the U: the network's resolutions, encoder on the left, decoder on the right.
_LEVELS = (("inp_block", "outp_block"), *((f"encode{i}", f"decode{i}") for i in range(1, 5)))

# Pixels. Each row below the first is indented a little more.
_WIDTH, _BOX_WIDTH, _BOX_HEIGHT, _ROW, _INDENT, _CORNER = 520, 176, 54, 74, 12, 40
_RIGHT, _MIDDLE = _WIDTH - _BOX_WIDTH, (_WIDTH - _BOX_WIDTH) // 2


def schematic(blocks: Mapping[str, Sequence[LayerSkips]], windows: Mapping[str, int]) -> str:
    """The network as a U, each block shaded by its mean skip ratio.

    Parameters
    ----------
    blocks
        Block to its layers, of all views.
    windows
        Block to its output positions in one slice.
    """
    macs = sum(layer.macs for layers in blocks.values() for layer in layers)

    def box(name: str, x: float, y: float) -> str:
        share = sum(layer.macs for layer in blocks[name]) / macs
        return _box(name, x, y, mean_skip_ratio(blocks[name]), share)

    levels = [level for level in _LEVELS if level[0] in blocks]
    parts = [_terminal("thick slice", 0, 0), box("classifier", _RIGHT, 0)]
    for depth, (encoder, decoder) in enumerate(levels):
        left, right, y = depth * _INDENT, _RIGHT - depth * _INDENT, (depth + 1) * _ROW
        parts += [box(encoder, left, y), box(decoder, right, y)]
        parts += [_flows(depth), _skip_connection(left + _BOX_WIDTH, right, y, windows[encoder])]
    bottom = (len(levels) + 1) * _ROW
    parts += [box("bottleneck", _MIDDLE, bottom), _turn(len(levels) - 1)]
    return (
        f'<svg class="schematic" viewBox="-2 -2 {_WIDTH + 4} {bottom + _BOX_HEIGHT + 4}" role="img" '
        'aria-label="The network, each block with its skip ratio and its share of all multiply-adds; the table of '
        'blocks holds the same ratios.">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z"/></marker></defs>{"".join(parts)}</svg>'
    )


def _box(name: str, x: float, y: float, skip_ratio: float, macs_share: float) -> str:
    return (
        f'<g class="block {shade_class(skip_ratio)}" transform="translate({x:g} {y:g})">'
        f'<rect width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"/>'
        f'<text x="10" y="23" class="name">{escape(name)}</text>'
        f'<text x="{_BOX_WIDTH - 10}" y="23" class="ratio">{percent(skip_ratio)}</text>'
        f'<text x="10" y="43" class="share">{percent(macs_share)} of the work</text></g>'
    )


def _terminal(text: str, x: float, y: float) -> str:
    return (
        f'<g class="terminal" transform="translate({x:g} {y:g})"><rect width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" '
        f'rx="6"/><text x="{_BOX_WIDTH / 2:g}" y="32">{escape(text)}</text></g>'
    )


def _skip_connection(start: float, end: float, y: float, windows: int) -> str:
    side = isqrt(windows)
    size = f"{side} × {side}" if side * side == windows else f"{windows} positions"
    middle = y + _BOX_HEIGHT / 2
    return (
        f'<text class="size" x="{(start + end) / 2:g}" y="{middle - 8:g}">{size}</text>'
        f"{_path(f'M{start:g} {middle:g}H{end - 2:g}', 'connection')}"
    )


def _flows(depth: int) -> str:
    """Arrows from the row above down into a level's encoder, and from its decoder up."""
    x = max(depth - 1, 0) * _INDENT + _BOX_WIDTH / 2
    above, below = depth * _ROW + _BOX_HEIGHT, (depth + 1) * _ROW
    return _path(f"M{x:g} {above}V{below - 2}") + _path(f"M{_WIDTH - x:g} {below}V{above + 2}")


def _turn(depth: int) -> str:
    """Arrows from the deepest encoder into the bottleneck, and from there to the deepest decoder."""
    x, above = depth * _INDENT + _CORNER, (depth + 1) * _ROW + _BOX_HEIGHT
    y = (depth + 2) * _ROW + _BOX_HEIGHT // 2
    return _path(f"M{x} {above}V{y}H{_MIDDLE - 2}") + _path(f"M{_WIDTH - _MIDDLE} {y}H{_WIDTH - x}V{above + 2}")


def _path(d: str, kind: str = "flow") -> str:
    return f'<path class="{kind}" d="{d}" marker-end="url(#tip)"/>'
