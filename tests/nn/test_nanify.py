"""Whole networks: plain U-Nets, a classifier, MONAI's, FastSurferVINN."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nansurfer.errors import ConfigError
from nansurfer.models import build_model, load_config
from nansurfer.nn import (
    NaNConv2d,
    NaNConv3d,
    NaNMaxPool2d,
    NaNMaxUnpool2d,
    NaNPolicy,
    left_dense,
    nanify,
    skip_counts,
)

POLICIES = {mode: NaNPolicy(mode, threshold=0.6) for mode in ("off", "aggressive", "conservative", "background")}


class PlainUNet(nn.Module):
    """One level, pooled with indices, unpooled, joined by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.PReLU())
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.bottom = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.unpool = nn.MaxUnpool2d(2)
        self.decode = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.encode(x)
        pooled, indices = self.pool(features)
        return self.decode(torch.cat((self.unpool(self.bottom(pooled), indices), features), 1))


class SmallClassifier(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.GroupNorm(2, 6),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 3),
        )


class TransposedUNet3d(nn.Module):
    """In 3D, and with layers that have no NaN version."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.InstanceNorm3d(3), nn.LeakyReLU())
        self.pool = nn.MaxPool3d(2)
        self.up = nn.ConvTranspose3d(3, 3, 2, stride=2)
        self.last = nn.Conv3d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return self.last(torch.cat((self.up(self.pool(x)), x), 1))


def vinn() -> nn.Module:
    config = replace(load_config("vinn"), filters=6, interpolation_filters=4, base_size=64)
    return build_model(config, "axial")


MODELS = {
    "unet": (PlainUNet, (1, 16, 12)),
    "classifier": (SmallClassifier, (1, 8, 8)),
    "3d": (TransposedUNet3d, (1, 8, 6, 4)),
    "vinn": (vinn, (7, 64, 64)),
}


def make(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    build, shape = MODELS[name]
    return build().eval(), shape


def half_empty(batch: int, shape: tuple[int, ...], background: float = 0.0) -> Tensor:
    """Noise in one half, each sample's larger than the one before."""
    x = torch.full((batch, *shape), background)
    for sample in range(batch):
        width = (shape[-1] + 2 * sample) // 2
        x[sample, ..., :width] = torch.rand(*shape[:-1], width, generator=torch.Generator().manual_seed(sample))
    return x


