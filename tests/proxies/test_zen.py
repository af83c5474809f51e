"""Zen against two passes by hand through real batch norms that keep running statistics."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot._seeds import stable_seed
from subshot._types import Protocol, Score
from subshot.errors import OptionError
from subshot.networks.initialisation import Initialiser
from subshot.proxies._noise import noise_pass
from subshot.proxies._score import score


def zen(network: nn.Module, batch: Tensor, name: str = "zen", **protocol: object) -> Score:
    given = Protocol(**{"initialisation": "keep", **protocol})  # type: ignore[arg-type]
    return score(network, batch, proxies=[name], protocol=given)[name]


class Small(nn.Module):
    """Two norms, one that isn't reached, a squeeze-and-excitation gate, and a head."""

    def __init__(self, pool: Callable[[Tensor], Tensor] | None = None, *, norms: bool = True) -> None:
        super().__init__()
        make = nn.BatchNorm2d if norms else nn.Identity
        self.first, self.first_norm = nn.Conv2d(3, 6, 3, padding=1), make(6)
        self.unused = nn.BatchNorm2d(9)
        self.gate = nn.Conv2d(6, 6, 1)
        self.second, self.second_norm = nn.Conv2d(6, 4, 3, stride=2), make(4)
        self.pool = pool or nn.AdaptiveAvgPool2d(1)
        self.head_norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 5)

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.first_norm(self.first(x)))
        x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        return F.relu(self.second_norm(input=self.second(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.head_norm(self.pool(self.features(x)).flatten(1)))


def small(*, norms: bool = True) -> Small:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Small(norms=norms)


def images(samples: int = 5) -> Tensor:
    return torch.zeros(samples, 3, 9, 9)  # Zen takes nothing from it but shape, type and device


def by_hand(network: Small, shape: tuple[int, ...], seed: int) -> dict[str, float]:
    """Both forms, on a copy in training mode whose norms keep running statistics from fresh."""
    other = copy.deepcopy(network).train()
    Initialiser(other, "normal").draw(stable_seed(seed, "weights"))
    norms = [m for m in (other.first_norm, other.second_norm) if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        assert norm.momentum == 0.1
    generator = torch.Generator().manual_seed(stable_seed(seed, "noise"))
    x = torch.randn(shape, generator=generator)
    moved = x + 0.01 * torch.randn(shape, generator=generator)
    variances: list[float] = []
    hooks = [
        norm.register_forward_hook(
            lambda m, args, kwargs, out: variances.append(
                torch.stack([c.flatten().var() for c in (*args, *kwargs.values())[0].unbind(1)]).mean().item()
            ),
            with_kwargs=True,
        )
        for norm in norms
    ]
    with torch.no_grad():
        before = other.features(x)
        for hook in hooks:
            hook.remove()
        after = other.features(moved)
    difference = sum((a - b).abs().sum().item() for a, b in zip(before, after, strict=True)) / len(x)
    batch = sum(math.log(math.sqrt(v)) for v in variances)
    running = sum(math.log(math.sqrt(norm.running_var.mean().item())) for norm in norms)
    return {"zen": math.log(difference) + batch, "zen(variance=running)": math.log(difference) + running}


@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize("seed", [0, 7])
def test_both_forms_by_hand(seed: int, norms: bool) -> None:
    network = small(norms=norms)
    for name, expected in by_hand(network, (5, 3, 9, 9), stable_seed(seed, "given", 0)).items():
        result = zen(network, images(), name, seed=seed)
        assert result.value == pytest.approx(expected, rel=1e-5)
        assert math.log(result.parts["difference"]) + result.parts["norms"] == pytest.approx(result.value)
        assert (result.cost.forwards, result.cost.backwards) == (2, 0)
    if norms:
        assert zen(network, images()).value != zen(network, images(), "zen(variance=running)").value


def test_double_precision() -> None:
    network = small()
    single, double = zen(network, images()), zen(copy.deepcopy(network).double(), images().double())
    assert double.value == pytest.approx(single.value, rel=1e-4)  # the same noise and weights, drawn in float32


def test_repeats_are_other_weights_and_other_noise() -> None:
    singles = [by_hand(small(), (5, 3, 9, 9), stable_seed(2, "given", repeat))["zen"] for repeat in range(3)]
    result = zen(small(), images(), repeats=3, seed=2)
    assert result.value == pytest.approx(sum(singles) / 3, rel=1e-5)
    assert result.cost.forwards == 6


def test_a_factor_on_linear_features_adds_its_logarithm() -> None:
    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor
            self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3))

        def forward(self, x: Tensor) -> Tensor:
            return (self.factor * self.layers(x)).mean((2, 3))

    base = zen(Scaled(1.0), images()).value
    for factor in (0.5, 3.0, -8.0):
        assert zen(Scaled(factor), images()).value - base == pytest.approx(math.log(abs(factor)), abs=1e-5)


def test_a_network_may_change_its_input_in_place() -> None:
    class Changing(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(1.0) if self.kind == "same" else x.relu_())

    class Copying(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.relu())

    changing, copying = Changing(), Copying()
    for kind, network in (("same", small()), ("relu", copying)):
        changing.kind = kind
        assert zen(changing, images()).value == zen(network, images()).value


def test_weights_initialisation_and_images_do_not_matter() -> None:
    network, other = small(), small()
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.fill_(3)
    values = {
        zen(one, batch, initialisation=how).value
        for one in (network, other)
        for how in ("keep", "default", "normal", "kaiming")
        for batch in (images(), images() + torch.randn(1))
    }
    assert len(values) == 1
    laid_out = images().contiguous(memory_format=torch.channels_last)  # where other kernels run
    assert zen(network, laid_out).value == pytest.approx(values.copy().pop(), rel=1e-5)
    assert zen(network, images(), seed=1).value not in values


# --- the feature map -------------------------------------------------------------------------------------------------

POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.AdaptiveAvgPool2d": nn.AdaptiveAvgPool2d(1),
    "nn.AdaptiveAvgPool2d((1, 1))": nn.AdaptiveAvgPool2d((1, 1)),
    "F.adaptive_avg_pool2d(input=)": lambda x: F.adaptive_avg_pool2d(input=x, output_size=1),
    "nn.AvgPool2d": nn.AvgPool2d(4),
    "F.avg_pool2d": lambda x: F.avg_pool2d(x, x.shape[2:]),
    "Tensor.mean": lambda x: x.mean((2, 3)),
    "Tensor.mean(keepdim)": lambda x: x.mean(dim=[-2, -1], keepdim=True),
    "torch.mean": lambda x: torch.mean(x, (-1, -2)),
    "torch.mean(input=)": lambda x: torch.mean(input=x, dim=(2, 3)),
    "nn.AdaptiveMaxPool2d": nn.AdaptiveMaxPool2d(1),
    "Tensor.amax": lambda x: x.amax((2, 3)),
    "torch.amax": lambda x: torch.amax(x, dim=(2, 3)),
}


