"""A batch's page: well-formed, escaped, with the records' figures, and usable in a real browser."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nansurfer.batch import Record, page_tables
from nansurfer.batch.page import batch_page, write_page
from nansurfer.batch.tables import MEASURES, structure_columns, write_tables
from nansurfer.batch.volumes import BatchVolumes

VOID = {"meta", "input", "img"}
NOTHING = BatchVolumes([])


class Page(HTMLParser):
    """Texts, references, and table rows as lists of cells; fails on tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.outliers: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            assert tag == "td" or values.get("scope") in ("row", "col")
        if (values.get("class") or "").startswith("outlier"):
            self.outliers.append(f"{self.rows[-1][1]}: {values['class']}, {values['title']}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            text = data.replace("\N{NO-BREAK SPACE}", " ")
            self.texts.append(text)
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] += text

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def row(self, name: str) -> list[str]:
        """The first row that has such a cell."""
        return next(row for row in self.rows if name in row)


def group_row(hippocampus_mm3: float = 4000.0) -> Mapping[str, float]:
    """Each structure has 10 ml and each measure 400 ml; what the left hippocampus has less, the brain stem has more."""
    volumes = dict.fromkeys(structure_columns(), 10_000.0) | dict.fromkeys(MEASURES, 400_000.0)
    return volumes | {"Left-Hippocampus": hippocampus_mm3, "Brain-Stem": 20_000 - hippocampus_mm3}


def spread(outlier_mm3: float) -> BatchVolumes:
    """Left hippocampi of 3.6, 3.7, ... 4.4 ml in s0 to s8, and another one in s9."""
    return BatchVolumes((f"s{i}", group_row(outlier_mm3 if i == 9 else 3600 + 100 * i)) for i in range(10))


def test_headline(done: Callable[..., Record], failed: Callable[..., Record]) -> None:
    records = [
        done("a", seconds=10.0, skip_ratio=0.5, peak_memory_mb=1500),
        done("b", seconds=20.0, skip_ratio=None),
        done("c", seconds=3000.0, skip_ratio=0.7, peak_memory_mb=None),
        failed("d", seconds=700.0, host="node03"),
    ]
    text = Page(batch_page("study", records, NOTHING)).text
    assert "Batch study first start 2026-11-22 20:00 UTC last end 2026-11-22 20:00 UTC on 2 machines" in text
    assert "3 of 4 subjects are segmented, 1 failed ." in text
    assert "median time of a subject 20.0 s" in text
    assert "time of all, one after another 1 h 2 min" in text
    assert "multiply-adds skipped, mean 60.0 %" in text
    assert "largest memory of a process 1.50 GB" in text


def test_failures_come_first(done: Callable[..., Record], failed: Callable[..., Record]) -> None:
    records = [done("a"), failed("z"), failed("y", error_kind="Killed", error="Killed by signal 9.", attempts=2)]
    page = Page(batch_page("study", records, NOTHING))
    names = [row[0] or row[1] for row in page.rows]
    assert names == ["subject", "y", "z", "picture", "a"]
    assert page.row("z")[1:] == [
        "InputFormatError",
        "/data/z.mgz is damaged; copy it again.",
        "4",
        "1",
        "0.5",
        "node02",
    ]
    assert page.row("y")[1:5] == ["Killed", "Killed by signal 9./data/y.mgz", "4", "2"]


def test_subject(done: Callable[..., Record]) -> None:
    volumes = BatchVolumes([("a", group_row(hippocampus_mm3=3456.0))])
    page = Page(batch_page("study", [done("a"), done("b", skip_ratio=None, peak_memory_mb=None)], volumes))
    # 95 structures, 62 of them cortical parcels.
    figures = ["950", "620", "400", "3.46", "10.00", "10.0", "10.0", "75.0 %", "20.5", "1.30"]
    assert page.row("a") == ["", "a", *figures]
    assert page.row("b") == ["", "b", *[""] * 8, "20.5", ""]
    pictures = {f"{name}/qc/{picture}" for name in "ab" for picture in ("segmentation.png", "thumbnail.jpg")}
    assert set(page.references) == pictures | {"a/report/skip_report.html"}


@pytest.mark.parametrize(
    ("hippocampus_mm3", "marked"),
    [
        (2000, ["s9: outlier low, modified z-score -5.3"]),
        (4000, []),
        (9000, ["s9: outlier high, modified z-score +13.4"]),
    ],
)
def test_outliers(done: Callable[..., Record], hippocampus_mm3: float, marked: list[str]) -> None:
    volumes = spread(hippocampus_mm3)
    page = Page(batch_page("study", [done(f"s{i}") for i in range(10)], volumes))
    assert page.outliers == marked
    assert volumes.with_outliers() == ({"s9"} if marked else set())
    assert f"with a volume far from the others' {len(marked)} median" in page.text
    assert "beyond ±3.5 (Iglewicz and Hoaglin, 1993)" in page.text
    assert "Nothing is marked yet" not in page.text