def worst_input(mode: str, batch: int, shape: tuple[int, ...]) -> Tensor:
    return half_empty(batch, shape, torch.nan if mode == "background" else 0.0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mode", POLICIES)
def test_state_dicts_are_interchangeable(name, mode) -> None:
    model, _ = make(name)
    nan_model = nanify(model, POLICIES[mode])
    nan_model.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(nan_model.state_dict(), strict=True)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mode", ["off", "background"])
def test_without_nan_the_output_is_the_same_to_the_bit(name, mode) -> None:
    model, shape = make(name)
    x = half_empty(2, shape)
    with torch.inference_mode():
        assert torch.equal(nanify(model, POLICIES[mode])(x), model(x))


@pytest.mark.parametrize("name", ["unet", "3d", "vinn"])  # the classifier pools behind a ReLU, whose zeros tie
@pytest.mark.parametrize("mode", ["aggressive", "conservative"])
def test_without_ties_the_output_is_the_same(name, mode) -> None:
    model, shape = make(name)
    model, x = model.double(), torch.rand(1, *shape).double()
    policy = NaNPolicy(mode, rtol=0, atol=0)
    with torch.inference_mode():
        nan_model = nanify(model, policy)
        found = nan_model(x)
    assert all(layer.mixed_ratio == layer.skip_ratio == 0 for layer in skip_counts(nan_model))
    assert torch.equal(found, model(x))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mode", POLICIES)
def test_no_sample_sees_another(name, mode) -> None:
    model, shape = make(name)
    nan_model = nanify(model.double(), POLICIES[mode])
    x = worst_input(mode, 3, shape).double()
    with torch.inference_mode():
        together = nan_model(x)
        for order in ([2, 0, 1], [1]):
            alone = nan_model(x[order])
            torch.testing.assert_close(alone, together[order], rtol=1e-9, atol=1e-9, equal_nan=True)


def test_background_is_skipped_and_the_rest_is_close_to_the_dense_run() -> None:
    """What lies farther from the background than the network sees is computed as ever."""
    model, _ = make("unet")
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    dense = model(x)
    x[..., :12] = torch.nan
    output = nanify(model, NaNPolicy("background"))(x)
    assert output[..., :10].isnan().all()
    assert not output[..., 12:].isnan().any()
    torch.testing.assert_close(output[..., 22:], dense[..., 22:])


def test_the_model_itself_is_left_alone() -> None:
    model, _ = make("unet")
    before = [type(module) for module in model.modules()]
    nan_model = nanify(model, POLICIES["aggressive"])
    assert [type(module) for module in model.modules()] == before
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert nan_model.decode.weight is not model.decode.weight


def test_layers_are_found_wherever_they_are() -> None:
    shared = nn.Conv2d(1, 1, 1)
    model = nn.ModuleDict(
        {"deep": nn.ModuleList([nn.Sequential(shared)]), "again": shared, "volume": nn.Conv3d(1, 1, 1)}
    )
    nan_model = nanify(model, POLICIES["aggressive"])
    assert type(nan_model["again"]) is NaNConv2d
    assert nan_model["deep"][0][0] is nan_model["again"]
    assert type(nan_model["volume"]) is NaNConv3d
    assert type(nanify(shared, POLICIES["aggressive"])) is NaNConv2d


def test_off_swaps_convolutions_only() -> None:
    model, _ = make("unet")
    kinds = {type(module) for module in nanify(model, POLICIES["off"]).modules()}
    assert NaNConv2d in kinds
    assert nn.MaxPool2d in kinds
    assert not kinds & {NaNMaxPool2d, NaNMaxUnpool2d}


@pytest.mark.parametrize("model", [nn.Linear(1, 1), nanify(nn.Conv2d(1, 1, 1), NaNPolicy("off"))])
def test_nothing_to_swap(model) -> None:
    with pytest.raises(ConfigError, match="no layer"):
        nanify(model, POLICIES["aggressive"])


def test_what_stays_dense_is_listed_and_logged(caplog) -> None:
    model, _ = make("3d")
    with caplog.at_level(logging.INFO, "nansurfer"):
        nan_model = nanify(model, POLICIES["background"])
    assert left_dense(nan_model) == ["down.1", "up"]
    assert "down.1, up" in caplog.text
    assert left_dense(nanify(make("vinn")[0], POLICIES["background"])) == []


def test_batch_norm_is_dense_while_it_trains() -> None:
    model = nanify(make("unet")[0], POLICIES["background"])
    assert left_dense(model) == []
    assert left_dense(model.train()) == ["encode.1", "bottom.1"]


class Subclass(nn.Conv2d):
    """Might do anything in its forward."""


DENSE = [
    Subclass(2, 2, 3, padding=1),
    nn.ConvTranspose2d(2, 2, 2, stride=2),
    nn.InstanceNorm2d(2),
    nn.GroupNorm(1, 2),
    nn.LayerNorm(4),
    nn.AvgPool2d(2),
    nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveMaxPool2d(1),
    nn.LPPool2d(2, 2),
    nn.Upsample(scale_factor=2, mode="bilinear"),
    nn.BatchNorm2d(2, track_running_stats=False),
    nn.BatchNorm2d(2),
    nn.Linear(4, 3),
]


@pytest.mark.parametrize("layer", DENSE, ids=str)
def test_dense_layers_see_means_for_nan(layer) -> None:
    model = nanify(nn.Sequential(nn.Conv2d(1, 1, 1), layer), POLICIES["background"])[1].train()
    x = torch.tensor([[[1.0, 2, 3, torch.nan]] * 4, [[torch.nan] * 4] * 4]).expand(2, 2, 4, 4).contiguous()
    filled = torch.tensor([[[1.0, 2, 3, 2]] * 4, [[0.0] * 4] * 4]).expand(2, 2, 4, 4)
    torch.testing.assert_close(model(x), layer.train()(filled))


def test_dense_layer_of_features_takes_each_samples_mean() -> None:
    model = nanify(nn.ModuleList([nn.Conv2d(1, 1, 1), nn.Linear(3, 1, bias=False)]), POLICIES["background"])
    nn.init.ones_(model[1].weight)
    x = torch.tensor([[1.0, 5, torch.nan], [1, 1, 1], [torch.nan] * 3])
    assert model[1](x).flatten().tolist() == [9, 3, 0]
    assert model[1](input=x).flatten().tolist() == [9, 3, 0]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mode", ["aggressive", "conservative", "background"])
@pytest.mark.parametrize("training", [True, False])
def test_training_step_has_finite_gradients(name, mode, training) -> None:
    model, shape = make(name)
    nan_model = nanify(model, POLICIES[mode]).train(training)
    output = nan_model(worst_input(mode, 2, shape))
    F.softplus(output[~output.isnan()]).sum().backward()
    gradients = {path: p.grad for path, p in nan_model.named_parameters() if p.grad is not None}
    assert len(gradients) > len(list(model.parameters())) / 2
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("mode", ["aggressive", "conservative", "background"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(mode, dtype) -> None:
    model, shape = make("unet")
    x = worst_input(mode, 2, shape).to(dtype)
    output = nanify(model.to(dtype), POLICIES[mode])(x)
    assert output.dtype == dtype
    assert not output.isinf().any()
    assert not output.isnan().all()


def test_vinn_deals_with_an_empty_image() -> None:
    model, shape = make("vinn")
    output = nanify(model, NaNPolicy("background"))(torch.full((1, *shape), torch.nan))
    assert output.isnan().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mode", POLICIES)
def test_cuda_gives_the_cpus_output(name, mode) -> None:
    model, shape = make(name)
    model, x = nanify(model.double(), POLICIES[mode]), worst_input(mode, 2, shape).double()
    with torch.inference_mode():
        expected = model(x)
        found = model.cuda()(x.cuda())
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-9, equal_nan=True)
    assert all(layer.skipped[0] == layer.skipped[2] for layer in skip_counts(model))


@pytest.mark.parametrize("mode", ["aggressive", "background"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("upsample", ["deconv", "nontrainable"])
@pytest.mark.filterwarnings("ignore")  # MONAI's own imports warn
def test_monais_unet(mode, dims, upsample) -> None:
    nets = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(0)
    model = nets.BasicUNet(dims, 1, 2, features=(4, 4, 8, 8, 8, 4), upsample=upsample).eval()
    shape = (1, *(32,) * dims)
    dense, nan_model = model(half_empty(1, shape)), nanify(model, POLICIES[mode])
    output = nan_model(worst_input(mode, 1, shape))
    assert output.shape == dense.shape
    assert not output.isnan().all()
    assert any("upsample" in name for name in left_dense(nan_model))
    assert skip_counts(nan_model)[0].skip_ratio > 0 or mode == "aggressive"