@pytest.mark.parametrize("name", POOLS)
def test_every_way_to_pool(name: str) -> None:
    assert zen(Small(POOLS[name]), images()).value == zen(small(), images()).value


class Unpooled(Small):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x)))).flatten(1)


def test_without_pooling_it_is_not_applicable() -> None:
    result = zen(Unpooled(), images())
    assert result.status == "not_applicable"
    assert result.reason.startswith("no global pooling in front of a head was recognised (one call of ")
    assert result.cost.forwards == 1


def test_other_inputs_are_not_applicable() -> None:
    for batch in (torch.randn(4, 6), torch.zeros(4, 3, 9, 9, dtype=torch.int64), torch.randn(4, 3, 9)):
        result = zen(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), batch)
        assert (result.status, result.reason) == ("not_applicable", "Zen is defined for networks of images.")


@pytest.mark.parametrize("batch_norm", ["running", "off"])
def test_other_norms_are_not_applicable(batch_norm: str) -> None:
    result = zen(small(), images(), batch_norm=batch_norm)
    assert result.status == "not_applicable"
    assert "batch statistics" in result.reason
    bare = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    assert zen(bare, images(), batch_norm=batch_norm).value == zen(bare, images()).value


def test_constant_features_are_not_applicable() -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return (0 * self.layer(x)).mean((2, 3))

    result = zen(Dead(), images())
    assert result.status == "not_applicable"
    assert result.reason == "the feature map before pooling doesn't depend on the input"


def test_features_beyond_floating_point_have_no_number() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 64, 64, 3, padding=1) for i in range(30)))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x).mean((2, 3))

    result = zen(Deep(), images(2)[:, :, :4, :4])
    assert result.status in ("nan", "inf")
    assert result.reason


def test_an_unknown_variance_is_refused() -> None:
    with pytest.raises(OptionError, match="no variance 'both' of zen"):
        zen(small(), images(), "zen(variance=both)")


# --- nothing is left behind ------------------------------------------------------------------------------------------


class Delicate(Small):
    """Buffers of its own, a reset rule that touches them, norms of every kind; raises in the pass it is told to."""

    def __init__(self, raises_in: int = 0) -> None:
        super().__init__()
        self.raises_in, self.passes = raises_in, 0
        self.instance = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
        self.volume = nn.BatchNorm3d(4)
        self.register_buffer("counter", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("scale", torch.full((1,), 2.0))

    def reset_parameters(self) -> None:
        self.scale.fill_(1.0)
        torch.nn.init.normal_(self.head.weight)

    def features(self, x: Tensor) -> Tensor:
        self.passes += 1
        self.counter += 1
        x = self.volume(self.instance(super().features(x) * self.scale + torch.rand(1))[:, :, None])[:, :, 0]
        if self.passes == self.raises_in:
            raise RuntimeError("in the middle")
        return x


@pytest.mark.parametrize("raises_in", [0, 1, 2])
@pytest.mark.parametrize("direct", [True, False])
def test_the_network_is_put_back(raises_in: int, direct: bool) -> None:
    torch.manual_seed(1)
    network = Delicate(raises_in)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor += 2  # nothing is fresh
    network.first.weight.grad = torch.ones_like(network.first.weight)
    network.second.weight.requires_grad_(False)
    before = {name: (id(tensor), tensor.clone()) for name, tensor in network.state_dict(keep_vars=True).items()}
    flags = [parameter.requires_grad for parameter in network.parameters()]
    random = torch.get_rng_state()
    if not direct:
        network.eval()
        result = zen(network, images())
        assert result.status == ("failed" if raises_in else "ok")
        assert ("in the middle" in result.reason) is bool(raises_in)
        assert torch.equal(torch.get_rng_state(), random)
        assert not network.training
    elif raises_in:
        with pytest.raises(RuntimeError, match="in the middle"):
            noise_pass(network, images(), 0)
    else:
        noise_pass(network, images(), 0)
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(before)
    for name, (identity, values) in before.items():
        assert id(after[name]) == identity, name
        assert torch.equal(after[name], values), name
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert torch.equal(network.first.weight.grad, torch.ones_like(network.first.weight))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not torch.overrides._get_current_function_mode_stack()
