"""The skip report as one HTML file that needs neither a network nor a script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from nansurfer.report.page_files import page_template, page_text
from nansurfer.report.published import compared_with_published
from nansurfer.report.shades import STEPS, shades_css
from nansurfer.report.skip_figures import percent, picture, slice_chart, slices_in_words
from nansurfer.report.skip_pictures import MAX_OPACITY, TINT, PlanePictures
from nansurfer.report.skip_schematic import schematic
from nansurfer.report.skip_tables import block_rows, comparison, layer_rows, plain, rows, total_rows
from nansurfer.report.skips import LayerSkips, SkipReport, ViewSkips, by_block, mac_skip_ratio

# A conformed volume is LIA; what the first and the last slice of each view are nearest to.
_ENDS = {"axial": ("superior", "inferior"), "coronal": ("posterior", "anterior"), "sagittal": ("right", "left")}


def skip_page(report: SkipReport, pictures: Sequence[PlanePictures]) -> str:
    """The HTML page, complete: style, drawings and pictures are in it.

    Parameters
    ----------
    report
        What the page says. Its texts may hold any character.
    pictures
        One for each view, as `plane_pictures` draws them.
    """
    blocks = by_block(report.layers)
    per_view: dict[str, tuple[LayerSkips, ...]] = {view.view: view.layer_skips() for view in report.views}
    return page_template("skip_report.html").substitute(
        sid=escape(report.sid),
        style=_style(pictures),
        options=_chips({**report.options, "engine": report.engine}),
        mac_skip_ratio=percent(report.mac_skip_ratio),
        bound=_bound(report.speedup_bound),
        tiles=_tiles(report),
        schematic=schematic(blocks, _block_windows(report.views[0])),
        scale="".join(f'<i class="q{step}"></i>' for step in range(STEPS)),
        of_views=f" of {len(per_view)} views" if len(per_view) > 1 else "",
        view_headings="".join(f'<th scope="col">{view}</th>' for view in per_view),
        block_rows=block_rows(per_view),
        total_rows=total_rows(per_view),
        layer_headings="".join(f'<th scope="colgroup" colspan="2" class="group">{view}</th>' for view in per_view),
        layer_subheadings='<th scope="col">skipped</th><th scope="col">mixed</th>' * len(per_view),
        layer_rows=layer_rows(list(per_view.values())),
        slice_charts="".join(map(_slice_figure, report.views)),
        planes="".join(map(_plane_figure, pictures)),
        comparison=comparison(compared_with_published(report), report.options),
        versions=rows(report.versions.items()),
        left_dense=_left_dense(report.left_dense),
    )


def _style(pictures: Sequence[PlanePictures]) -> str:
    red, green, blue = TINT
    return page_text("page.css") + page_template("skip_report.css").substitute(
        shades=shades_css(dark=False),
        dark_shades=shades_css(dark=True),
        tint=f"rgb({red} {green} {blue} / {MAX_OPACITY})",
        widths=" ".join(f"{p.size[0]}fr" for p in pictures),  # so that all have one scale
    )


def _chips(options: Mapping[str, Any]) -> str:
    shown = ((key.replace("_", " "), value) for key, value in options.items() if value is not None)
    return "".join(f"<li>{escape(key)} <b>{escape(plain(value))}</b></li>" for key, value in shown)


def _bound(speedup: float) -> str:
    if math.isinf(speedup):
        return "nothing was left to compute"
    digits = 2 if speedup < 10 else 1
    return f"at most <strong>{speedup:.{digits}f}</strong> times faster"


def _tiles(report: SkipReport) -> str:
    slices = sum(view.n_slices for view in report.views)
    outright = slices - sum(int(view.computed.sum()) for view in report.views)
    by_view = {view.view: mac_skip_ratio(view.layer_skips()) for view in report.views}
    tiles = [
        *((f"multiply-adds skipped, {view}", percent(ratio)) for view, ratio in by_view.items()),
        (
            f"mean skip ratio of {len(report.layers)} convolutions, as the NaN papers count",
            percent(report.mean_skip_ratio),
        ),
        ("slices skipped outright", f"{outright} of {slices}"),
    ]
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)


def _block_windows(view: ViewSkips) -> dict[str, int]:
    """Output positions of each block's convolutions in one slice."""
    blocks = (layer.partition(".")[0] for layer in view.layers)
    return dict(zip(blocks, view.windows.tolist(), strict=True))


def _slice_figure(view: ViewSkips) -> str:
    first, last = _ENDS[view.view]
    return (
        f'<figure class="chart"><figcaption><b>{view.view}</b>: {slices_in_words(view)}</figcaption>'
        '<div class="axis y" aria-hidden="true"><span>100 %</span><span>50 %</span><span>0 %</span></div>'
        f"{slice_chart(view)}"
        f'<div class="axis x"><span>slice 0, {first}</span><span>{view.n_slices // 2}</span>'
        f"<span>{last}, {view.n_slices - 1}</span></div></figure>"
    )


def _plane_figure(pictures: PlanePictures) -> str:
    return (
        f"<figure><figcaption><b>{pictures.view}</b>, {pictures.position}</figcaption>"
        f"{picture(pictures, skipped=False)}{picture(pictures, skipped=True)}</figure>"
    )


def _left_dense(names: Sequence[str]) -> str:
    if not names:
        return "None: every layer of the network passes NaN on or skips."
    return f"NaN has no meaning for these, so they were computed in full: {escape(', '.join(names))}."
