import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from subshot._types import TaskSpec
from subshot.errors import OptionError
from subshot.training._augment import flip_crop
from subshot.training._fit import Pass, fit, loss_named
from subshot.training._recipe import Recipe
from subshot.training._samples import Order, samples_from
from subshot.training._tensors import digest_tensors, read_tensors, write_tensors

TASK = TaskSpec.images(3, 4, 4, classes=3)


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 3, 4, 4, generator=generator)
    return samples_from((images, torch.randint(3, (40,), generator=generator)), TASK)


def make(dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def equal(first, second):
    return all(map(torch.equal, first.parameters(), second.parameters()))


@given(
    count=st.integers(2, 60),
    size=st.integers(1, 20),
    seed=st.integers(0, 5),
    keep_last=st.booleans(),
    step=st.integers(0, 100),
)
def test_an_epoch_shows_each_sample_at_most_once_and_steps_need_no_order(count, size, seed, keep_last, step):
    if size > count:
        with pytest.raises(OptionError, match=f"Batches of {size}"):
            Order(count, batch_size=size, seed=seed)
        return
    order = Order(count, batch_size=size, seed=seed, keep_last=keep_last)
    late = order.at(step).tolist()
    seen = [int(index) for number in range(order.steps_per_epoch) for index in order.at(number)]
    assert len(seen) == len(set(seen))
    left = count % size
    assert count - len(seen) == (0 if left == 0 or (keep_last and left > 1) else left)
    assert (
        order.at(step).tolist()
        == late
        == Order(count, batch_size=size, seed=seed, keep_last=keep_last).at(step).tolist()
    )


def test_epochs_differ_and_a_subset_stays_the_same():
    order = Order(50, batch_size=10, seed=0, images=20)
    epochs = [np.concatenate([order.at(2 * epoch), order.at(2 * epoch + 1)]) for epoch in range(3)]
    assert not np.array_equal(epochs[0], epochs[1])
    assert set(epochs[0]) == set(epochs[1]) == set(epochs[2]) == set(order.chosen.tolist())
    assert set(order.chosen) != set(Order(50, batch_size=10, seed=1, images=20).chosen)


def test_the_cosine_is_torchs(samples):
    recipe = Recipe(lr=0.3)
    optimiser = recipe.make_optimiser(make().parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 20)
    for step in range(20):
        assert recipe.lr_at(step, 20) == pytest.approx(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()


def test_the_rate_rises_first():
    recipe = Recipe(lr=1.0, schedule="constant", ramp=0.4)
    assert [recipe.lr_at(step, 10) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "setting",
    [
        {"optimiser": "lion"},
        {"schedule": "steps"},
        {"augment": "mixup"},
        {"lr": 0.0},
        {"lr": float("inf")},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"ramp": 1.0},
        {"clip": 0.0},
        {"batch_size": 0},
        {"momentum": 0.0, "nesterov": True},
    ],
    ids=str,
)
def test_settings_out_of_range(setting):
    with pytest.raises(OptionError, match=f"^{list(setting)[-1]} was given as"):
        Recipe(**setting)


def test_a_run_is_what_a_plain_loop_does(samples):
    recipe = Recipe(lr=0.1, momentum=0.5, nesterov=True, weight_decay=0.01, clip=0.7, batch_size=8)
    ours, theirs = make(), make()
    found = fit(ours, samples, recipe=recipe, steps=12, seed=4)
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.5, nesterov=True, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 12)
    order, losses = Order(40, batch_size=8, seed=4), []
    for step in range(12):
        inputs, labels = samples.take(order.at(step))
        optimiser.zero_grad()
        loss = F.cross_entropy(theirs(inputs), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.7)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    for first, second in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(first, second)
    assert found.losses == pytest.approx(losses)
    assert (found.state.samples, found.state.passes, found.state.macs) == (96, 12, 96 * (48 * 16 + 16 * 3))


