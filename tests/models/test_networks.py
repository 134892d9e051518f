"""FastSurfer's networks: names, sizes and what they compute."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nansurfer.errors import ConfigError
from nansurfer.models import ViewConfig, build_model, load_config
from nansurfer.models.blocks import DecoderBlock, DenseBlock, EncoderBlock, Entry

TINY = replace(load_config("vinn"), filters=2, interpolation_filters=3)
TINY_CNN = replace(load_config("cnn"), filters=2)


def n_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("view", "expected"), [("coronal", 1_854_632), ("sagittal", 1_852_616)])
def test_vinn_has_fastsurfers_size(view, expected) -> None:
    network = build_model(load_config("vinn"), view)
    assert n_parameters(network) == expected
    assert len(network.state_dict()) == 331


def test_cnn_has_fastsurfers_size() -> None:
    network = build_model(load_config("cnn"), "axial")
    assert len(network.state_dict()) == 268
    assert network.state_dict()["encode2.conv0.weight"].shape == (64, 64, 5, 5)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("inp_block.bn0.weight", (7,)),
        ("inp_block.conv0.weight", (32, 7, 3, 3)),
        ("inp_block.gn4.running_var", (32,)),
        ("encode1.bn0.weight", (32,)),
        ("encode1.conv0.weight", (71, 32, 3, 3)),
        ("encode4.bn4.num_batches_tracked", ()),
        ("bottleneck.prelu.weight", (1,)),
        ("decode1.conv3.bias", (71,)),
        ("outp_block.conv0.weight", (71, 103, 3, 3)),
        ("outp_block.gn1.weight", (71,)),
        ("classifier.conv.weight", (79, 71, 1, 1)),
    ],
)
def test_tensors_carry_fastsurfers_names(name, shape) -> None:
    assert build_model(load_config("vinn"), "coronal").state_dict()[name].shape == shape


@pytest.mark.parametrize("name", ["outp_block.bn0.weight", "encode2.bn0.weight", "inp_block.bn1.weight"])
def test_and_no_others(name) -> None:
    assert name not in build_model(load_config("vinn"), "coronal").state_dict()


@pytest.mark.parametrize(("size", "scale"), [(256, 1.0), (320, 1.25), (285, 1.0 / 0.9)])
def test_logits_have_the_size_of_the_slices(size, scale) -> None:
    network = build_model(TINY, "sagittal").eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 7, size, size), (scale, scale)).shape == (1, 51, size, size)


def test_a_networks_slices_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    network = build_model(TINY, "axial").eval()
    x = torch.rand(3, 7, 256, 256)
    with torch.inference_mode():
        together = network(x)
        alone = torch.cat([network(part) for part in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_cnn_refuses_other_voxel_sizes() -> None:
    network = build_model(TINY_CNN, "coronal").eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 7, 32, 48)).shape == (1, 79, 32, 48)
    with pytest.raises(ConfigError, match=r"1 mm voxels, not 0\.8 mm; use --vox-size 1"):
        network(torch.rand(1, 7, 32, 48), (1.25, 1.25))


def test_the_number_of_classes_is_the_views() -> None:
    config = replace(TINY, views={"axial": ViewConfig(classes=5, weight=1.0)})
    with torch.inference_mode():
        assert build_model(config, "axial").eval()(torch.rand(1, 7, 256, 256)).shape[1] == 5


def dense_block(entry: Entry) -> DenseBlock:
    """One channel, whose convolutions pass on what they get and whose norms add 1, 10, 100 and 1000."""
    block = DenseBlock(1, 1, 3, entry).eval()
    with torch.no_grad():
        block.prelu.weight.fill_(0.5)
        for index in range(4):
            conv, norm = (block.get_submodule(name) for name in block.stage_names(index))
            conv.weight.copy_(torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]]))
            conv.bias.zero_()
            norm.eps = 0.0
            norm.bias.fill_(10.0**index)
        if entry is Entry.NORMALISE:
            block.bn0.eps = 0.0
            block.bn0.bias.fill_(2.0)
    return block


# x = -4000. Its PReLU is -2000, the first stage gives -1999, the second 0.5 * (-1999) + 10 = -989.5 (or, against
# the larger competitor, the same), the third -494.75 + 100 = -394.75, the last -197.375 + 1000.
# With bn0, x + 2 = -3998 enters; no PReLU: -3997, then -1988.5, -894.25, -447.125 + 1000.
@pytest.mark.parametrize(
    ("entry", "expected"), [(Entry.ACTIVATE, 802.625), (Entry.COMPETE, 802.625), (Entry.NORMALISE, 552.875)]
)
def test_order_of_the_stages(entry, expected) -> None:
    with torch.inference_mode():
        assert dense_block(entry)(torch.full((1, 1, 1, 1), -4000.0)).item() == expected


def test_only_a_competing_input_takes_part_in_the_first_maxout() -> None:
    x = torch.full((1, 1, 1, 1), 8.0)
    competing, activated = dense_block(Entry.COMPETE), dense_block(Entry.ACTIVATE)
    with torch.inference_mode():
        for block in (competing, activated):
            block.bn1.bias.fill_(-5.0)  # the first stage gives 3, less than the input's 8
        assert competing(x).item() == 8 + 10 + 100 + 1000
        assert activated(x).item() == 3 + 10 + 100 + 1000


def test_encoder_keeps_the_places_of_the_maxima() -> None:
    block = EncoderBlock(1, 1, 3).eval()
    with torch.inference_mode():
        pooled, skip, indices = block(torch.randn(1, 1, 4, 4))
    assert pooled.shape == indices.shape == (1, 1, 2, 2)
    assert torch.equal(skip.flatten()[indices.flatten()], pooled.flatten())


def test_decoder_puts_maxima_back_and_competes_with_the_skip() -> None:
    block = DecoderBlock(1, 3)
    seen = []
    block.prelu.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    skip = torch.tensor([[[[1.0, -1.0], [-1.0, 7.0]]]])
    with torch.inference_mode():
        block.eval()(torch.tensor([[[[5.0]]]]), skip, torch.tensor([[[[3]]]]))
    assert seen[0].tolist() == [[[[1.0, 0.0], [0.0, 7.0]]]]  # zeros, where nothing was the maximum
