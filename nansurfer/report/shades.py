"""The report's one colour scale: eleven steps of one hue, from nothing skipped to all of it."""

from __future__ import annotations

STEPS = 11
Color = tuple[int, int, int]

# Lightness alone carries the meaning, so that it is read the same with any colour vision. More skipped is
# always further from the page.
_ON_WHITE: tuple[Color, Color, Color] = ((232, 240, 247), (91, 155, 208), (9, 58, 107))
_ON_BLACK: tuple[Color, Color, Color] = ((34, 46, 58), (47, 116, 173), (160, 214, 255))
_INKS: tuple[Color, Color] = ((16, 21, 26), (255, 255, 255))


def shade_class(ratio: float) -> str:
    """CSS class that shades an element by a ratio from 0 to 1."""
    return f"q{round(ratio * (STEPS - 1))}"


def shades_css(*, dark: bool) -> str:
    """The classes' colours, each with the ink that is read best on it."""
    return "\n".join(
        f".q{step} {{ --fill: {_css(fill)}; --on-fill: {_css(ink_on(fill))}; }}"
        for step, fill in enumerate(scale(dark=dark))
    )


def scale(*, dark: bool) -> list[Color]:
    """The eleven fills: straight from the low colour to the middle one, and on to the high one."""
    low, middle, high = _ON_BLACK if dark else _ON_WHITE
    half = STEPS // 2
    return [_blend(low, middle, i / half) for i in range(half)] + [
        _blend(middle, high, i / half) for i in range(half + 1)
    ]


def ink_on(fill: Color) -> Color:
    """Black or white, whichever is read better on a fill."""
    return max(_INKS, key=lambda ink: contrast(ink, fill))


def contrast(a: Color, b: Color) -> float:
    """Contrast ratio of two colours, 1 to 21, as WCAG 2.1 defines it."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Color) -> float:
    r, g, b = (c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _blend(low: Color, high: Color, share: float) -> Color:
    r, g, b = (round(a + (z - a) * share) for a, z in zip(low, high, strict=True))
    return r, g, b


def _css(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
