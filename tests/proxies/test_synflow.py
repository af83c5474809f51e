"""SynFlow against products of absolute matrices and against a copy that is changed by hand."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot._types import Protocol
from subshot.proxies._absolute import absolute_pass
from subshot.proxies._score import score


def value(network: nn.Module, inputs: Tensor | dict[str, Tensor], **options: object) -> float:
    result = score(network, inputs, proxies="synflow", **options)["synflow"]  # type: ignore[arg-type]
    assert result.ok, result.reason
    assert result.value == pytest.approx(math.log(result.parts["sum"]), rel=1e-12)
    return result.value


def reason(network: nn.Module, inputs: Tensor | dict[str, Tensor]) -> str:
    result = score(network, inputs, proxies="synflow, parameters")
    assert result["parameters"].ok
    assert result["synflow"].status == "not_applicable"
    return result["synflow"].reason


def chain(depth: int, width: int = 6, *, scale: float = 1.0) -> nn.Sequential:
    """Linear layers without biases and ReLUs between them."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width, bias=False), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in network[::2]:
            layer.weight.normal_().mul_(scale)
    return network


def flow(network: nn.Sequential) -> float:
    """Logarithm of 1 |W_L| ... |W_1| 1, brought back to size after every layer."""
    vector, log = torch.ones(network[0].in_features, dtype=torch.float64), 0.0
    for layer in network[::2]:
        vector = layer.weight.detach().double().abs() @ vector
        log += math.log(vector.sum())
        vector = vector / vector.sum()
    return log


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_every_layer_of_a_chain_carries_the_whole_flow(depth: int) -> None:
    network, x = chain(depth), torch.randn(4, 6)
    sums = [(layer.weight * layer.gradient).sum().item() for layer in absolute_pass(network, x)]
    assert sums == pytest.approx([math.exp(flow(network))] * depth, rel=1e-12)
    assert value(network, x) == pytest.approx(math.log(depth) + flow(network), rel=1e-12)


def test_a_chain_of_convolutions() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2, bias=False), nn.ReLU(),
        nn.Conv2d(4, 2, 2, stride=2, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5, bias=False),
    )  # fmt: skip
    sums = [(layer.weight * layer.gradient).sum().item() for layer in absolute_pass(network, torch.randn(2, 3, 6, 6))]
    assert sums == pytest.approx([sums[0]] * 4, rel=1e-12)
    # A layer's map of ones is a constant map inside: the flow is a product of sums over channels and kernels.
    channels = network[0].weight.detach().double().abs().sum((1, 2, 3))
    weight = network[2].weight.detach().double().abs().squeeze()
    channels = torch.stack(
        [weight[0] @ channels[:2], weight[1] @ channels[:2], weight[2] @ channels[2:], weight[3] @ channels[2:]]
    )
    channels = network[4].weight.detach().double().abs().sum((2, 3)) @ channels
    total = (network[7].weight.detach().double().abs() @ channels).sum().item()
    assert sums[0] == pytest.approx(total, rel=1e-12)


def test_doubling_the_weights_of_a_layer_adds_log_2() -> None:
    network, x = chain(4), torch.randn(4, 6)
    before = value(network, x)
    for layer in network[::2]:
        with torch.no_grad():
            layer.weight.mul_(-2)
        assert value(network, x) - before == pytest.approx(math.log(2), rel=1e-12)
        before = value(network, x)


def test_a_hundred_layers_stay_within_double_precision() -> None:
    network, x = chain(100, 10, scale=30), torch.randn(2, 10)
    expected = math.log(100) + flow(network)
    assert expected > 500  # far beyond float32, whose largest number has a logarithm of 88.7
    assert value(network, x) == pytest.approx(expected, rel=1e-12)
    assert value(chain(100, 10, scale=1e-3), x) < -300


def test_beyond_double_precision_there_is_no_number() -> None:
    result = score(chain(200, 10, scale=30), torch.randn(2, 10), proxies="synflow")["synflow"]
    assert not result.ok
    assert not math.isfinite(result.value)
    assert result.reason
    assert result.to_dict()["parts"]["sum"] is None


