import json
from dataclasses import replace

import pytest
import torch

from subshot._types import TaskSpec
from subshot.data import images_from_arrays
from subshot.errors import DataError, NetworkError, OptionError, StudyError, UnknownNameError
from subshot.supernets._supernet import make_supernet
from subshot.supernets.samplers import PATH_SAMPLERS
from subshot.supernets.warm_up import WarmUp, warm_up
from subshot.training._recipe import Recipe

RECIPE = Recipe(batch_size=16, lr=0.05)
PLAN = WarmUp(samples=160, recipe=RECIPE)


def weights(supernet):
    return {name: value.clone() for name, value in supernet.network.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def killed_at(step):
    def on_step(state):
        if state.step == step:
            raise Killed

    return on_step


@pytest.mark.parametrize(
    ("budget", "steps"), [({"share": 0.5}, 3), ({"samples": 48}, 3), ({"samples": 63}, 3), ({"share": 2.0}, 12)]
)
def test_the_budget_is_in_whole_batches(cells, data, budget, steps):
    seen = []
    done = warm_up(cells, data, plan=WarmUp(**budget, recipe=RECIPE), on_step=seen.append)
    assert done.steps == done.passes == len(done.losses) == steps
    assert done.samples == 16 * steps
    assert [state.step for state in seen] == list(range(steps + 1))


@pytest.mark.parametrize("budget", [{"share": 0.1}, {"samples": 15}])
def test_less_than_a_batch_is_an_error_that_names_the_minimum(cells, data, budget):
    with pytest.raises(OptionError, match=r"less than one batch of 16\. Give at least 16 samples, a share of 0\.167"):
        warm_up(cells, data, plan=WarmUp(**budget, recipe=RECIPE))


def test_the_named_minimum_is_enough(cells, data):
    assert warm_up(cells, data, plan=WarmUp(share=0.167, recipe=RECIPE)).steps == 1


@pytest.mark.parametrize(
    "budget", [{}, {"share": 0.1, "samples": 5}, {"share": 0.0}, {"samples": -1}, {"share": float("nan")}]
)
def test_budgets_that_are_none(budget):
    with pytest.raises(OptionError):
        WarmUp(**budget)


def test_cost_is_recorded_in_samples_passes_and_macs(cells, data):
    done = warm_up(cells, data, plan=replace(PLAN, sampler="strictly_fair"))
    assert (done.steps, done.samples, done.passes) == (10, 160, 50)
    # Every operation runs once in the five passes of a step, and what surrounds the cells five times.
    fixed = cells.macs({})
    assert done.macs == 160 * (5 * fixed + (cells.macs(cells.full_path()) - fixed))
    assert done.seconds > 0
    assert done.weights == f"warm:{done.digest}"
    assert json.loads(json.dumps(done.to_dict()))["settings"]["sampler"] == "strictly_fair"


def test_it_learns(data):
    cells = make_supernet("nasbench201(channels=4, cells=1)", TaskSpec.images(3, 8, 8, classes=4))
    path = dict.fromkeys(cells.options, (3,))
    done = warm_up(cells, data, plan=WarmUp(share=8, recipe=replace(RECIPE, lr=0.2)))
    assert done.loss < 0.6 * done.losses[0]
    accuracy = (cells(data[0], path).argmax(dim=1) == data[1]).float().mean()
    assert accuracy > 0.6


@pytest.mark.parametrize("sampler", PATH_SAMPLERS.names())
@pytest.mark.parametrize("kill", [1, 5])
def test_killed_and_resumed_it_ends_with_the_same_weights(cells, data, tmp_path, sampler, kill):
    plan = replace(PLAN, samples=96, sampler=sampler, seed=3)
    whole = warm_up(cells, data, plan=plan)
    expected = weights(cells)
    file = tmp_path / "run" / "warm.safetensors"
    with pytest.raises(Killed):
        warm_up(
            make_supernet(cells.space, cells.task), data, plan=plan, checkpoint=file, every=2, on_step=killed_at(kill)
        )
    assert file.exists() == (kill > 1)
    resumed = make_supernet(cells.space, cells.task)
    torch.manual_seed(123)
    done = warm_up(resumed, data, plan=plan, checkpoint=file, every=2)
    assert equal(weights(resumed), expected)
    assert replace(done, seconds=0) == replace(whole, seconds=0)


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adagrad"])
def test_the_optimisers_moments_are_resumed(cells, data, tmp_path, optimiser):
    plan = replace(PLAN, recipe=replace(RECIPE, optimiser=optimiser, lr=0.01, ramp=0.3, augment="flip_crop"))
    warm_up(cells, data, plan=plan)
    file = tmp_path / "warm.safetensors"
    with pytest.raises(Killed):
        warm_up(make_supernet(cells.space, cells.task), data, plan=plan, checkpoint=file, every=3, on_step=killed_at(7))
    resumed = make_supernet(cells.space, cells.task)
    warm_up(resumed, data, plan=plan, checkpoint=file)
    assert equal(weights(resumed), weights(cells))


def test_killed_while_a_checkpoint_is_written_the_old_one_is_there(cells, data, tmp_path, monkeypatch):
    from subshot.training import _tensors

    warm_up(cells, data, plan=PLAN)
    file = tmp_path / "warm.safetensors"
    real, calls = _tensors.save_file, []

    def save_file(tensors, path, metadata):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half a file")
            raise Killed
        real(tensors, path, metadata)

    monkeypatch.setattr(_tensors, "save_file", save_file)
    with pytest.raises(Killed):
        warm_up(make_supernet(cells.space, cells.task), data, plan=PLAN, checkpoint=file, every=3)
    monkeypatch.undo()
    resumed = make_supernet(cells.space, cells.task)
    steps = []
    warm_up(resumed, data, plan=PLAN, checkpoint=file, every=3, on_step=lambda state: steps.append(state.step))
    assert steps[0] == 3
    assert equal(weights(resumed), weights(cells))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_finished_checkpoint_is_only_read(cells, data, tmp_path):
    file = tmp_path / "warm.safetensors"
    first = warm_up(cells, data, plan=PLAN, checkpoint=file)
    again = make_supernet(cells.space, cells.task)
    assert warm_up(again, data, plan=PLAN, checkpoint=file) == first
    assert equal(weights(again), weights(cells))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": 1}, "seed"),
        ({"samples": 176}, "steps"),
        ({"sampler": "sandwich"}, "sampler"),
        ({"recipe": replace(RECIPE, lr=0.1)}, "recipe"),
        ({"images": 64}, "images"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(cells, data, tmp_path, change, word):
    file = tmp_path / "warm.safetensors"
    warm_up(cells, data, plan=PLAN, checkpoint=file)
    fresh = make_supernet(cells.space, cells.task)
    with pytest.raises(StudyError, match=f"another run; they differ in {word}"):
        warm_up(fresh, data, plan=replace(PLAN, **change), checkpoint=file)


def test_other_data_and_other_initial_weights_are_another_run(cells, data, tmp_path):
    file = tmp_path / "warm.safetensors"
    warm_up(cells, data, plan=PLAN, checkpoint=file)
    with pytest.raises(StudyError, match="differ in data digest"):
        warm_up(make_supernet(cells.space, cells.task), (data[0] + 1, data[1]), plan=PLAN, checkpoint=file)
    with pytest.raises(StudyError, match="differ in initial weights"):
        warm_up(make_supernet(cells.space, cells.task, seed=1), data, plan=PLAN, checkpoint=file)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(cells, data):
    others = [make_supernet(cells.space, cells.task) for _ in range(2)]
    first = warm_up(cells, data, plan=PLAN)
    torch.rand(5)
    assert warm_up(others[0], data, plan=PLAN).digest == first.digest
    assert warm_up(others[1], data, plan=replace(PLAN, seed=1)).digest != first.digest


def test_paths_that_were_not_drawn_keep_their_weights(cells, data):
    cells.freeze("0_to_1", 2)
    before = weights(cells)
    warm_up(cells, data, plan=PLAN)
    idle = [name for name in before if "0_to_1" in name and "nor_conv_1x1" not in name]
    used = [name for name in before if "0_to_1" in name and "nor_conv_1x1.conv" in name]
    after = weights(cells)
    assert idle
    assert all(torch.equal(before[name], after[name]) for name in idle)
    assert not any(torch.equal(before[name], after[name]) for name in used)


def test_several_operations_of_a_slot_are_averaged(cells, data):
    # One full-path step from known weights, by hand.
    twin = make_supernet(cells.space, cells.task)
    recipe = Recipe(batch_size=96, lr=0.1, momentum=0.0, weight_decay=0.0, clip=None, schedule="constant")
    warm_up(cells, data, plan=WarmUp(samples=96, sampler="full_path_mix", recipe=recipe))
    gates = {name: torch.full((5,), 0.2) for name in twin.options}
    loss = torch.nn.functional.cross_entropy(twin(data[0], twin.full_path(), gates), data[1])
    loss.backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter -= 0.1 * parameter.grad
    for name, value in twin.network.named_parameters():
        torch.testing.assert_close(value, dict(cells.network.named_parameters())[name], rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_ends_it(cells, data):
    with pytest.raises(NetworkError, match=r"The loss of the warm-up was nan at step \d+ of 10. Lower"):
        warm_up(cells, (data[0] * 1e30, data[1]), plan=replace(PLAN, recipe=replace(RECIPE, lr=1e30, clip=None)))


def test_images_are_brought_to_the_size_of_the_task(data):
    pixels = torch.rand(64, 12, 12, 1).mul(255).to(torch.uint8).numpy()
    images = images_from_arrays(pixels, data[1][:64].numpy())
    supernet = make_supernet("nasbench201(channels=2, cells=1)", images.task(8))
    assert warm_up(supernet, images, plan=WarmUp(share=1.0, recipe=RECIPE)).steps == 4


def test_data_that_does_not_fit(cells, data):
    with pytest.raises(DataError, match="no labels"):
        warm_up(cells, (data[0], None), plan=PLAN)
    with pytest.raises(DataError, match=r"shape \(3, 4, 8\)"):
        warm_up(cells, (data[0][:, :, :4], data[1]), plan=PLAN)
    with pytest.raises(DataError, match="label 3, and the network has 2 outputs"):
        warm_up(make_supernet(cells.space, TaskSpec.images(3, 8, 8, classes=2)), data, plan=PLAN)
    with pytest.raises(DataError, match="A list was given"):
        warm_up(cells, [1, 2], plan=PLAN)
    with pytest.raises(UnknownNameError, match="no path sampler"):
        WarmUp(share=0.1, sampler="nobodys")
    with pytest.raises(OptionError, match="loss is 'none'"):
        warm_up(make_supernet(cells.space, replace(cells.task, loss="none")), data, plan=PLAN)
