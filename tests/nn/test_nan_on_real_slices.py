"""The compact network on a slice of a real brain: what each policy skips, and that it finds the dense labels."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nansurfer.nn import NaNPolicy, mac_skip_ratio, nanify, record_blank, skip_counts
from nansurfer.volume import thick_slices, to_view
from nansurfer.weights import load_network, resolve


@pytest.fixture(scope="module")
def x(data_dir) -> Tensor:
    """An axial thick slice through a skull-stripped brain, (1, 7, 256, 256)."""
    volume = np.asarray(nib.load(data_dir / "t1" / "subject-03_brain.mgz").dataobj).astype(np.uint8)
    slices = to_view(volume, "axial")
    middle = int(np.argmax((slices > 0).sum((0, 1))))
    return torch.from_numpy(thick_slices(slices, middle, middle + 1)) / 255.0


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return load_network(resolve("compact"), "axial")[1]


@pytest.fixture(scope="module")
def labels(network, x) -> Tensor:
    with torch.inference_mode():
        return network(x).argmax(1)


def run(network: nn.Module, x: Tensor, policy: NaNPolicy) -> tuple[Tensor, dict[str, float], float]:
    """Labels (0 where nothing was computed), skip ratio of each layer, share of multiply-adds skipped."""
    model = nanify(network, policy)
    with torch.inference_mode():
        if policy.fill == "blank":
            record_blank(model, torch.zeros_like(x))  # an empty slice
        logits = model(x)
    counts = skip_counts(model)
    labels = logits.nan_to_num(-torch.inf).argmax(1).masked_fill(logits.isnan().any(1), 0)
    return labels, {layer.name: layer.skip_ratio for layer in counts}, mac_skip_ratio(counts)


def agreement(found: Tensor, expected: Tensor) -> float:
    return (found == expected).float().mean().item()


def test_conservative_skips_the_decoder_and_keeps_the_labels(network, x, labels) -> None:
    found, skipped, macs = run(network, x, NaNPolicy("conservative"))
    assert agreement(found, labels) > 0.999
    assert all(ratio == 0 for name, ratio in skipped.items() if name.startswith(("inp_block", "encode", "bottleneck")))
    assert skipped["decode1.conv0"] > 0.5
    assert macs > 0.3


def test_aggressive_skips_the_middle_but_not_full_resolution(network, x) -> None:
    _, skipped, macs = run(network, x, NaNPolicy("aggressive"))
    assert skipped["encode2.conv0"] > 0.5
    assert all(ratio == 0 for name, ratio in skipped.items() if name.startswith(("encode1", "decode1", "outp_block")))
    assert 0.05 < macs < 0.2


def test_background_skips_most_and_blank_is_closer_than_mean(network, x, labels) -> None:
    marked = x.masked_fill((x == 0).all(1, keepdim=True), torch.nan)
    by_mean, _, _ = run(network, marked, NaNPolicy("background", threshold=1.0))
    by_blank, _, macs = run(network, marked, NaNPolicy("background", threshold=1.0, fill="blank"))
    assert macs > 0.5
    assert agreement(by_blank, labels) > max(0.97, agreement(by_mean, labels))
