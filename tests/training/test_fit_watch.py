"""What a training does besides lowering a loss: averages, looks, patience, teachers, precision; all of it resumable."""

import numpy as np
import pytest
import torch
from torch import nn

from subshot.errors import OptionError, StudyError
from subshot.training._fit import Watch, fit
from subshot.training._objective import judge
from subshot.training._recipe import Recipe
from subshot.training._samples import Order, Samples

RICH = Recipe(
    optimiser="adamw",
    lr=0.02,
    batch_size=8,
    decay_vectors=False,
    augment="flip_crop",
    cutout=0.5,
    mixup=0.3,
    label_smoothing=0.1,
    ema=0.9,
)


def make():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 3)]
        return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def samples():
    """Forty images whose class is their brightest channel."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 3
    images = rng.normal(size=(40, 3, 8, 8)).astype(np.float32)
    images[np.arange(40), labels] += 1
    return Samples("bright", "d1", labels, images.__getitem__)


@pytest.fixture(scope="module")
def watched(samples):
    return samples.part(np.arange(10))


def equal(first, second):
    ours, theirs = first.state_dict(), second.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("stop_at", [3, 5, 11])
def test_all_of_it_is_resumed_bit_for_bit(samples, watched, tmp_path, stop_at):
    teacher = make()
    recipe = Recipe(**{**vars(RICH), "distillation": 0.3})
    watch = Watch(watched, 4)
    options = {"recipe": recipe, "steps": 12, "seed": 3, "watch": watch, "teacher": teacher}
    whole, broken, resumed = make(), make(), make()
    unbroken = fit(whole, samples, **options)

    def stop(state):
        if state.step == stop_at:
            raise KeyboardInterrupt

    file = tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(broken, samples, **options, checkpoint=file, every=2, on_step=stop)
    found = fit(resumed, samples, **options, checkpoint=file, every=2)
    assert found.resumed_at == stop_at - stop_at % 2
    assert equal(resumed, whole)
    assert (found.losses, found.looks, found.best) == (unbroken.losses, unbroken.looks, unbroken.best)
    again = make()
    assert fit(again, samples, **options, checkpoint=file).resumed_at == 12
    assert equal(again, whole)
    assert teacher.training
    other = {**options, "watch": Watch(watched, 4, patience=9)}
    with pytest.raises(StudyError, match="differ in watch"):
        fit(make(), samples, **other, checkpoint=file)


def test_the_average_follows_the_weights_by_the_rule(samples):
    recipe = Recipe(lr=0.05, batch_size=8, ema=0.5)
    states, network = [], make()
    own = {name: value.clone() for name, value in network.state_dict().items()}

    def note(state):
        if state.step:
            states.append({name: value.clone() for name, value in network.state_dict().items()})

    fit(network, samples, recipe=recipe, steps=6, seed=0, on_step=note)
    for step, state in enumerate(states, start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        for name in own:
            floating = own[name].is_floating_point()
            own[name] = decay * own[name] + (1 - decay) * state[name] if floating else state[name]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, own[name])


def test_the_best_weights_are_kept(samples, watched):
    network = make()
    # A rate that ruins what was learnt at first.
    recipe = Recipe(lr=1.0, batch_size=8, clip=None, ramp=0.99, momentum=0.0)
    found = fit(network, samples, recipe=recipe, steps=12, seed=0, watch=Watch(watched, 3))
    assert [look.step for look in found.looks] == [3, 6, 9, 12]
    assert found.best.value == max(look.value for look in found.looks)
    assert judge(network, watched, loss="cross_entropy") == (found.best.loss, found.best.value)


def test_patience_ends_it_and_a_resumed_run_too(samples, watched, tmp_path):
    # Nothing changes, so nothing gets better after the first look.
    recipe = Recipe(lr=1e-30, batch_size=8, momentum=0.0, weight_decay=0.0)
    options = {"recipe": recipe, "steps": 40, "seed": 0, "watch": Watch(watched, 2, patience=3)}
    file = tmp_path / "fit.safetensors"
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    first = fit(network, samples, **options, checkpoint=file, every=100)
    assert (first.state.step, len(first.looks), first.best.step) == (8, 4, 2)
    assert fit(make(), samples, **options, checkpoint=file).state.step == 8


def test_a_teacher_and_its_share_come_together(samples):
    with pytest.raises(OptionError, match="no teacher"):
        fit(make(), samples, recipe=Recipe(batch_size=8, distillation=0.5), steps=1, seed=0)
    with pytest.raises(OptionError, match="a teacher"):
        fit(make(), samples, recipe=Recipe(batch_size=8), steps=1, seed=0, teacher=make())


def test_a_student_learns_from_a_teacher_alone(samples):
    teacher, student = make(), make()
    fit(teacher, samples, recipe=Recipe(lr=0.1, batch_size=20), steps=40, seed=0)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.05)
    wrong = Samples("wrong", "d2", np.zeros(40, dtype=np.int64), samples.inputs_of)
    recipe = Recipe(lr=0.1, batch_size=20, distillation=1.0)
    fit(student, wrong, recipe=recipe, steps=40, seed=0, teacher=teacher)
    assert judge(student, samples, loss="cross_entropy")[1] > 0.8


def test_vectors_are_left_alone_by_the_decay(samples):
    recipe = Recipe(lr=0.1, batch_size=8, weight_decay=0.5, decay_vectors=False)
    groups = recipe.make_optimiser(make().parameters()).param_groups
    assert [(group["weight_decay"], {one.dim() > 1 for one in group["params"]}) for group in groups] == [
        (0.5, {True}),
        (0.0, {False}),
    ]


def test_adamw_is_torchs(samples):
    recipe = Recipe(optimiser="adamw", lr=0.01, weight_decay=0.3, schedule="constant", clip=None, batch_size=8)
    ours, theirs = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    theirs.load_state_dict(ours.state_dict())
    fit(ours, samples, recipe=recipe, steps=3, seed=1)
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.3)
    order = Order(40, batch_size=8, seed=1)
    for step in range(3):
        inputs, labels = samples.take(order.at(step))
        optimiser.zero_grad()
        nn.functional.cross_entropy(theirs(inputs), labels).backward()
        optimiser.step()
    for first, second in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(first, second)


def test_a_regression_is_trained():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(64, 5)).astype(np.float32)
    values = (inputs @ np.array([1.0, -2.0, 0.5, 0.0, 3.0], dtype=np.float32))[:, None] + 1
    data = Samples("line", "d3", values.astype(np.float32), inputs.__getitem__)
    network = nn.Linear(5, 1)
    recipe = Recipe(lr=0.1, batch_size=16, weight_decay=0.0)
    fit(network, data, recipe=recipe, steps=150, seed=0, loss="mse", watch=Watch(data, 50))
    assert judge(network, data, loss="mse")[1] < 1e-3


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
)
def test_mixed_precision_ends_near_the_full_one(samples, device):
    found = {}
    for precision in ("full", "mixed"):
        recipe = Recipe(lr=0.05, batch_size=20, precision=precision)
        network = make().to(device)
        fitted = fit(network, samples, recipe=recipe, steps=10, seed=0)
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
        found[precision] = fitted.losses
    assert found["mixed"] != found["full"]
    assert found["mixed"] == pytest.approx(found["full"], abs=0.1)


@pytest.mark.parametrize(
    "setting",
    [
        {"cutout": 1.5},
        {"mixup": -1.0},
        {"label_smoothing": 1.0},
        {"ema": 1.0},
        {"distillation": 1.1},
        {"temperature": 0.0},
        {"precision": "half"},
    ],
    ids=str,
)
def test_settings_out_of_range(setting):
    with pytest.raises(OptionError, match=f"^{next(iter(setting))} was given as"):
        Recipe(**setting)
