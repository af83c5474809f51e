"""Proxies from the loss's gradient against masks, loops and finite differences that owe nothing to the library."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm

from subshot._seeds import stable_seed
from subshot._types import Protocol
from subshot.networks.initialisation import Initialiser
from subshot.proxies._evidence import look
from subshot.proxies._prepare import prepared
from subshot.proxies._proxy import Need
from subshot.proxies._score import score

SAMPLES, CLASSES = 6, 4
LABELLED = ["grad_norm", "plain", "snip", "grasp", "fisher"]


class Tokens(nn.Module):
    """Linear layers on tokens, sequences first or samples first, positions from a table."""

    def __init__(self, *, samples_first: bool) -> None:
        super().__init__()
        self.samples_first = samples_first
        self.embed, self.positions = nn.Embedding(11, 5), nn.Embedding(7, 5)
        self.mix, self.head = nn.Linear(5, 8), nn.Linear(8, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.positions(torch.arange(ids.shape[1]))
        if self.samples_first:
            return self.head(torch.tanh(self.mix(x))).mean(1)
        return self.head(torch.tanh(self.mix(x.transpose(0, 1)))).mean(0)


class Twice(nn.Module):
    """A convolution and a linear layer that run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.mix, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.softplus(self.conv(F.softplus(self.conv(self.stem(x)))))
        x = self.norm(x).mean((2, 3))
        return self.head(torch.tanh(self.mix(torch.tanh(self.mix(x)))))


class Windows(nn.Module):
    """A convolution on four windows of each image, folded into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 5, 3, padding=1), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        windows = x.unfold(2, 3, 3).unfold(3, 3, 3).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 3, 3)
        return self.head(torch.tanh(self.conv(windows)).mean((2, 3)).reshape(len(x), 4, 5).sum(1))


def convolutional(*, norms: bool = True) -> nn.Module:
    """Strides, groups, biases, norms and smooth activations."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6) if norms else nn.Identity(),
        nn.GELU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.SiLU(),
        nn.Conv2d(6, 5, 2, stride=2),
        nn.GroupNorm(1, 5) if norms else nn.Identity(),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, CLASSES),
    )


def images(samples: int = SAMPLES) -> Tensor:
    return torch.randn(samples, 3, 6, 6, dtype=torch.float64)


def features(samples: int = SAMPLES) -> Tensor:
    return torch.randn(samples, 5, dtype=torch.float64)


def ids(samples: int = SAMPLES) -> Tensor:
    return torch.randint(0, 11, (samples, 7))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "convolutional": (convolutional, images),
    "one-dimensional": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 3, 2), nn.Tanh(), nn.ConvTranspose1d(3, 2, 3), nn.Flatten(),
            nn.Linear(12, CLASSES),
        ),
        features,
    ),
    "perceptron": (lambda: nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, CLASSES, bias=False)), features),
    "tokens": (lambda: Tokens(samples_first=True), ids),
    "tokens first": (lambda: Tokens(samples_first=False), ids),
    "layers used twice": (Twice, images),
    "windows": (Windows, images),
}  # fmt: skip


@pytest.fixture(params=sorted(NETWORKS))
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor, Tensor]:
    """Each network in double precision, with a batch and labels."""
    make, batch = NETWORKS[request.param]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make().double(), batch(), torch.randint(0, CLASSES, (SAMPLES,))


def value(network: nn.Module, inputs: Tensor, labels: Tensor, name: str, **options: object) -> float:
    result = score(network, (inputs, labels), proxies=[name], **options)[name]  # type: ignore[arg-type]
    assert result.ok, result.reason
    return result.value


def weighted(network: nn.Module) -> dict[str, nn.Module]:
    """Layers whose weights count."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.Linear)
    return {name: module for name, module in network.named_modules() if isinstance(module, kinds)}


def twin(network: nn.Module) -> nn.Module:
    """A copy that normalises by the batch."""
    return copy.deepcopy(network).train()


def gradients(network: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The loss's gradient by a plain backward pass on a copy."""
    other = twin(network)
    F.cross_entropy(other(inputs), labels).backward()
    return {name: layer.weight.grad.clone() for name, layer in weighted(other).items()}


