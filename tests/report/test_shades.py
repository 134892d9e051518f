"""The report's colours can be read."""

from __future__ import annotations

import pytest

from nansurfer.report.shades import contrast, ink_on, scale, shade_class, shades_css

PAGES = {False: (255, 255, 255), True: (17, 21, 24)}


def test_contrast_as_wcag_gives_it() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_read_on_every_shade(dark: bool) -> None:
    assert min(contrast(ink_on(fill), fill) for fill in scale(dark=dark)) >= 4.5  # WCAG's level AA


@pytest.mark.parametrize("dark", [False, True])
def test_more_skipped_is_further_from_the_page(dark: bool) -> None:
    distances = [contrast(fill, PAGES[dark]) for fill in scale(dark=dark)]
    assert distances == sorted(set(distances))


@pytest.mark.parametrize(("ratio", "name"), [(0, "q0"), (0.04, "q0"), (0.06, "q1"), (0.5, "q5"), (1, "q10")])
def test_class_of_a_ratio(ratio: float, name: str) -> None:
    assert shade_class(ratio) == name
    assert f".{name} {{" in shades_css(dark=False)