class Residual(nn.Module):
    """Branches, biases, batch norm in several forms, a functional norm, pooling, and parameters that stand alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.untracked = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
        self.left, self.right = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 1)
        self.scale = nn.Parameter(-torch.rand(4, 1, 1))
        self.register_buffer("shift", -torch.rand(4, 1, 1))
        self.narrow, self.head = nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 5)
        self.unused = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu_()
        x = x + F.relu(self.untracked(self.left(x)) * self.scale + self.right(x) + self.shift)
        return self.head(self.narrow(F.max_pool2d(x, 2).mean((2, 3))))


def by_hand(network: nn.Module, shape: tuple[int, ...]) -> float:
    """A copy without norms, all of its numbers absolute, and one plain backward pass."""
    other = copy.deepcopy(network).double().requires_grad_()
    for module in list(other.modules()):
        for name, child in module.named_children():
            if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.abs_()
    other(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    layers = [m for m in other.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return math.log(sum((m.weight * m.weight.grad).abs().sum().item() for m in layers if m.weight.grad is not None))


@pytest.mark.parametrize("batch_norm", ["batch", "running", "off"])
def test_a_residual_network_by_hand(batch_norm: str) -> None:
    torch.manual_seed(2)
    network, x = Residual(), torch.randn(3, 3, 8, 8)
    expected = by_hand(network, (3, 8, 8))
    for training in (True, False):
        network.train(training)
        protocol = Protocol(initialisation="keep", batch_norm=batch_norm)
        assert value(network, x, protocol=protocol) == pytest.approx(expected, rel=1e-12)
    assert value(network.double(), x.double()) == pytest.approx(expected, rel=1e-6)


def test_biases_count_and_batch_norm_and_the_batch_do_not() -> None:
    torch.manual_seed(3)
    network = Residual()
    expected = value(network, torch.randn(3, 3, 8, 8))
    assert value(network, 100 * torch.randn(1, 3, 8, 8)) == expected
    with torch.no_grad():
        for norm in (network.norm, network.narrow):
            norm.weight.normal_()
            norm.bias.normal_()
        network.norm.running_mean.normal_()
        network.norm.running_var.mul_(9)
        assert value(network, torch.randn(3, 3, 8, 8)) == expected
        network.right.bias.add_(torch.sign(network.right.bias))
    assert value(network, torch.randn(3, 3, 8, 8)) > expected


def test_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(3, 2, bias=False), nn.Linear(4, 2, bias=False)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.left(a) + self.right(b)

    network = Two()
    total = sum(layer.weight.double().abs().sum().item() for layer in (network.left, network.right))
    assert value(network, {"b": torch.randn(5, 4), "a": torch.randn(5, 3)}) == pytest.approx(math.log(total))


def test_a_dead_network_has_no_logarithm() -> None:
    network = chain(2)
    nn.init.zeros_(network[0].weight)
    result = score(network, torch.randn(4, 6), proxies="synflow")["synflow"]
    assert (result.status, result.parts["sum"]) == ("-inf", 0)


class Recommender(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(9, 3), nn.Linear(3, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids))


class Rounded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).argmax(1)


def test_where_it_is_not_defined() -> None:
    assert "integer inputs" in reason(Recommender(), torch.tensor([1, 2]))
    assert "anything differentiable" in reason(Rounded(), torch.ones(4, 3))
    assert "no convolution or linear layer" in reason(nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()), torch.ones(4, 3))
    pruned = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    assert "computed from others" in reason(pruned, torch.ones(4, 3))


class Counting(Residual):
    """Changes its own buffers while it runs, and differentiates."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.add_(1)
        (self.scale.sum() * self.head.bias.sum()).backward()
        return super().forward(x)


def test_the_network_is_not_touched() -> None:
    torch.manual_seed(4)
    network = Counting()
    network.left.weight.requires_grad_(False)
    network.norm.eval()
    before = {name: (id(tensor), tensor.clone()) for name, tensor in network.state_dict(keep_vars=True).items()}
    modes = [module.training for module in network.modules()]
    layers = absolute_pass(network, torch.randn(2, 3, 8, 8))
    assert all(layer.weight.dtype == torch.float64 for layer in layers)
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(before)
    for name, (identity, values) in before.items():
        assert id(after[name]) == identity
        assert torch.equal(after[name], values), name
        assert after[name].grad is None
    assert [module.training for module in network.modules()] == modes
    assert not network.left.weight.requires_grad
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert value(network, torch.randn(2, 3, 8, 8)) == pytest.approx(by_hand(network, (3, 8, 8)), rel=1e-12)


class Masked(nn.Module):
    """A number of the state, and one outside it."""

    def __init__(self, mask: float, bias: float) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3, bias=False)
        self.register_buffer("mask", torch.full((3,), mask), persistent=False)
        self.register_buffer("bias", torch.full((3,), bias))

    def forward(self, x: Tensor) -> Tensor:
        return (self.layer(x) + self.bias) * self.mask.exp()


def test_buffers_outside_the_state_stay_as_they_are() -> None:
    """As in the reference, which goes over the state: a mask of minus infinity must not become plus infinity."""
    network = Masked(-2.0, -1.0)
    expected = math.exp(-2) * float(network.layer.weight.detach().double().abs().sum())
    assert value(network, torch.randn(2, 3)) == pytest.approx(math.log(expected), rel=1e-6)
    result = score(Masked(-math.inf, 1.0), torch.randn(2, 3), proxies="synflow")["synflow"]
    assert result.value == -math.inf  # nothing flows; not NaN