def test_gradients_of_several_passes_are_summed(samples):
    recipe = Recipe(lr=0.1, momentum=0.0, weight_decay=0.0, clip=None, schedule="constant", batch_size=8)
    twice, double = make(), make()
    fit(twice, samples, recipe=recipe, steps=3, seed=0, passes=lambda step: [Pass(twice, 1.0), Pass(twice, 2.0)])
    found = fit(double, samples, recipe=Recipe(**{**vars(recipe), "lr": 0.2}), steps=3, seed=0)
    for first, second in zip(twice.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(first, second)
    assert len(found.losses) == 3


def test_dropout_is_resumed_bit_for_bit(samples, tmp_path):
    recipe = Recipe(batch_size=8, augment="flip_crop")
    whole, broken = make(0.5), make(0.5)
    fit(whole, samples, recipe=recipe, steps=9, seed=1)
    plain = make(0.5)
    fit(plain.eval(), samples, recipe=Recipe(batch_size=8), steps=9, seed=1)
    assert not plain.training
    assert not equal(plain, whole)

    def stop(state):
        if state.step == 5:
            raise KeyboardInterrupt

    file = tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(broken, samples, recipe=recipe, steps=9, seed=1, checkpoint=file, every=4, on_step=stop)
    resumed = make(0.5)
    torch.rand(7)
    found = fit(resumed, samples, recipe=recipe, steps=9, seed=1, checkpoint=file)
    assert found.resumed_at == 4
    assert equal(resumed, whole)


def test_torchs_random_state_is_put_back(samples):
    before = torch.get_rng_state()
    fit(make(0.5), samples, recipe=Recipe(batch_size=8), steps=2, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_are_flipped_and_shifted():
    images = torch.arange(2 * 64.0).reshape(2, 1, 8, 8).repeat(50, 1, 1, 1) + 1
    changed = flip_crop(images, np.random.default_rng(0))
    assert changed.shape == images.shape
    flipped = shifted = 0
    for before, after in zip(images[:, 0], changed[:, 0], strict=True):
        inner = after[1:-1, 1:-1]  # a shift by one pixel leaves these
        steps = (inner[:, 1:] - inner[:, :-1]).unique().tolist()
        assert steps in ([1.0], [-1.0])
        flipped += steps == [-1.0]
        shifted += float(inner[0].min()) != float(before[1, 1:-1].min())
    assert 30 < flipped < 70
    assert shifted > 50


def test_there_is_no_such_loss():
    with pytest.raises(OptionError, match="loss is 'l1'"):
        loss_named("l1")


def test_digests_see_names_types_shapes_and_values():
    tensor = torch.arange(6.0)
    digests = {
        digest_tensors(tensors)
        for tensors in (
            {"a": tensor},
            {"b": tensor},
            {"a": tensor.double()},
            {"a": tensor.reshape(2, 3)},
            {"a": tensor + 1},
        )
    }
    assert len(digests) == 5
    assert digest_tensors({"a": tensor, "b": tensor}) == digest_tensors({"b": tensor.clone(), "a": tensor})
    assert digest_tensors({"a": tensor.reshape(2, 3).T}) == digest_tensors({"a": tensor.reshape(2, 3).T.contiguous()})
    assert len(digest_tensors({"count": torch.tensor(3)})) == 16


def test_tensors_that_share_memory_are_written(tmp_path):
    tensor = torch.arange(6.0)
    write_tensors(tmp_path / "file", {"a": tensor, "b": tensor.reshape(2, 3).T}, {"n": 1})
    tensors, header = read_tensors(tmp_path / "file")
    assert header == {"n": 1}
    assert torch.equal(tensors["b"], tensor.reshape(2, 3).T)


def test_the_network_given_is_trained_in_place(samples):
    network = make()
    before = copy.deepcopy(network)
    fit(network, samples, recipe=Recipe(batch_size=8), steps=1, seed=0)
    assert not equal(network, before)
