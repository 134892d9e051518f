"""Runs of a few steps on a tiny atlas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nansurfer.models import build_model, load_config
from nansurfer.weights import save_network


@pytest.fixture
def recipe(train):
    """One coronal slice of 32 x 32 a step."""
    return train.Recipe("vinn-compact", "coronal", 60.0, 1, 1, 32, 4e-3, 1e-4, "float32", "batch", seed=5)


@pytest.fixture
def started(train, atlas, monkeypatch):
    """Starts a run of a recipe, at the same share of its budget in each step however long a step takes."""
    monkeypatch.setattr(train, "load_atlas", lambda data, device: atlas)
    monkeypatch.setattr(train.Run, "spent", 0.1)
    return lambda recipe: train.Run(recipe, Path(), torch.device("cpu"))


def weights(run) -> torch.Tensor:
    """Averaged and current weights in one row."""
    return torch.cat([value.double().flatten() for value in run.state()["averaged"].values()] + [
        value.detach().double().flatten() for value in run.network.parameters()
    ])  # fmt: skip


def test_a_run_that_was_interrupted_ends_like_one_that_was_not(train, started, recipe, tmp_path) -> None:
    whole = started(recipe)
    losses = [whole.train_step() for _ in range(4)]
    first = started(recipe)
    assert [first.train_step() for _ in range(2)] == losses[:2]
    train.save(first, tmp_path)
    second = started(recipe)
    second.restore(torch.load(tmp_path / train.CHECKPOINT, weights_only=True))
    assert [second.train_step() for _ in range(2)] == losses[2:]
    assert second.step == 4
    assert weights(second).equal(weights(whole))


def test_a_checkpoint_of_another_recipe_is_refused(started, recipe) -> None:
    other = started(replace(recipe, minutes=90.0))
    with pytest.raises(SystemExit, match=r"'minutes': 60.0.*another --out"):
        other.restore(started(recipe).state())


@pytest.mark.parametrize("view", ["sagittal", "all"])
def test_a_run_of_another_view_takes_over_what_was_learnt(train, started, recipe, tmp_path, view) -> None:
    former = started(recipe)
    former.train_step()
    train.save(former, tmp_path)
    run = started(replace(recipe, view=view))
    run.start_from(tmp_path)
    before, after = former.averaged.state_dict(), run.network.state_dict()
    shared = [name for name in before if not name.startswith("classifier")]
    assert all(after[name].equal(before[name]) for name in shared)
    rows = train.FIRST_FULL_CLASS if view == "sagittal" else slice(None)
    assert after["classifier.conv.weight"].equal(before["classifier.conv.weight"][rows])
    assert torch.isfinite(torch.tensor(run.train_step()))


@pytest.mark.parametrize(("view", "exported"), [("all", "coronal"), ("sagittal", "sagittal")])
def test_a_run_goes_on_from_exported_weights(train, started, recipe, tmp_path, view, exported) -> None:
    network = build_model(load_config(recipe.model), exported)
    save_network(network, tmp_path / f"{exported}.safetensors", model=recipe.model, view=exported)
    run = started(replace(recipe, view=view))
    run.start_from(tmp_path)
    train.undo_class_weights(run.network.classifier.conv.bias, run.loss.weights)  # as the next export does
    for name, value in run.network.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[name])


def test_frozen_norms_need_statistics(train, started, monkeypatch, tmp_path) -> None:
    options = "--data d --view axial --minutes 1 --size 32 --norms frozen --out"
    monkeypatch.setattr("sys.argv", ["train.py", *options.split(), str(tmp_path)])
    with pytest.raises(SystemExit, match="needs --init"):
        train.main()


def test_weights_that_are_not_there_are_one_sentence(train, started, monkeypatch, tmp_path) -> None:
    options = f"--data d --view axial --minutes 1 --size 32 --init {tmp_path} --out"
    monkeypatch.setattr("sys.argv", ["train.py", *options.split(), str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"axial\.safetensors cannot be read"):
        train.main()
    assert not (tmp_path / "out").exists()


def test_frozen_norms_keep_their_statistics_and_learn_the_rest(started, recipe) -> None:
    run = started(replace(recipe, norms="frozen"))
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.train_step()
    changed = {name for name, value in run.network.state_dict().items() if not value.equal(before[name])}
    assert not any("running" in name for name in changed)
    assert {"encode1.conv0.weight", "encode1.bn1.weight", "encode1.prelu.weight"} <= changed


def test_a_sagittal_network_is_taken_over_by_both_sides(train) -> None:
    rows = train._map_classes(torch.arange(51)[:, None], 79)
    assert rows.flatten().tolist() == list(train.SAGITTAL_TO_FULL)
    assert train._map_classes(rows, 51).flatten().tolist() == list(range(51))


@pytest.mark.slow
def test_the_loss_falls(started, recipe) -> None:
    run = started(replace(recipe, size=64, slabs=3))  # one slab may hold nothing but background, which is learnt late
    losses = [run.train_step() for _ in range(50)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_bfloat16_loses_about_the_same_and_keeps_float32_weights(started, recipe) -> None:
    exact, rounded = started(recipe), started(replace(recipe, precision="bfloat16"))
    assert rounded.train_step() == pytest.approx(exact.train_step(), rel=0.02)
    assert {value.dtype for value in rounded.network.parameters()} == {torch.float32}


def test_averaged_weights_follow_the_weights(train, started, recipe) -> None:
    run = started(recipe)
    name = "classifier.conv.bias"
    start = run.averaged.state_dict()[name].clone()
    run.train_step()
    decay = 2 / 11  # (1 + step) / (10 + step)
    expected = decay * start + (1 - decay) * run.network.state_dict()[name]
    torch.testing.assert_close(run.averaged.state_dict()[name], expected)


def test_the_learning_rate_warms_up_and_falls(train) -> None:
    assert [round(train._schedule(spent), 3) for spent in (0.0, 0.02, 0.51, 1.0)] == [0.05, 1.0, 0.505, 0.01]
