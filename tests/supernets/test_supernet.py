"""What every supernet promises, over all spaces that have one."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from subshot._types import Arch
from subshot.errors import ArchError, OptionError, SubshotError, UnknownNameError
from subshot.networks._macs import MacCounter
from subshot.networks._slots import Slot
from subshot.spaces._space import SPACES, get_space
from subshot.supernets._supernet import Supernettable, make_supernet, slot_number

NAMES = {"nasbench201", "darts", "nasbench_macro"}


def same(first, second):
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_every_space_with_a_supernet_is_tested_here():
    assert {name for name in SPACES if isinstance(get_space(name), Supernettable)} == NAMES


def test_a_path_computes_what_the_extracted_network_does(supernet, rng, batch):
    images, _ = batch
    with torch.no_grad():  # running statistics that are nobody's default
        for _ in range(3):
            supernet(images + rng.normal(), supernet.full_path())
    for _ in range(6):
        arch = supernet.space.sample(rng)
        for training in (False, True):
            supernet.train(training)
            alone = supernet.extract(arch)
            assert alone.training == training
            assert torch.equal(supernet(images, supernet.path(arch)), alone(images))
            # The pass in training mode has moved the running statistics of both alike.
            assert same(supernet.extract(arch), alone)


def test_an_extracted_network_is_what_the_space_builds(supernet, rng):
    arch = supernet.space.sample(rng)
    torch.manual_seed(3)
    built = supernet.space.build(arch, supernet.task, variant=supernet.variant)
    torch.manual_seed(3)
    assert same(supernet.extract(arch, with_weights=False), built)
    alone = supernet.extract(arch)
    assert str(alone) == str(built)
    assert [name for name, _ in alone.named_parameters()] == [name for name, _ in built.named_parameters()]
    assert not same(alone, built)


def test_extracting_copies_and_draws_nothing(supernet, rng):
    before = torch.get_rng_state()
    arch = supernet.space.sample(rng)
    alone = supernet.extract(arch)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        for parameter in alone.parameters():
            parameter.add_(1)
    assert not same(supernet.extract(arch), alone)


@pytest.mark.parametrize(
    "normal",
    [
        "[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2), ('dil_conv_5x5', 0), ('sep_conv_5x5', 2), "
        "('max_pool_3x3', 3), ('avg_pool_3x3', 4), ('skip_connect', 0)]",
        "[('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('none', 0), "
        "('max_pool_3x3', 2), ('none', 0), ('none', 4)]",
        "[('none', 0), ('none', 0), ('none', 0), ('none', 1), ('none', 2), ('none', 0), ('none', 1), ('none', 0)]",
    ],
    ids=["sources not in order", "equal sources and none", "nothing but none"],
)
def test_texts_that_darts_never_samples(normal, batch):
    supernet = make_supernet("darts(channels=2, layers=3)", get_space("darts").task)
    text = f"Genotype(normal={normal}, normal_concat=[2, 3, 4, 5], reduce={normal}, reduce_concat=[2, 3, 4, 5])"
    arch = supernet.space.parse(text)
    assert torch.equal(supernet(batch[0], supernet.path(arch)), supernet.extract(arch)(batch[0]))
    assert supernet.macs(supernet.path(arch)) == supernet.space.measure(arch, supernet.task).macs


def test_only_what_is_executed_runs_and_gets_gradients(supernet, rng, batch):
    images, labels = batch
    ran = set()
    for module in supernet.network.modules():
        module.register_forward_hook(lambda module, *_: ran.add(module))
    for _ in range(3):
        arch = supernet.space.sample(rng)
        path = supernet.path(arch)
        ran.clear()
        supernet.zero_grad()
        F.cross_entropy(supernet(images, path), labels).backward()
        executed = set(supernet.network.executed(path))
        assert ran <= executed
        weighted = {module for module in executed if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear))}
        assert weighted <= ran
        graded = {name for name, parameter in supernet.network.named_parameters() if parameter.grad is not None}
        alone = supernet.extract(arch)
        F.cross_entropy(alone(images), labels).backward()
        wanted = [parameter.grad for parameter in alone.parameters() if parameter.grad is not None]
        assert len(graded) == len(wanted)
        total = sum(float(p.grad.double().square().sum()) for p in supernet.parameters() if p.grad is not None)
        assert total == pytest.approx(sum(float(grad.double().square().sum()) for grad in wanted), rel=1e-4)


def test_macs_of_a_path_are_counted_without_running_it(supernet, rng, batch):
    supernet.eval()
    before = copy.deepcopy(supernet.state_dict())
    paths = [supernet.path(supernet.space.sample(rng)) for _ in range(4)] + [supernet.full_path()]
    for path in paths:
        with torch.no_grad(), MacCounter() as counter:
            supernet(batch[0][:1], path)
        assert supernet.macs(path) == counter.macs
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert not supernet.training


def gates_of(supernet, generator):
    size = sum(len(slot.names) for slot in supernet.network.slots.values())
    flat = torch.rand(size, generator=generator, dtype=torch.float64)
    return flat.requires_grad_(True)


def two_of_each(supernet, rng):
    return {
        name: tuple(rng.choice(slot.drawn, size=2, replace=False).tolist())
        for name, slot in supernet.network.slots.items()
    }


@pytest.mark.parametrize("how", ["one path", "two paths", "all paths"])
def test_gradients_of_gates_are_finite_differences(supernet, how, rng, batch):
    supernet.double()
    images, labels = batch[0].double(), batch[1]
    paths = {
        "one path": supernet.sample_path(rng),
        "two paths": two_of_each(supernet, rng),
        "all paths": supernet.full_path(),
    }
    path = paths[how]

    def loss(flat):
        return F.cross_entropy(supernet(images, path, supernet.gates(flat)), labels)

    flat = gates_of(supernet, torch.Generator().manual_seed(0))
    loss(flat).backward()
    # Pooling and ReLU have kinks, which a small step seldom meets.
    step = 1e-6
    largest = flat.grad.abs().argsort(descending=True)[:3].tolist()
    for index in largest + rng.integers(len(flat), size=5).tolist():
        with torch.no_grad():
            shift = torch.zeros_like(flat)
            shift[index] = step
            numeric = (loss(flat + shift) - loss(flat - shift)) / (2 * step)
        assert float(flat.grad[index]) == pytest.approx(float(numeric), rel=1e-4, abs=1e-7)
    assert float(flat.grad.abs().max()) > 1e-4


def test_gates_of_what_is_not_executed_have_no_gradient(supernet, rng, batch):
    path = supernet.sample_path(rng)
    flat = gates_of(supernet, torch.Generator().manual_seed(0)).detach().float().requires_grad_(True)
    F.cross_entropy(supernet(batch[0], path, supernet.gates(flat)), batch[1]).backward()
    for name, grad in supernet.gates(flat.grad).items():
        idle = [number for number in range(len(grad)) if number not in path.get(name, ())]
        assert not grad[idle].any()


def test_a_hard_gate_beside_a_second_path_changes_no_value(supernet, rng, batch):
    arch = supernet.space.sample(rng)
    path = {name: chosen for name, chosen in supernet.path(arch).items() if len(chosen) == 1}
    gates = {name: torch.zeros(len(supernet.network.slots[name].names)) for name in path}
    wider = {}
    for name, (chosen,) in path.items():
        gates[name][chosen] = 1
        wider[name] = (chosen, next(number for number in supernet.network.slots[name].drawn if number != chosen))
    supernet.eval()
    torch.testing.assert_close(supernet(batch[0], wider, gates), supernet(batch[0], path), rtol=0, atol=0)


def test_without_gates_outputs_are_summed():
    slot = Slot("here", {"twice": nn.Linear(1, 1, bias=False), "none": None, "same": nn.Identity()})
    nn.init.constant_(slot.operations["twice"].weight, 2.0)
    x = torch.tensor([[3.0]])
    assert slot(x, {"here": (0, 1, 2)}).item() == 9
    assert slot(x, {"here": (0, 2)}, {"here": torch.tensor([0.5, 7.0, 10.0])}).item() == 33
    assert slot(x, {"here": (1,)}) is None
    assert slot(x, {}) is None


class Halves(nn.Module):
    """Partial channels: half of the map goes past the operations, with a weight of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, slot, x, chosen, gates):
        through = slot.operation(chosen[0])(x)
        half = x.shape[1] // 2
        return torch.cat([through[:, :half], self.scale * x[:, half:]], dim=1)


