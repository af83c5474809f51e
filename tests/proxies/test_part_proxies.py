"""Proxies from gradients on parts of a batch, linear regions, and SynFlow with batch norm, restated by hand."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from subshot._types import Protocol, Score
from subshot.errors import OptionError
from subshot.proxies._parts import Parts, part_gradients
from subshot.proxies._prepare import prepared
from subshot.proxies._proxy import bind
from subshot.proxies._score import score
from subshot.proxies.zico import consistency

SAMPLES, CLASSES = 9, 3
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
PARTS = ["zico", "zico(parts=2)", "sigeo", "l_swag"]


class Branches(nn.Module):
    """Transposed and depthwise convolutions, a layer used twice, one that isn't used, and one that runs in vain."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.unused, self.vain = nn.Linear(2, 2), nn.Conv2d(3, 2, 1)
        self.up, self.deep = nn.ConvTranspose2d(4, 4, 2, stride=2), nn.Conv2d(4, 4, 3, groups=4, padding=1)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        self.vain(x)
        y = F.relu(self.norm(self.stem(x)))
        y = F.relu(self.deep(F.relu(self.deep(self.up(y)) + 0.1)))
        return self.head(y.mean((2, 3)))


def drawn(seed: int = 0) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Branches().double(), (
            torch.randn(SAMPLES, 3, 6, 6, dtype=torch.float64),
            torch.randint(0, CLASSES, (SAMPLES,)),
        )


def value(name: str, network: nn.Module, batch: Any, **options: Any) -> Score:
    (result,) = score(network, batch, proxies=[name], **options).values()
    return result


