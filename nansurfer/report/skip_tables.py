"""Tables of the skip report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from nansurfer.report.published import BLOCKS, SOURCE, Comparison
from nansurfer.report.shades import shade_class
from nansurfer.report.skip_figures import layer_bars, percent
from nansurfer.report.skips import LayerSkips, by_block, mac_skip_ratio, mean_skip_ratio


def block_rows(per_view: Mapping[str, Sequence[LayerSkips]]) -> str:
    """Each block: the bars and the mean skip ratio of its layers in each view."""
    blocks_of_views = [by_block(layers) for layers in per_view.values()]

    def cell(layers: Sequence[LayerSkips]) -> str:
        return f'<td><div class="cell">{layer_bars(layers)}<span>{percent(mean_skip_ratio(layers))}</span></div></td>'

    return "".join(
        f'<tr><th scope="row">{escape(block)}</th>{"".join(cell(blocks[block]) for blocks in blocks_of_views)}</tr>'
        for block in blocks_of_views[0]
    )


def total_rows(per_view: Mapping[str, Sequence[LayerSkips]]) -> str:
    """Each view as a whole, counted both ways."""
    totals = {
        "mean of all": [mean_skip_ratio(layers) for layers in per_view.values()],
        "by multiply-adds": [mac_skip_ratio(layers) for layers in per_view.values()],
    }
    return rows((name, *map(percent, ratios)) for name, ratios in totals.items())


def layer_rows(layers_of_views: Sequence[Sequence[LayerSkips]]) -> str:
    """Each layer: its skipped and mixed windows in each view."""
    return rows(
        (layers[0].layer, *(percent(ratio) for x in layers for ratio in (x.skip_ratio, x.mixed_ratio)))
        for layers in zip(*layers_of_views, strict=True)
    )


def comparison(compared: Comparison | None, options: Mapping[str, Any]) -> str:
    """The published ratios beside the run's, or a sentence that there are none."""
    threshold = "" if options["threshold"] is None else f" at threshold {plain(options['threshold'])}"
    policy = escape(f"the {options['nan']} policy{threshold}")
    if compared is None:
        return f"<p>The NaN papers give no figures for {policy}, in any view of this run.</p>"
    run, n_views = compared.published, len(compared.views)
    overall = f", published {percent(run.mean_skip_ratio)}" if run.mean_skip_ratio is not None else ""
    headings = "".join(f'<th scope="colgroup" colspan="2" class="group">{view}</th>' for view in compared.views)
    subheadings = '<th scope="col">published</th><th scope="col">here</th>' * n_views
    return (
        f'<p class="note" id="compared">Mean skip ratio of each block, {policy}. Mean over all convolutions: here '
        f"{percent(compared.mean_skip_ratio)}{overall}.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="compared"><table class="compared">'
        f'<thead><tr><th scope="col" rowspan="2">block</th>{headings}</tr><tr>{subheadings}</tr></thead>'
        f"<tbody>{''.join(_compared_row(block, compared) for block in BLOCKS)}</tbody></table></div>"
        '<p class="note">Here: only slices that went through the network. The papers computed every slice, of '
        "skull-stripped T1s, and counted zero padding as ordinary values (option paper compat). "
        f"Source: {escape(SOURCE)}.</p>"
    )


def _compared_row(block: str, compared: Comparison) -> str:
    published = compared.published.views
    cells = (_shaded(ratios.get(block)) for view, ours in compared.views.items() for ratios in (published[view], ours))
    return f'<tr><th scope="row">{block}</th>{"".join(cells)}</tr>'


def _shaded(ratio: float | None) -> str:
    if ratio is None:
        return '<td class="absent">–</td>'
    return f'<td class="{shade_class(ratio)}">{percent(ratio)}</td>'


def plain(value: Any) -> str:
    """An option's value as a person writes it: 1, not 1.0; yes, not True."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def rows(rows: Iterable[Sequence[str]]) -> str:
    """Table rows of plain text, the first cell a heading."""
    return "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