def test_a_mix_can_be_replaced(cells, batch):
    path = dict.fromkeys(cells.options, (3,))
    before = cells(batch[0], path)
    parameters = len(list(cells.parameters()))
    cells.set_mix(Halves())
    after = cells(batch[0], path)
    assert not torch.equal(before, after)
    after.sum().backward()
    assert len(list(cells.parameters())) == parameters + 1
    assert cells.network.slots["0_to_1"].mix.scale.grad is not None


def test_a_frozen_slot_is_settled_for_samplers(supernet, rng):
    name, slot = next(iter(supernet.network.slots.items()))
    settled = slot.drawn[-1]
    supernet.freeze(name, settled)
    assert supernet.options[name] == supernet.full_path()[name] == (settled,)
    for _ in range(20):
        assert supernet.sample_path(rng).get(name, (settled,)) == (settled,)
    with pytest.raises(OptionError, match="execute operation 99"):
        supernet.freeze(name, 99)
    with pytest.raises(OptionError, match="no slot 'nowhere'"):
        supernet.freeze("nowhere", 0)


def test_weights_that_fit_are_taken_over_and_the_rest_is_named(cells):
    other = make_supernet("nasbench201(channels=2, cells=2)", cells.task, seed=5)
    wider = make_supernet("nasbench201(channels=4, cells=1)", cells.task, seed=5)
    found = cells.load_compatible(other)
    assert set(found.taken) == set(cells.network.state_dict())
    assert found.unknown
    assert all("cell_1" in name for name in found.unknown)
    assert not found.misfits
    assert not found.untouched
    theirs = other.network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in cells.network.state_dict().items())
    before = copy.deepcopy(cells.network.state_dict())
    found = cells.load_compatible(wider)
    assert "stem.conv.weight" in found.misfits
    assert set(found.misfits) == set(found.untouched)
    assert all(torch.equal(cells.network.state_dict()[name], before[name]) for name in found.misfits)
    partly = cells.load_compatible({"stem.conv.weight": torch.zeros(2, 3, 3, 3), "extra": torch.zeros(1)})
    assert partly.taken == ("stem.conv.weight",)
    assert partly.unknown == ("extra",)
    assert not cells.network.stem.conv.weight.any()


