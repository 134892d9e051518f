"""The skip report in a real browser: nothing is blocked or broken, on a screen and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from nansurfer.report import SkipReport, write_skip_report

pytestmark = pytest.mark.slow


@pytest.fixture
def page(tmp_path: Path, tiny_report: SkipReport, tiny_t1: nib.MGHImage, tiny_labels: np.ndarray) -> Path:
    write_skip_report(tmp_path, tiny_report, tiny_t1, tiny_labels)
    return tmp_path / "skip_report.html"


def test_dom(browse: Callable[..., str], page: Path) -> None:
    dom = browse("--dump-dom", page.as_uri())
    assert "of the multiply-adds were not computed" in dom
    assert "<strong>3.48</strong> times faster" in dom
    assert dom.count("<image ") == 3


@pytest.mark.parametrize("width", [1280, 500])
def test_screenshot(browse: Callable[..., str], page: Path, tmp_path: Path, width: int) -> None:
    """The picture is painted, and nothing sticks out to the right."""
    shot = tmp_path / "shot.png"
    browse(f"--window-size={width},3000", f"--screenshot={shot}", page.as_uri())
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels.shape == (3000, width, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert (pixels[:, -8:] == pixels[0, 0]).all()


def test_the_check_sees_what_is_blocked(browse: Callable[..., str], page: Path) -> None:
    page.write_text(page.read_text().replace("<main>", "<main><script>1</script>"))
    with pytest.raises(AssertionError):
        browse("--dump-dom", page.as_uri())