def test_footer_says_where_a_mark_begins(done: Callable[..., Record]) -> None:
    """Left hippocampi of 3.6 to 4.4 ml and 9: the median is 4.05 and the MAD 0.25."""
    page = Page(batch_page("study", [done("s0")], spread(9000)))
    assert page.row("median")[5] == "4.05"
    assert page.row("marked below")[5] == f"{4.05 - 3.5 * 0.25 / 0.6745:.2f}"
    assert page.row("marked above")[5] == f"{4.05 + 3.5 * 0.25 / 0.6745:.2f}"
    assert page.row("median")[6] == ""  # all equal


def test_few_subjects_are_not_judged(done: Callable[..., Record]) -> None:
    volumes = BatchVolumes((f"s{i}", group_row(9e5 if i == 6 else 4000 + i)) for i in range(7))
    page = Page(batch_page("study", [done(f"s{i}") for i in range(7)], volumes))
    assert page.outliers == []
    assert "Nothing is marked yet: fewer than 8 subjects" in page.text


def test_nothing_done_and_nothing_failed(done: Callable[..., Record], failed: Callable[..., Record]) -> None:
    only_failed = Page(batch_page("study", [failed("a")], NOTHING))
    assert "0 of 1 subjects are segmented" in only_failed.text
    assert "Segmented" not in only_failed.texts
    only_done = Page(batch_page("study", [done("a")], NOTHING))
    assert "1 of 1 subjects are segmented, none failed." in only_done.text
    assert "Failed" not in only_done.texts
    assert "No subject has ended yet." in Page(batch_page("study", [], NOTHING)).text


