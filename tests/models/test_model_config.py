"""Model configurations: what is in the package, and what is refused."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict

import pytest

from nansurfer.errors import ConfigError
from nansurfer.models import config_from_dict, load_config

GOOD = asdict(load_config("vinn"))


@pytest.mark.parametrize(
    ("name", "architecture", "filters", "interpolation_filters", "kernel_size"),
    [
        ("vinn", "FastSurferVINN", 71, 32, 3),
        ("vinn-compact", "FastSurferVINN", 24, 16, 3),
        ("cnn", "FastSurferCNN", 64, None, 5),
    ],
)
def test_known_models(name, architecture, filters, interpolation_filters, kernel_size) -> None:
    config = load_config(name)
    assert config.name == name
    assert (config.architecture, config.filters) == (architecture, filters)
    assert (config.interpolation_filters, config.kernel_size) == (interpolation_filters, kernel_size)
    assert (config.slices, config.base_size) == (7, 256)


@pytest.mark.parametrize("name", ["vinn", "vinn-compact", "cnn"])
def test_views_are_added_in_fastsurfers_order_with_its_weights(name) -> None:
    views = load_config(name).views
    assert [(view, v.classes, v.weight) for view, v in views.items()] == [
        ("coronal", 79, 0.4),
        ("sagittal", 51, 0.2),
        ("axial", 79, 0.4),
    ]


def test_configurations_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        load_config("vinn").filters = 3  # type: ignore[misc]


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="no model configuration 'resnet'; known are cnn, vinn, vinn-compact"):
        load_config("resnet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 3}, "x.yaml has unknown keys: depth"),
        ({"filters": ...}, "x.yaml has missing keys: filters"),
        ({"architecture": "UNet"}, "Unknown architecture 'UNet'"),
        ({"interpolation_filters": None}, "FastSurferVINN needs a number"),
        ({"kernel_size": 4}, "kernel_size is 4 in model 'vinn'; it must be odd"),
        ({"slices": 6}, "slices is 6 in model 'vinn'; it must be odd"),
        ({"views": {}}, "has views"),
        ({"views": {"oblique": {"classes": 79, "weight": 1}}}, "has views .*oblique"),
        ({"views": {"axial": {"classes": 79}}}, "x.yaml: axial has missing keys: weight"),
        ({"views": {"axial": 79}}, "x.yaml: axial should hold keys and values, but holds int"),
        ({"views": ...}, "x.yaml: views should hold keys and values, but holds NoneType"),
    ],
)
def test_mistakes_are_named(change, message) -> None:
    content = {key: value for key, value in (GOOD | change).items() if value is not ...}
    with pytest.raises(ConfigError, match=message):
        config_from_dict(content, "x.yaml")


def test_a_list_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match="holds list"):
        config_from_dict([1, 2], "x.yaml")
