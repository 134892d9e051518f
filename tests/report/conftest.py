"""A skip report that is small enough to be worked out by hand."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest

from nansurfer.report import SkipReport, ViewSkips

_LIA = np.array([[-1.0, 0, 0, 8], [0, 0, 1, -8], [0, -1, 0, 8], [0, 0, 0, 1]])


@pytest.fixture
def coronal_skips() -> ViewSkips:
    """Four convolutions, three slices; the second was skipped outright, whatever its entries say."""
    return ViewSkips(
        view="coronal",
        layers=("encode1.conv0", "bottleneck.conv0", "decode1.conv0", "classifier.conv"),
        macs_per_window=np.array([10, 6, 20, 5]),
        windows=np.array([4, 1, 4, 4]),
        skipped=np.array([[1, 0, 3], [0, 0, 1], [2, 0, 4], [0, 0, 0]]),
        mixed=np.array([[2, 9, 1], [1, 9, 0], [1, 9, 0], [0, 9, 0]]),
        computed=np.array([True, False, True]),
        tiles=np.array([[[0.0, 0.5], [0, 1]], [[0, 0], [0, 0]], [[1, 1], [0, 1]]], np.float32),
    )


@pytest.fixture
def options() -> dict[str, Any]:
    return {"nan": "conservative", "threshold": 0.5, "fill": "mean", "margin": None, "paper_compat": True}


@pytest.fixture
def tiny_report(coronal_skips: ViewSkips, options: dict[str, Any]) -> SkipReport:
    """A report of `coronal_skips` alone."""
    return SkipReport(
        sid="sub-01",
        versions={"nansurfer": "0.1.0"},
        options=options,
        views=(coronal_skips,),
        bookkeeping={"counting_s": 2.0, "memory_mb": 3.0},
        left_dense=(),
        engine="reference",
    )


@pytest.fixture
def tiny_t1() -> nib.MGHImage:
    """A bright block in the middle of three coronal slices."""
    data = np.zeros((16, 16, 3), np.uint8)
    data[4:12, 4:12] = 120
    return nib.MGHImage(data, _LIA)


@pytest.fixture
def tiny_labels(tiny_t1: nib.MGHImage) -> np.ndarray:
    """The block as left white matter."""
    return np.where(np.asarray(tiny_t1.dataobj) > 0, 2, 0).astype(np.int16)
