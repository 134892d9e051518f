"""Charts and pictures of the skip report as inline SVG; colours come from the page's style sheet."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from itertools import groupby

import numpy as np

from nansurfer.report.skip_pictures import PlanePictures
from nansurfer.report.skips import LayerSkips, ViewSkips

_BAR, _BAR_GAP, _BARS_HEIGHT = 11, 3, 30  # pixels of the bars of one block


def percent(ratio: float) -> str:
    """``"12.3 %"``, unbroken; what is not all is never rounded up to all, nor something down to nothing."""
    rounded = min(max(round(100 * ratio, 1), 0.1), 99.9) if 0 < ratio < 1 else 100 * ratio
    return f"{rounded:.1f}\N{NO-BREAK SPACE}%"


def layer_bars(layers: Sequence[LayerSkips]) -> str:
    """A bar for each layer of a block: skipped from the bottom up, mixed on top of it."""
    width = len(layers) * (_BAR + _BAR_GAP) - _BAR_GAP
    bars = "".join(_bar(layer, i * (_BAR + _BAR_GAP)) for i, layer in enumerate(layers))
    return (
        f'<svg class="bars" viewBox="0 0 {width} {_BARS_HEIGHT}" width="{width}" height="{_BARS_HEIGHT}" '
        f'aria-hidden="true">{bars}</svg>'
    )


def _bar(layer: LayerSkips, x: int) -> str:
    skipped, mixed = layer.skip_ratio * _BARS_HEIGHT, layer.mixed_ratio * _BARS_HEIGHT
    title = f"{layer.layer}, {layer.view}: {percent(layer.skip_ratio)} skipped, {percent(layer.mixed_ratio)} mixed"
    rects = (
        ("track", 0, _BARS_HEIGHT),
        ("mixed", _BARS_HEIGHT - skipped - mixed, mixed),
        ("skipped", _BARS_HEIGHT - skipped, skipped),
    )
    drawn = "".join(
        f'<rect class="{kind}" x="{x}" y="{y:.2f}" width="{_BAR}" height="{height:.2f}"/>' for kind, y, height in rects
    )
    return f"<g><title>{escape(title)}</title>{drawn}</g>"


def slice_chart(view: ViewSkips) -> str:
    """Share of the multiply-adds skipped over the slices, 0 at the bottom; slices skipped outright set apart."""
    ratios = view.macs_skipped_per_slice / view.macs_per_slice
    computed = view.computed.tolist()
    shown = np.where(view.computed, ratios, 0)
    steps = "".join(f"V{100 * (1 - ratio):.2f}H{i + 1}" for i, ratio in enumerate(shown.tolist()))
    grid = "".join(f'<line x1="0" x2="{view.n_slices}" y1="{y}" y2="{y}"/>' for y in (25, 50, 75))
    return (
        f'<svg class="slices" viewBox="0 0 {view.n_slices} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{view.view}: {slices_in_words(view)}">{_outright(computed)}'
        f'<path class="skipped" d="M0 100{steps}V100z"/><g class="grid">{grid}</g></svg>'
    )


def _outright(computed: Sequence[bool]) -> str:
    """A full-height block for each run of slices that were not computed."""
    rects, start = [], 0
    for was_computed, run in groupby(computed):
        length = len(list(run))
        if not was_computed:
            rects.append(f'<rect class="outright" x="{start}" y="0" width="{length}" height="100"/>')
        start += length
    return "".join(rects)


def slices_in_words(view: ViewSkips) -> str:
    """How much was skipped in the slices of a view."""
    computed = int(view.computed.sum())
    words = f"{view.n_slices - computed} of {view.n_slices} slices skipped outright"
    if computed == 0:
        return words
    ratios = (view.macs_skipped_per_slice / view.macs_per_slice)[view.computed]
    return f"{words}, {percent(ratios.min())} to {percent(ratios.max())} of the multiply-adds of the others"


def picture(pictures: PlanePictures, *, skipped: bool) -> str:
    """The slice's segmentation, or the T1 under the share that was skipped."""
    width, height = pictures.size
    what = "share of the multiply-adds skipped" if skipped else "segmentation"
    whole = f'x="0" y="0" width="{width}" height="{height}"'
    x, y, tint_width, tint_height = pictures.tint_box
    layers = [f'<image href="{data_uri(pictures.t1 if skipped else pictures.segmentation)}" {whole}/>']
    if skipped:
        box = f'x="{x}" y="{y}" width="{tint_width}" height="{tint_height}"'
        layers.append(f'<image class="tint" href="{data_uri(pictures.tint)}" {box} preserveAspectRatio="none"/>')
    left, right = pictures.sides
    return (
        f'<svg class="plane" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(pictures.view)}, {escape(pictures.position)}: {what}">{"".join(layers)}'
        f'<text x="5" y="14">{left}</text><text x="{width - 5}" y="14" text-anchor="end">{right}</text></svg>'
    )


def data_uri(png: bytes) -> str:
    """A PNG as text that stands where its address would."""
    return "data:image/png;base64," + b64encode(png).decode("ascii")