def by_hand(network: nn.Module, batch: tuple[Tensor, Tensor], parts: int) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses and gradients of plain backward passes on slices, (parts, *shape) for each layer."""
    size = len(batch[1]) // parts
    losses, found = [], []
    for part in range(parts):
        other = copy.deepcopy(network).train()
        cut = slice(part * size, (part + 1) * size)
        loss = F.cross_entropy(other(batch[0][cut]), batch[1][cut])
        loss.backward()
        losses.append(loss.item())
        layers = {name: module.weight.grad for name, module in other.named_modules() if isinstance(module, WEIGHTED)}
        found.append({name: gradient.numpy() for name, gradient in layers.items() if gradient is not None})
    return losses, {name: np.stack([one[name] for one in found]) for name in found[0]}


def zico_by_hand(gradients: dict[str, np.ndarray]) -> float:
    total = 0.0
    for several in gradients.values():
        rows = several.reshape(len(several), -1).T
        ratios = [np.mean(np.abs(row)) / np.std(row) for row in rows if len(set(row.tolist())) > 1]
        if sum(ratios):
            total += math.log(sum(ratios))
    return total


# --- gradients of the parts, and ZiCo --------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_are_slices_with_statistics_of_their_own(parts: int) -> None:
    network, batch = drawn()
    losses, expected = by_hand(network, batch, parts)
    with prepared(network, batch_norm="batch", keep_parameters=False):
        found = part_gradients(network, *batch, None, parts=parts)
    names = [name for name, module in network.named_modules() if isinstance(module, WEIGHTED)]
    assert found.losses == pytest.approx(tuple(losses), rel=1e-12)
    assert len(found.weights) == len(names) == len(found.gradients)
    for name, weight, gradients in zip(names, found.weights, found.gradients, strict=True):
        assert weight.data_ptr() == network.get_submodule(name).weight.data_ptr()
        assert (gradients is None) == (name in ("unused", "vain"))
        if gradients is not None:
            np.testing.assert_allclose(gradients.numpy(), expected[name], rtol=1e-9, atol=1e-15)
    assert not any(one.requires_grad for one in found.weights)


@pytest.mark.parametrize("parts", [2, 4])
def test_zico_by_hand(parts: int) -> None:
    for seed in range(3):
        network, batch = drawn(seed)
        _, gradients = by_hand(network, batch, parts)
        result = value(f"zico(parts={parts})", network, batch)
        assert result.value == pytest.approx(zico_by_hand(gradients), rel=1e-9)
        assert result.parts["layers"] == 4
        assert (result.cost.forwards, result.cost.backwards) == (1, 1)


def of(*gradients: Any) -> Parts:
    """Parts with given gradients."""
    tensors = tuple(None if one is None else torch.tensor(one) for one in gradients)
    return Parts((), tuple(torch.zeros(()) for _ in tensors), tensors)


def test_opposite_signs_count_exactly_one() -> None:
    assert consistency(of([[1.0, -2, 4], [-1, 8, -0.5]])) == (math.log(3), 1)
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1000, generator=generator)
    opposite, _ = consistency(of(torch.stack([first, -second]).tolist()))
    assert opposite == pytest.approx(math.log(1000), rel=1e-12)
    same, _ = consistency(of(torch.stack([first, second]).tolist()))
    assert same > opposite
    assert same == pytest.approx(math.log(((first + second) / (first - second).abs()).double().sum()), rel=1e-3)


def test_equal_gradients_are_left_out() -> None:
    assert consistency(of([[1.0, 0.1, 3], [-1, 0.1, 3]])) == (0, 1)  # log 1: a layer with one weight that moves
    assert consistency(of([[0.1, 0.2]] * 4, None, [[0.0], [0.0], [0.0], [0.0]])) == (0, 0)
    assert math.isnan(consistency(of([[1.0, math.nan], [2.0, 1.0]]))[0])
    assert math.isnan(consistency(of([[1.0, math.inf], [2.0, 1.0]]))[0])


def test_equal_parts_skip_every_layer() -> None:
    network, (x, labels) = drawn()
    for name, parts in (("zico(parts=2)", 2), ("zico", 4)):
        result = value(name, network, (x[:2].repeat(parts, 1, 1, 1), labels[:2].repeat(parts)))
        assert (result.value, result.parts["layers"]) == (0, 0)


def test_what_is_left_over_is_left_out() -> None:
    network, (x, labels) = drawn()
    whole, cut = (value("zico", network, (x[:n], labels[:n])) for n in (SAMPLES, 8))
    assert whole.value == cut.value
    assert value("zico(parts=2)", network, (x, labels)).value != cut.value


def test_batches_that_cannot_be_split() -> None:
    network, (x, labels) = drawn()
    for name in PARTS:
        result = value(name, network, (x[:1], labels[:1]))
        assert result.status == "not_applicable"
        assert "can't be split in" in result.reason
        assert value(name, network, (x[:4], labels[:4])).ok
    for wrong in (labels[:8], labels.repeat(2), torch.tensor(1)):
        result = value("zico", network, (x, wrong))
        assert result.status == "not_applicable"
        assert "no entry for each of 9 samples" in result.reason


def test_other_numbers_of_parts_are_refused() -> None:
    for parts in (1, 3, 8):
        with pytest.raises(OptionError, match="Use 2 or 4"):
            bind(f"zico(parts={parts})")


def test_labels_of_real_numbers_and_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.left, self.right = nn.Embedding(7, 3), nn.Linear(3, 2), nn.Linear(4, 2)

        def forward(self, ids: Tensor, dense: Tensor) -> Tensor:
            return torch.tanh(self.left(self.table(ids)) + self.right(dense))

    torch.manual_seed(1)
    network, labels = Two().double(), torch.randn(8, 2, dtype=torch.float64)
    inputs = {"dense": torch.randn(8, 4, dtype=torch.float64), "ids": torch.randint(0, 7, (8,))}
    gradients: dict[str, list[np.ndarray]] = {"left": [], "right": []}
    for part in range(4):
        cut = slice(2 * part, 2 * part + 2)
        network.zero_grad()
        F.mse_loss(network(inputs["ids"][cut], inputs["dense"][cut]), labels[cut]).backward()
        for name, several in gradients.items():
            several.append(network.get_submodule(name).weight.grad.numpy().copy())
    network.zero_grad()
    expected = zico_by_hand({name: np.stack(several) for name, several in gradients.items()})
    assert value("zico", network, (inputs, labels)).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("frozen", [False, True])
def test_weights_that_are_computed_from_others_have_gradients(frozen: bool) -> None:
    torch.manual_seed(2)
    plain = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, CLASSES)).double()
    computed = copy.deepcopy(plain)
    weight_norm(computed[0])
    computed.requires_grad_(not frozen)
    batch = (torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % CLASSES)
    for name in PARTS:
        expected, found = (value(name, network, batch) for network in (plain, computed))
        assert found.value == pytest.approx(expected.value, rel=1e-9), name
    assert all(parameter.requires_grad is not frozen for parameter in computed.parameters())


# --- SiGeo -----------------------------------------------------------------------------------------------------------


def test_sigeo_without_its_own_terms_is_zico() -> None:
    network, batch = drawn()
    found = score(network, batch, proxies="zico, sigeo(fisher_rao_weight=0.0)")
    assert found["zico"].value == found["sigeo(fisher_rao_weight=0.0)"].value


def test_the_norm_is_the_quadratic_form_of_the_summed_gradients() -> None:
    network, batch = drawn(2)
    losses, gradients = by_hand(network, batch, 4)
    flat, summed = (
        np.concatenate([one.ravel() for one in several])
        for several in (
            [network.get_submodule(name).weight.detach().numpy() for name in gradients],
            [several.sum(0) for several in gradients.values()],
        )
    )
    fisher = np.outer(summed, summed)
    norm = float(flat @ fisher @ flat)
    result = value("sigeo(zico_weight=0.5, fisher_rao_weight=50.0, loss_weight=2.0)", network, batch)
    assert result.parts["fisher_rao"] == pytest.approx(2 * math.log(math.sqrt(norm) + 1e-5), rel=1e-9)
    assert result.parts["fisher_rao"] == pytest.approx(math.log(norm), abs=1e-3)
    assert result.parts["zico"] == pytest.approx(zico_by_hand(gradients), rel=1e-9)
    assert result.parts["loss"] == pytest.approx(losses[3], rel=1e-12)
    terms = result.parts
    assert result.value == pytest.approx(0.5 * terms["zico"] + 50 * terms["fisher_rao"] - 2 * terms["loss"], rel=1e-12)
    layerwise = sum(
        abs(float((network.get_submodule(name).weight.detach().numpy() * several.sum(0)).sum()))
        for name, several in gradients.items()
    )
    assert layerwise > math.sqrt(norm)
    found = value("sigeo(reading=layers)", network, batch)
    assert found.parts["fisher_rao"] == pytest.approx(2 * math.log(layerwise + 1e-5), rel=1e-9)
    assert found.value == pytest.approx(found.parts["zico"] + found.parts["fisher_rao"], rel=1e-12)


def test_a_layer_before_batch_norm_adds_nothing_to_the_norm() -> None:
    torch.manual_seed(3)
    norm = nn.BatchNorm2d(4, eps=1e-13)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    batch = (torch.randn(8, 3, 6, 6, dtype=torch.float64), torch.arange(8) % 4)
    nothing = value("sigeo(zico_weight=0.0)", network, batch)
    assert nothing.value == pytest.approx(2 * math.log(1e-5), abs=1e-4)
    running = value("sigeo(zico_weight=0.0)", network, batch, protocol=Protocol(batch_norm="running"))
    assert running.value > nothing.value + 5


def test_weights_that_are_no_numbers_are_refused() -> None:
    for option in ("zico_weight", "fisher_rao_weight", "loss_weight"):
        with pytest.raises(OptionError, match=option):
            bind(f"sigeo({option}=nan)")


def test_the_homogeneity_of_networks_without_biases() -> None:
    # For weights between ReLUs, w * g is the product of output and its gradient in every layer.
    torch.manual_seed(4)
    network = nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False), nn.ReLU())
    network = network.append(nn.Linear(8, CLASSES, bias=False)).double()
    x, labels = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % CLASSES
    output = network(x)
    total = 0.0
    for part in range(4):
        cut = slice(2 * part, 2 * part + 2)
        (gradient,) = torch.autograd.grad(F.cross_entropy(output[cut], labels[cut]), output, retain_graph=True)
        total += float((gradient * output.detach()).sum())
    found = value("sigeo", network, (x, labels))
    assert found.parts["fisher_rao"] == pytest.approx(2 * math.log(3 * abs(total) + 1e-5), rel=1e-9)


# --- L-SWAG ----------------------------------------------------------------------------------------------------------


def steadiness(several: np.ndarray) -> float:
    rows = np.abs(several.reshape(len(several), -1).T)
    return math.log(sum(1 / np.std(row) for row in rows if len(set(row.tolist())) > 1))


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ("", ["stem", "up", "deep", "head"]),
        ("(last=0.5)", ["stem"]),  # the second and third of six layers have no gradient
        ("(first=0.5)", ["up", "deep", "head"]),
        ("(first=0.55, last=0.7)", ["up", "deep"]),  # a layer counts from where it begins to where it ends
        ("(first=0.0, last=0.1)", ["stem"]),
    ],
)
def test_l_swag_by_hand(options: str, layers: list[str]) -> None:
    network, batch = drawn()
    _, gradients = by_hand(network, batch, 4)
    result = value(f"l_swag{options}", network, batch)
    patterns = value("swap", network, batch)
    expected = sum(steadiness(gradients[name]) for name in layers)
    assert result.parts["lambda"] == pytest.approx(expected, rel=1e-9)
    assert result.parts["psi"] == patterns.value
    assert result.parts["layers"] == len(layers)
    assert result.value == pytest.approx(expected * patterns.value, rel=1e-9)


def test_shares_of_the_depth_are_not_rounded_up_to_another_layer() -> None:
    torch.manual_seed(7)
    network = nn.Sequential(*(layer for _ in range(100) for layer in (nn.Linear(2, 2), nn.ELU()))).double()
    for layer in network[::2]:
        nn.init.eye_(layer.weight)  # deep, and gradients reach the first layer
    batch = (torch.randn(8, 2, dtype=torch.float64), torch.arange(8) % 2)
    for last, layers in ((0.07, 7), (0.29, 29), (0.55, 55), (0.071, 8)):
        assert value(f"l_swag(last={last})", network, batch).parts["layers"] == layers
    assert value("l_swag(first=0.29)", network, batch).parts["layers"] == 71


def test_a_negative_gradient_term_is_told() -> None:
    network, batch = drawn()
    assert not any("negative" in warning for warning in value("l_swag", network, batch).warnings)
    steep = value("l_swag", network, batch, loss=lambda output, labels: 1e9 * F.cross_entropy(output, labels))
    assert steep.value < 0
    assert any("negative" in warning for warning in steep.warnings)


def test_where_l_swag_is_not_defined() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(108, CLASSES)).double()
    _, batch = drawn()
    assert "no activation" in value("l_swag", linear, batch).reason
    for options in ("first=-0.1", "last=1.1", "first=0.5, last=0.5"):
        with pytest.raises(OptionError, match="shares of the depth"):
            bind(f"l_swag({options})")


# --- linear regions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_regions_are_distinct_rows(specimen: Any, seed: int) -> None:
    network, inputs = specimen.draw(seed, 7)
    copies = torch.tensor([0, 1, 2, 1, 4, 2, 1])
    inputs = {key: one[copies] for key, one in inputs.items()} if isinstance(inputs, dict) else inputs[copies]
    rows = (specimen.activations(network, inputs) > 0).tolist()
    result = value("linear_regions", network, inputs)
    assert result.value == len({tuple(row) for row in rows}) <= 4
    assert result.parts["units"] == len(rows[0])
    assert not result.warnings


def test_regions_of_a_plane() -> None:
    # Three lines through a plane, in general position, make seven regions.
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 1]]))
        network[0].bias.copy_(torch.tensor([0.0, 0, -1]))
    axis = torch.linspace(-3, 3, 24)
    result = value("linear_regions", network, torch.cartesian_prod(axis, axis))
    assert (result.value, result.parts["units"], result.warnings) == (7, 3, ())


def test_a_region_for_every_sample_is_saturation() -> None:
    torch.manual_seed(5)
    network, x = nn.Sequential(nn.Linear(6, 200), nn.ReLU()), torch.randn(16, 6)
    result = value("linear_regions", network, x)
    assert result.value == 16
    assert "saturated" in result.warnings[0]
    assert value("linear_regions", network, x[:1]).warnings == ()
    assert value("linear_regions", nn.Linear(6, 2), x).status == "not_applicable"


# --- SynFlow with batch norm -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", ["batch", "running", "off"])
def test_synflow_with_batch_norm_by_hand(batch_norm: str) -> None:
    network, (x, _) = drawn()
    nn.init.normal_(network.norm.weight)
    nn.init.normal_(network.norm.bias)
    network.norm.running_mean.normal_()
    other = copy.deepcopy(network).train(batch_norm == "batch")
    if batch_norm == "off":
        other.norm = nn.Identity()
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.abs_()
    other(torch.ones(1, 3, 6, 6, dtype=torch.float64)).sum().backward()
    layers = [module.weight for module in other.modules() if isinstance(module, WEIGHTED)]
    expected = math.log(sum((w * w.grad).abs().sum().item() for w in layers if w.grad is not None))
    found = score(network, x, proxies="synflow, synflow(batch_norm=true)", protocol=Protocol(batch_norm=batch_norm))
    assert found["synflow(batch_norm=true)"].value == pytest.approx(expected, rel=1e-9)
    assert (found["synflow"].value == found["synflow(batch_norm=true)"].value) == (batch_norm == "off")


def test_batch_norm_of_a_single_value_has_no_statistics() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    found = score(network, torch.randn(8, 4), proxies="synflow, synflow(batch_norm=true)")
    assert found["synflow"].ok
    assert found["synflow(batch_norm=true)"].status == "failed"
    assert "more than 1 value per channel" in found["synflow(batch_norm=true)"].reason


# --- in company ------------------------------------------------------------------------------------------------------


class Noisy(Branches):
    """Draws numbers while it runs."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.randn_like(x))


@pytest.mark.parametrize("kind", [Branches, Noisy])
def test_values_are_the_same_alone_and_in_company(kind: type[nn.Module]) -> None:
    torch.manual_seed(6)
    network, x, labels = kind(), torch.randn(8, 3, 6, 6), torch.arange(8) % CLASSES
    names = [*PARTS, "linear_regions", "synflow(batch_norm=true)", "eigen_nas(coupled=true)", "swap"]
    alone = {name: value(name, network, (x, labels)) for name in names}
    for company in (names, names[::-1], ["snip", "swap", *names]):
        together = score(network, (x, labels), proxies=company)
        for name in names:
            found, expected = together[name], alone[name]
            assert (found.value, found.status, found.parts) == (expected.value, expected.status, expected.parts), name
    before = copy.deepcopy(network.state_dict())
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
