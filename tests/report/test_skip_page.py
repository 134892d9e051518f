"""The page a person reads: well-formed, self-contained, escaped, and with the JSON's numbers."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from time import process_time

import nibabel as nib
import numpy as np
import pytest

from nansurfer.report import SkipReport, ViewSkips, write_skip_report
from nansurfer.report.skip_figures import layer_bars, percent, slice_chart
from nansurfer.report.skip_page import skip_page
from nansurfer.report.skip_pictures import plane_pictures
from nansurfer.report.skips import LayerSkips
from nansurfer.volume import VIEWS

VOID = {"meta", "br", "path", "rect", "line", "image"}


class Page(HTMLParser):
    """Texts, and table rows as lists of texts; fails on tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        text = data.replace("\N{NO-BREAK SPACE}", " ")
        self.texts.append(text)
        if self.rows and {"td", "th"} & set(self.open) and "title" not in self.open:
            self.rows[-1][-1] += text

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def row(self, name: str) -> list[str]:
        """The first table row of that name."""
        return next(row for row in self.rows if row[0] == name)


def render(report: SkipReport, t1: nib.MGHImage, labels: np.ndarray) -> str:
    return skip_page(report, plane_pictures(report.views, t1, labels))


@pytest.fixture
def html(tiny_report: SkipReport, tiny_t1: nib.MGHImage, tiny_labels: np.ndarray) -> str:
    return render(tiny_report, tiny_t1, tiny_labels)


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0, "0.0 %"), (1e-9, "0.1 %"), (0.1234, "12.3 %"), (0.99999, "99.9 %"), (1, "100.0 %")],
)
def test_percent(ratio: float, text: str) -> None:
    assert percent(ratio) == text.replace(" ", "\N{NO-BREAK SPACE}")


def test_bars_stand_on_each_other() -> None:
    svg = layer_bars([LayerSkips("axial", "encode1.conv0", 12, 6, 3, 120, 60)])
    assert '<rect class="skipped" x="0" y="15.00" width="11" height="15.00"/>' in svg
    assert '<rect class="mixed" x="0" y="7.50" width="11" height="7.50"/>' in svg


def test_slice_chart_sets_slices_skipped_outright_apart(coronal_skips: ViewSkips) -> None:
    svg = slice_chart(coronal_skips)
    assert '<rect class="outright" x="1" y="0" width="1" height="100"/>' in svg
    assert 'd="M0 100V65.75H1V100.00H2V20.55H3V100z"' in svg


def test_headline(html: str) -> None:
    text = Page(html).text
    assert "71.2 % of the multiply-adds were not computed: at most 3.48 times faster." in text
    assert "mean skip ratio of 4 convolutions, as the NaN papers count62.5 %" in text
    assert "slices skipped outright1 of 3" in text


def test_schematic(html: str) -> None:
    text = Page(html).text
    assert "decode183.3 %54.8 % of the work" in text
    assert "encode166.7 %27.4 % of the work" in text
    assert "2 × 2" in text
    assert "inp_block" not in text


def test_tables(html: str) -> None:
    page = Page(html)
    assert page.row("decode1") == ["decode1", "83.3 %"]
    assert page.row("decode1.conv0") == ["decode1.conv0", "83.3 %", "8.3 %"]
    assert page.row("mean of all") == ["mean of all", "62.5 %"]
    assert page.row("by multiply-adds") == ["by multiply-adds", "71.2 %"]
    assert page.row("nansurfer") == ["nansurfer", "0.1.0"]


def test_published_figures_stand_beside(html: str) -> None:
    page = Page(html)
    assert "the conservative policy at threshold 0.5. Mean over all convolutions: here 43.8 %." in page.text
    assert ["decode1", "77.6 %", "75.0 %"] in page.rows
    assert ["decode2", "66.1 %", "–"] in page.rows


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"nan": "background", "threshold": 1.0}, "no figures for the background policy at threshold 1, in"),
        ({"nan": "off", "threshold": None}, "no figures for the off policy, in"),
    ],
)
def test_unpublished_policy(
    tiny_report: SkipReport,
    tiny_t1: nib.MGHImage,
    tiny_labels: np.ndarray,
    options: dict[str, object],
    sentence: str,
) -> None:
    report = dataclasses.replace(tiny_report, options={**tiny_report.options, **options})
    assert sentence in Page(render(report, tiny_t1, tiny_labels)).text


def test_self_contained(html: str) -> None:
    page = Page(html)
    assert page.references
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert "://" not in html
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "default-src 'none'" in html


def test_escapes(tmp_path: Path, tiny_report: SkipReport, tiny_t1: nib.MGHImage, tiny_labels: np.ndarray) -> None:
    """Names may hold anything, a byte that is no text included."""
    nasty = '</title><script>alert("1")</script>& $sid €\udce9'
    report = dataclasses.replace(
        tiny_report,
        sid=nasty,
        options={**tiny_report.options, "weights": nasty},
        versions={nasty: nasty},
        left_dense=(nasty,),
    )
    write_skip_report(tmp_path, report, tiny_t1, tiny_labels)
    page = Page((tmp_path / "skip_report.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert page.text.count('</title><script>alert("1")</script>& $sid €\ufffd') == 6
    assert json.loads((tmp_path / "skip_report.json").read_text())["sid"] == nasty


def test_layers_left_dense_are_named(tiny_report: SkipReport, tiny_t1: nib.MGHImage, tiny_labels: np.ndarray) -> None:
    report = dataclasses.replace(tiny_report, left_dense=("head.norm", "head.linear"))
    assert "computed in full: head.norm, head.linear." in Page(render(report, tiny_t1, tiny_labels)).text


def test_real_volume(data_dir: Path, tmp_path: Path, tiny_report: SkipReport) -> None:
    """Small and quick enough to be part of every run."""
    t1 = nib.MGHImage.from_filename(data_dir / "t1" / "subject-01_orig.mgz")
    labels = np.asarray(nib.load(data_dir / "labels" / "subject-01_aparc+aseg.mgz").dataobj).astype(np.int16)
    rng = np.random.default_rng(0)
    skipped = rng.integers(0, 4, (4, 256))
    template = dataclasses.replace(
        tiny_report.views[0],
        skipped=skipped,
        mixed=4 - skipped,
        windows=np.full(4, 4),
        computed=np.arange(256) > 60,
        tiles=rng.random((256, 32, 32), np.float32),
    )
    views = tuple(dataclasses.replace(template, view=view) for view in VIEWS)
    started = process_time()
    write_skip_report(tmp_path, dataclasses.replace(tiny_report, views=views), t1, labels)
    assert process_time() - started < 5
    page = tmp_path / "skip_report.html"
    assert page.stat().st_size < 1.5e6
    content = json.loads((tmp_path / "skip_report.json").read_text())
    rows = Page(page.read_text(encoding="utf-8")).rows
    for layer in content["views"][2]["layers"]:
        cells = next(row for row in rows if row[0] == layer["layer"])
        assert cells[-2:] == [f"{100 * layer[key]:.1f} %" for key in ("skip_ratio", "mixed_ratio")]
