"""The widened network: FastSurfer's size, the small network's logits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from nansurfer.models import load_config
from nansurfer.weights import load_network, resolve

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks" / "widen.py"


def test_the_wide_network_computes_the_same() -> None:
    spec = importlib.util.spec_from_file_location("widen", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    small = load_network(resolve("compact"), "sagittal")[1].eval()
    wide = script.widen(small, "sagittal")
    assert wide.classifier.conv.in_channels == load_config("vinn").filters == 71
    x = torch.rand(1, 7, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(wide(x, (1.0, 1.0)), small(x, (1.0, 1.0)), rtol=0, atol=1e-3)