def test_escapes(tmp_path: Path, done: Callable[..., Record], failed: Callable[..., Record]) -> None:
    """Names and sentences may hold anything, a byte that is no text included."""
    nasty = '"><script>alert("1")<!-- & $title €\udce9'
    folder = tmp_path / nasty.replace("/", "")
    folder.mkdir()
    failure = failed(nasty + "2", error=nasty, error_kind=nasty, input=nasty + "3", host=nasty)
    records = [done(nasty), failure]
    write_tables(folder, records)
    write_page(folder, records)
    html = (folder / "batch.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.tags.count("script") == 1
    shown = nasty.replace("\udce9", "\ufffd")
    assert page.row(shown)[1] == shown
    assert page.row(shown + "2")[1:3] == [shown, shown + shown + "3"]
    quoted = "%22%3E%3Cscript%3Ealert%28%221%22%29%3C%21--%20%26%20%24title%20%E2%82%AC%E9"
    assert {f"{quoted}/qc/segmentation.png", f"{quoted}/qc/thumbnail.jpg"} <= set(page.references)


def test_only_its_own_script_may_run(done: Callable[..., Record]) -> None:
    html = batch_page("study", [done("a")], NOTHING)
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in html
    assert "://" not in html


def test_of_too_many_those_with_outliers_are_listed(
    monkeypatch: pytest.MonkeyPatch, done: Callable[..., Record], failed: Callable[..., Record]
) -> None:
    monkeypatch.setattr(page_tables, "MAX_LISTED", 3)
    records = [*(done(f"s{i}") for i in range(10)), *(failed(f"f{i}") for i in range(4))]
    page = Page(batch_page("study", records, spread(9000)))
    listed = [name for row in page.rows for name in row[:2] if re.fullmatch(r"[fs]\d", name)]
    assert listed == ["f0", "f1", "f2", "s9", "s0", "s1"]
    assert "3 of 4 are listed" in page.text
    assert "3 of 10 are listed" in page.text
    assert "10 of 14 subjects are segmented" in page.text


# In a browser


@pytest.fixture
def batch(tmp_path: Path, done: Callable[..., Record], failed: Callable[..., Record]) -> Path:
    """The page of 60 subjects, of which two failed; a picture is one pixel."""
    names = [f"sub-{i}" for i in range(1, 59)]
    volumes = BatchVolumes((name, group_row(9000 if i == 29 else 3000 + 10 * i)) for i, name in enumerate(names))
    records = [done(name, skip_ratio=None if i == 0 else i / 100) for i, name in enumerate(names)]
    for name in names:
        (tmp_path / name / "qc").mkdir(parents=True)
        for picture in ("segmentation.png", "thumbnail.jpg"):
            Image.new("RGB", (1, 1)).save(tmp_path / name / "qc" / picture)
    page = tmp_path / "batch.html"
    page.write_text(batch_page("study", [*records, failed("bad-1"), failed("bad-2")], volumes), encoding="utf-8")
    return page


@pytest.fixture
def act(browse: Callable[..., str], batch: Path) -> Callable[[str], object]:
    """What JavaScript returns that acts on the page as its reader would."""
    helpers = """
        const heads = () => [...document.querySelectorAll(".subjects thead button")];
        const head = (name) => heads().find((button) => button.textContent === name);
        const names = () => [...document.querySelectorAll(".subjects tbody th")].map((cell) => cell.textContent);
        const type = (text) => { filter.value = text; filter.dispatchEvent(new Event("input")); };
        const filter = document.getElementById("filter");
        const viewer = document.getElementById("viewer");
        const caption = () => document.getElementById("caption").textContent;
        const key = (key) => viewer.dispatchEvent(new KeyboardEvent("keydown", { key }));
        const status = () => document.querySelector("#subjects [role=status]").textContent;
    """

    def run(code: str) -> object:
        driver = f"document.title = JSON.stringify((() => {{ {helpers} {code} }})());"
        html = re.sub("<meta http-equiv[^>]*>", "", batch.read_text(encoding="utf-8"))
        acted = batch.with_name("acted.html")
        acted.write_text(html.replace("</body>", f"<script>{driver}</script></body>"), encoding="utf-8")
        title = browse("--dump-dom", acted.as_uri()).partition("<title>")[2].partition("</title>")[0]
        return json.loads(title.replace("&gt;", ">").replace("&amp;", "&"))

    return run


@pytest.mark.slow
def test_pages_and_natural_order(act: Callable[[str], object]) -> None:
    code = """
        const first = names(), at = status();
        document.querySelector("#subjects .pager button:last-child").click();
        const next = names()[0];
        head("subject").click();
        return [first.length, at, next, names().slice(0, 3), document.querySelectorAll(".pager:not([hidden])").length];
    """
    # In the file, names are in the order of their characters: sub-1, sub-10, ...
    assert act(code) == [25, "1 to 25 of 58", "sub-32", ["sub-1", "sub-2", "sub-3"], 1]


@pytest.mark.slow
def test_sort(act: Callable[[str], object]) -> None:
    code = """
        const states = () => heads().map((b) => b.parentElement.getAttribute("aria-sort")).filter((s) => s !== "none");
        head("skipped").click();
        const up = [names().slice(0, 2), states()];
        head("skipped").click();
        const down = [names().slice(0, 2), states()];
        for (let i = 0; i < 3; i++) document.querySelector("#subjects .pager button:last-child").click();
        const unknown = names().at(-1);
        head("left hippocampus").click();
        return [up, down, unknown, names()[0], states()];
    """
    assert act(code) == [
        [["sub-2", "sub-3"], ["ascending"]],
        [["sub-58", "sub-57"], ["descending"]],
        "sub-1",  # of which the ratio is unknown, whichever way
        "sub-1",
        ["ascending"],
    ]


@pytest.mark.slow
def test_filter(act: Callable[[str], object]) -> None:
    code = """
        type("SUB-3");
        const found = [names().length, status(), document.querySelectorAll("#failures tbody tr").length];
        type("is damaged");
        const failures = [names().length, status(), document.querySelectorAll("#failures tbody tr").length];
        type("");
        document.getElementById("outliers").click();
        return [found, failures, names()];
    """
    assert act(code) == [[11, "1 to 11 of 11 found", 0], [0, "none found", 2], ["sub-30"]]


@pytest.mark.slow
def test_viewer(act: Callable[[str], object]) -> None:
    """Pictures are gone through by the arrow keys, on to the table's next page, in its order."""
    code = """
        head("subject").click();
        document.querySelectorAll(".thumb")[24].click();
        const seen = [viewer.open, caption()];
        key("ArrowRight");
        seen.push(caption(), names()[0]);
        for (let i = 0; i < 4; i++) key("ArrowRight");
        seen.push(caption(), document.getElementById("picture").src.split("/").slice(-3).join("/"));
        for (let i = 0; i < 90; i++) key("ArrowRight");
        seen.push(caption(), document.getElementById("next").disabled);
        return seen;
    """
    assert act(code) == [
        True,
        "sub-25 (25 of 58)",
        "sub-26 (26 of 58)",
        "sub-26",
        "sub-30 (30 of 58) · left hippocampus 9.00 far above the others",
        "sub-30/qc/segmentation.png",
        "sub-58 (58 of 58)",
        True,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])
def test_screenshot(browse: Callable[..., str], batch: Path, tmp_path: Path, width: int) -> None:
    """Nothing of the page is blocked, and nothing sticks out to the right."""
    shot = tmp_path / "shot.png"
    browse(f"--window-size={width},3000", f"--screenshot={shot}", batch.as_uri())
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels.shape == (3000, width, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert (pixels[:, -8:] == pixels[0, 0]).all()