# --- grad_norm, snip, plain ------------------------------------------------------------------------------------------


def test_grad_norm_sums_the_norms_of_layers(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    found = gradients(*case)
    by_hand = sum(math.sqrt(sum(g * g for g in gradient.flatten().tolist())) for gradient in found.values())
    assert value(*case, "grad_norm") == pytest.approx(by_hand, rel=1e-12)


def test_snip_and_plain_are_the_gradients_of_a_mask_of_ones(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, inputs, labels = case
    other = twin(network)
    masks = {name: torch.ones_like(layer.weight).requires_grad_() for name, layer in weighted(other).items()}
    masked = {f"{name}.weight": masks[name] * layer.weight.detach() for name, layer in weighted(other).items()}
    F.cross_entropy(functional_call(other, masked, inputs), labels).backward()
    at_masks = torch.cat([mask.grad.flatten() for mask in masks.values()])
    assert value(*case, "snip") == pytest.approx(at_masks.abs().sum().item(), rel=1e-12)
    assert value(*case, "plain") == pytest.approx(at_masks.sum().item(), rel=1e-9, abs=1e-14)


def test_plain_is_the_derivative_of_the_loss_along_the_weights(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, inputs, labels = case

    def loss_at(scale: float) -> float:
        other = twin(network)
        with torch.no_grad():
            for layer in weighted(other).values():
                layer.weight.mul_(scale)
            return F.cross_entropy(other(inputs), labels).item()

    step = 1e-5
    slope = (loss_at(1 + step) - loss_at(1 - step)) / (2 * step)
    assert value(*case, "plain") == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_a_weight_before_batch_norm_adds_nothing_to_plain() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-13), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    network, inputs, labels = network.double(), images(), torch.arange(SAMPLES) % 3
    head = network[-1]
    expected = (gradients(network, inputs, labels)["4"] * head.weight).sum().item()
    assert value(network, inputs, labels, "plain") == pytest.approx(expected, abs=1e-12)
    assert value(network, inputs, labels, "snip") > abs(expected) + 0.01


# --- grasp -----------------------------------------------------------------------------------------------------------


def products_by_differences(network: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """H g as the difference of gradients at two points along g."""
    direction, step = gradients(network, inputs, labels), 1e-5
    ends = []
    for sign in (1, -1):
        other = copy.deepcopy(network)
        with torch.no_grad():
            for name, layer in weighted(other).items():
                layer.weight.add_(direction[name], alpha=sign * step)
        ends.append(gradients(other, inputs, labels))
    return {name: (ends[0][name] - ends[1][name]) / (2 * step) for name in direction}


def test_grasp_against_differences_of_gradients(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, inputs, labels = case
    expected = products_by_differences(network, inputs, labels)
    with prepared(network, batch_norm="batch", keep_parameters=False):
        evidence = look(network, inputs, Need.CURVATURE, labels=labels)
    for (name, product), layer in zip(expected.items(), evidence.layers, strict=True):
        assert layer.curvature is not None
        torch.testing.assert_close(layer.curvature, product, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    by_hand = -sum((layer.weight * expected[name]).sum().item() for name, layer in weighted(network).items())
    assert value(*case, "grasp") == pytest.approx(by_hand, rel=1e-6, abs=1e-9)


def test_grasp_of_a_linear_regression_in_closed_form() -> None:
    torch.manual_seed(1)
    x, y = torch.randn(8, 5, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
    network = nn.Linear(5, 3, bias=False).double()
    weight = network.weight.detach()
    gradient = (x @ weight.T - y).T @ x
    by_hand = -(weight * (gradient @ x.T @ x)).sum().item()

    def loss(output: Tensor, labels: Tensor) -> Tensor:
        return 0.5 * (output - labels).square().sum()

    assert value(network, x, y, "grasp", loss=loss) == pytest.approx(by_hand, rel=1e-12)
    flat = score(network, (x, y), proxies="grasp, snip", loss=lambda output, labels: (output * labels).sum())
    assert flat["grasp"].value == 0  # a loss without curvature
    assert flat["snip"].value > 0


# --- fisher ----------------------------------------------------------------------------------------------------------


def masking(mask: Tensor, layer: nn.Module) -> Callable[[nn.Module, object, Tensor], Tensor]:
    """A hook that multiplies a layer's output by a mask for each sample and channel."""
    samples, channels = mask.shape

    def apply(module: nn.Module, args: object, output: Tensor) -> Tensor:
        if not isinstance(layer, nn.Linear):
            spread = mask.repeat_interleave(len(output) // samples, dim=0)
            return output * spread.reshape(len(output), channels, *[1] * (output.dim() - 2))
        if output.dim() == 3 and output.shape[1] == samples:
            return output * mask  # tokens first
        return output * mask.reshape(samples, *[1] * (output.dim() - 2), channels)

    return apply


def fisher_by_masks(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """The gradient of such a mask is the sum over positions of a dL/da."""
    other, total = twin(network), 0.0
    for layer in weighted(other).values():
        channels = layer.weight.shape[1 if getattr(layer, "transposed", False) else 0]
        mask = torch.ones(len(inputs), channels, dtype=torch.float64, requires_grad=True)
        hook = layer.register_forward_hook(masking(mask, layer))
        F.cross_entropy(other(inputs), labels).backward()
        hook.remove()
        total += (0.5 * mask.grad.square().mean(0).sum() * (layer.weight.numel() / channels)).item()
    return total


def test_fisher_against_masks_of_channels(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    assert value(*case, "fisher") == pytest.approx(fisher_by_masks(*case), rel=1e-12)


def test_fisher_sample_by_sample() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    inputs, labels = images(), torch.arange(SAMPLES) % 3
    sums = {"conv": torch.zeros(4, dtype=torch.float64), "linear": torch.zeros(3, dtype=torch.float64)}
    for sample in range(SAMPLES):
        a = network[0](inputs[sample : sample + 1])
        b = network[3](network[2](network[1](a)))
        loss = F.cross_entropy(b, labels[sample : sample + 1]) / SAMPLES
        at_a, at_b = torch.autograd.grad(loss, [a, b])
        sums["conv"] += (a * at_a).sum((0, 2, 3)).detach() ** 2
        sums["linear"] += (b * at_b)[0].detach() ** 2
    by_hand = 0.5 / SAMPLES * (sums["conv"].sum() * 27 + sums["linear"].sum() * 64).item()
    assert value(network, inputs, labels, "fisher") == pytest.approx(by_hand, rel=1e-12)


def test_fisher_falls_with_the_square_of_the_batch() -> None:
    torch.manual_seed(4)
    network, inputs, labels = convolutional().double(), images(), torch.randint(0, CLASSES, (SAMPLES,))
    protocol = Protocol(initialisation="keep", batch_norm="off")
    once = value(network, inputs, labels, "fisher", protocol=protocol)
    twice = value(network, inputs.repeat(2, 1, 1, 1), labels.repeat(2), "fisher", protocol=protocol)
    assert 4 * twice == pytest.approx(once, rel=1e-12)


class InPlace(nn.Module):
    """Outputs of layers that are changed in place, or the same computed out of place."""

    def __init__(self, how: str, *, in_place: bool) -> None:
        super().__init__()
        self.how, self.in_place = how, in_place
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.hidden, self.head = nn.Linear(4, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        y = self.second(x)
        if self.how == "relu":
            y = F.relu(y, inplace=self.in_place)
        elif self.how == "addition":
            y = y.add_(x) if self.in_place else y + x
        elif self.how == "a view":
            flat = y.flatten(2)
            y = flat.mul_(2) if self.in_place else flat * 2
        y = self.hidden(y.flatten(2).mean(2))
        return self.head(F.silu(y, inplace=self.in_place and self.how == "a linear layer"))


@pytest.mark.parametrize("how", ["relu", "addition", "a view", "a linear layer"])
def test_what_follows_may_change_outputs_in_place(how: str) -> None:
    torch.manual_seed(5)
    plain, inputs, labels = InPlace(how, in_place=False), images().float(), torch.randint(0, CLASSES, (SAMPLES,))
    changing = InPlace(how, in_place=True)
    changing.load_state_dict(plain.state_dict())
    expected, found = (score(one, (inputs, labels), proxies=[*LABELLED, "swap"]) for one in (plain, changing))
    for name, result in found.items():
        assert result.ok
        assert result.value == expected[name].value, name
        assert (result.cost.forwards, expected[name].cost.forwards) == (2, 1)
    assert value(changing.double(), inputs.double(), labels, "fisher") == pytest.approx(
        fisher_by_masks(plain.double(), inputs.double(), labels), rel=1e-12
    )


# --- l2_norm, and what counts as a weight ----------------------------------------------------------------------------


def test_l2_norm_by_hand(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, inputs, _ = case
    by_hand = sum(math.sqrt(sum(w * w for w in m.weight.flatten().tolist())) for m in weighted(network).values())
    for batch in (inputs, (inputs, torch.zeros(1))):
        result = score(network, batch, proxies="l2_norm")["l2_norm"]
        assert result.value == pytest.approx(by_hand, rel=1e-12)
        assert (result.cost.forwards, result.cost.backwards) == (0, 0)


class Sharing(nn.Module):
    """Two layers with one weight, or one layer that runs twice."""

    def __init__(self, *, two: bool) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(5, 5), nn.Linear(5, CLASSES)
        self.second = nn.Linear(5, 5) if two else self.first
        self.second.weight, self.second.bias = self.first.weight, self.first.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def test_a_weight_that_layers_share_counts_once() -> None:
    torch.manual_seed(6)
    one = Sharing(two=False).double()
    two = Sharing(two=True).double()
    two.load_state_dict(one.state_dict(), strict=False)
    batch = (features(), torch.randint(0, CLASSES, (SAMPLES,)))
    for name in [*LABELLED, "l2_norm", "synflow"]:
        values = [score(network, batch, proxies=name)[name].value for network in (one, two)]
        assert values[0] == values[1], name


def test_layers_that_are_not_used_add_nothing() -> None:
    class Unused(nn.Module):
        def __init__(self, core: nn.Module) -> None:
            super().__init__()
            self.before, self.core, self.after = nn.Linear(2, 2), core, nn.Conv2d(3, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.before(torch.ones(4, 2, dtype=x.dtype))  # runs, and nothing depends on it
            return self.core(x)

    torch.manual_seed(7)
    core, batch = convolutional(), (images().float(), torch.randint(0, CLASSES, (SAMPLES,)))
    alone, inside = (score(network, batch, proxies=LABELLED) for network in (core, Unused(core)))
    assert {name: one.value for name, one in inside.items()} == {name: one.value for name, one in alone.items()}


def test_weights_that_are_computed_from_others() -> None:
    torch.manual_seed(8)
    plain = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, CLASSES)).double()
    computed = copy.deepcopy(plain)
    weight_norm(computed[0])
    batch = (features(), torch.randint(0, CLASSES, (SAMPLES,)))
    for frozen in (False, True):
        computed.requires_grad_(not frozen)
        scores = score(computed, batch, proxies=[*LABELLED, "l2_norm", "synflow"])
        for name in [*LABELLED, "l2_norm"]:
            assert scores[name].value == pytest.approx(value(plain, *batch, name), rel=1e-9), name
        assert scores["synflow"].status == "not_applicable"
        assert all(parameter.requires_grad is not frozen for parameter in computed.parameters())


# --- repeats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LABELLED, "l2_norm"])
def test_each_repeat_reads_its_own_weights(name: str) -> None:
    # Weights are drawn anew for each repeat and put back at the end: neither may leak into what is read.
    torch.manual_seed(9)
    network, inputs, labels = convolutional().double(), images(), torch.randint(0, CLASSES, (SAMPLES,))
    before = copy.deepcopy(network.state_dict())
    other, singles = copy.deepcopy(network), []
    initialiser = Initialiser(other, "kaiming")
    for repeat in range(3):
        initialiser.draw(stable_seed(5, "given", repeat))
        singles.append(value(other, inputs, labels, name))
    assert len(set(singles)) == 3
    protocol = Protocol(initialisation="kaiming", repeats=3, seed=5)
    result = score(network, (inputs, labels), proxies=name, protocol=protocol)[name]
    assert result.value == pytest.approx(sum(singles) / 3, rel=1e-12)
    assert result.parts["spread"] > 0
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