def test_weights_depend_on_the_seed_alone(supernet):
    torch.manual_seed(77)
    state = torch.get_rng_state()
    again, other = (
        make_supernet(supernet.space, supernet.task, variant=supernet.variant, seed=seed) for seed in (0, 1)
    )
    assert same(again, supernet)
    assert not same(other, supernet)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_supernet_can_be_copied_and_sent(supernet, rng, batch):
    path = supernet.sample_path(rng)
    expected = supernet.eval()(batch[0], path)
    for twin in (copy.deepcopy(supernet), pickle.loads(pickle.dumps(supernet))):  # noqa: S301 - our own bytes
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.mul_(2)
        assert not torch.equal(twin(batch[0], path), expected)
        assert torch.equal(supernet(batch[0], path), expected)
        assert twin.network.slots.keys() == supernet.network.slots.keys()
        assert all(slot in set(twin.network.modules()) for slot in twin.network.slots.values())


@pytest.mark.parametrize(
    ("path", "message"),
    [({"9_to_9": (0,)}, "no slot '9_to_9'"), ({"0_to_1": (5,)}, "operation 5"), ({"0_to_1": (-1,)}, "operation -1")],
)
def test_a_path_to_nowhere_is_refused(cells, batch, path, message):
    with pytest.raises(OptionError, match=message):
        cells(batch[0], path)


def test_a_layer_must_do_something(batch):
    supernet = make_supernet("nasbench_macro(channels=2, features=4)")
    path = supernet.full_path()
    del path["stage_1.layer_2"]
    with pytest.raises(OptionError, match=r"nothing in slot stage_1\.layer_2"):
        supernet(batch[0], path)


def test_errors_name_what_there_is(cells):
    with pytest.raises(OptionError, match="nasbench101 has no supernet"):
        make_supernet("nasbench101")
    with pytest.raises(SubshotError, match="no variant of nasbench201 named 'wide'"):
        make_supernet("nasbench201", variant="wide")
    with pytest.raises(ArchError):
        cells.path(Arch("darts", (0,)))
    with pytest.raises(ArchError):
        cells.extract(Arch("nasbench201", (9,) * 6))
    assert slot_number(cells, "0_to_3", "nor_conv_3x3") == 3
    with pytest.raises(UnknownNameError, match="Did you mean 'nor_conv_3x3'"):
        slot_number(cells, "0_to_3", "conv_3x3")
    with pytest.raises(UnknownNameError, match="no slot"):
        slot_number(cells, "0_to_4", "none")
