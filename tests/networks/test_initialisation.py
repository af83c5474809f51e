"""Re-drawn weights: the distributions, against torch's own; what is reached, and what is left alone."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from subshot.errors import OptionError
from subshot.networks.initialisation import INITIALISATIONS, Initialiser

# Seeds are fixed, so a test either always passes or never does; the level only has to be unlikely to begin with.
LEVEL = 1e-4

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(40, 30),
    "Conv1d": lambda: nn.Conv1d(6, 20, 5),
    "Conv2d": lambda: nn.Conv2d(6, 20, 3),
    "Conv2d(groups)": lambda: nn.Conv2d(12, 24, 3, groups=4),
    "Conv2d(depthwise)": lambda: nn.Conv2d(32, 32, 5, groups=32),
    "Conv3d": lambda: nn.Conv3d(3, 8, 3),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(6, 20, 3),
    "ConvTranspose2d(groups)": lambda: nn.ConvTranspose2d(12, 8, 3, groups=4),
    "Embedding": lambda: nn.Embedding(30, 20),
    "EmbeddingBag": lambda: nn.EmbeddingBag(30, 20),
    "Bilinear": lambda: nn.Bilinear(6, 7, 8),
    "LSTM": lambda: nn.LSTM(9, 16),
    "GRU": lambda: nn.GRU(9, 16, bidirectional=True),
    "MultiheadAttention": lambda: nn.MultiheadAttention(16, 2),
    "BatchNorm2d": lambda: nn.BatchNorm2d(12),
    "LayerNorm": lambda: nn.LayerNorm(12),
    "GroupNorm": lambda: nn.GroupNorm(3, 12),
    "RMSNorm": lambda: nn.RMSNorm(12),
    "PReLU": lambda: nn.PReLU(5),
}
DRAWS = 40


def draws(network: nn.Module, how: str, count: int = DRAWS) -> dict[str, np.ndarray]:
    """Each parameter's values over several draws, in one array."""
    initialiser = Initialiser(network, how)
    values: dict[str, list[np.ndarray]] = {name: [] for name, _ in network.named_parameters()}
    for seed in range(count):
        initialiser.draw(seed)
        for name, parameter in network.named_parameters():
            values[name].append(parameter.detach().double().numpy().flatten())
    return {name: np.concatenate(parts) for name, parts in values.items()}


def torchs_own(make: Callable[[], nn.Module], count: int = DRAWS) -> dict[str, np.ndarray]:
    """The same of freshly built layers."""
    values: dict[str, list[np.ndarray]] = {}
    with torch.random.fork_rng(devices=[]):
        for seed in range(1000, 1000 + count):
            torch.manual_seed(seed)
            for name, parameter in make().named_parameters():
                values.setdefault(name, []).append(parameter.detach().double().numpy().flatten())
    return {name: np.concatenate(parts) for name, parts in values.items()}


def weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# --- distributions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
def test_default_is_each_layers_own_distribution(kind: str) -> None:
    network = LAYERS[kind]()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(123.0)
    ours, theirs = draws(network, "default"), torchs_own(LAYERS[kind])
    for name, expected in theirs.items():
        actual = ours[name]
        if np.ptp(expected) == 0:
            assert np.all(actual == expected[0]), name
            continue
        assert stats.ks_2samp(actual, expected).pvalue > LEVEL, name
        assert actual.mean() == pytest.approx(expected.mean(), abs=5 * expected.std() / math.sqrt(len(expected)) * 1.5)
        assert actual.std() == pytest.approx(expected.std(), rel=0.1)
        if "Embedding" not in kind:  # the others are uniform: the ends of the range say whether the bound is right
            assert np.abs(actual).max() == pytest.approx(np.abs(expected).max(), rel=0.03), name


def test_the_comparison_catches_a_bound_that_is_off() -> None:
    """Negative control: a uniform distribution a tenth too wide."""
    theirs = torchs_own(LAYERS["Linear"])["weight"]
    ours = draws(nn.Linear(40, 30), "default")["weight"] * 1.1
    assert stats.ks_2samp(ours, theirs).pvalue < LEVEL


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if kind.startswith(("Linear", "Conv"))])
@pytest.mark.parametrize("how", ["normal", "kaiming"])
def test_normal_draws(kind: str, how: str) -> None:
    network = LAYERS[kind]()
    fan_in = nn.init._calculate_correct_fan(network.weight, "fan_in")
    deviation = 1.0 if how == "normal" else math.sqrt(2 / fan_in)
    values = draws(network, how)
    assert stats.kstest(values["weight"] / deviation, "norm").pvalue > LEVEL
    assert np.all(values["bias"] == 0)


@pytest.mark.parametrize("how", ["default", "normal", "kaiming"])
@pytest.mark.parametrize("kind", ["BatchNorm2d", "LayerNorm", "GroupNorm", "RMSNorm"])
def test_norms_start_neutral(how: str, kind: str) -> None:
    network = LAYERS[kind]()
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.fill_(7)
    Initialiser(network, how).draw(0)
    found = dict(network.named_parameters()) | dict(network.named_buffers())
    for name, value in {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}.items():
        if name in found:
            assert torch.all(found[name] == value), name


def test_norms_without_parameters() -> None:
    norms = nn.ModuleList(
        [
            nn.BatchNorm2d(3, affine=False, track_running_stats=False),
            nn.LayerNorm(3, elementwise_affine=False),
            nn.LayerNorm(3, bias=False),
            nn.GroupNorm(1, 3, affine=False),
            nn.InstanceNorm2d(3),
        ]
    )
    initialiser = Initialiser(norms, "normal")
    initialiser.draw(0)
    assert initialiser.kept == 0


@pytest.mark.parametrize("how", ["normal", "kaiming"])
@pytest.mark.parametrize("kind", ["Embedding", "LSTM", "Bilinear"])
def test_other_layers_follow_their_own_rule_in_every_mode(how: str, kind: str) -> None:
    ours, theirs = draws(LAYERS[kind](), how), torchs_own(LAYERS[kind])
    for name, expected in theirs.items():
        assert stats.ks_2samp(ours[name], expected).pvalue > LEVEL, name


def test_padding_stays_zero() -> None:
    network = nn.Embedding(5, 3, padding_idx=2)
    Initialiser(network, "default").draw(0)
    assert torch.all(network.weight[2] == 0)
    assert torch.all(network.weight[3] != 0)


def test_layers_are_independent() -> None:
    network = nn.Sequential(nn.Embedding(16, 8), nn.Linear(16, 8, bias=False), nn.Linear(16, 8, bias=False))
    for how in ("default", "normal", "kaiming"):
        Initialiser(network, how).draw(4)
        tensors = [p.detach().flatten() for p in network.parameters()]
        for i in range(3):
            for j in range(i):
                # Equal draws would correlate fully; 128 independent pairs stay below 0.4 but once in 10^5 times.
                assert abs(np.corrcoef(tensors[i], tensors[j])[0, 1]) < 0.4


# --- what is reached -------------------------------------------------------------------------------------------------


class Composite(nn.Module):
    """Has a bare parameter and a rule that also covers the layers inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(4))
        self.inner = nn.Linear(4, 4)
        self.table = nn.Embedding(3, 4)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.position, 0.25)
        nn.init.constant_(self.inner.weight, 0.5)
        nn.init.constant_(self.table.weight, 0.75)


def test_a_modules_own_rule_has_the_last_word_on_the_default_only() -> None:
    network = nn.Sequential(Composite())
    with torch.no_grad():
        network[0].position.fill_(9)
    Initialiser(network, "default").draw(0)
    assert torch.all(network[0].position == 0.25)
    assert torch.all(network[0].inner.weight == 0.5)
    assert torch.all(network[0].table.weight == 0.75)
    Initialiser(network, "normal").draw(0)
    assert torch.all(network[0].position == 0.25)
    assert network[0].inner.weight.unique().numel() == 16


def test_bare_parameters_are_kept_and_counted() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.full((2, 3), 5.0))
            self.layer = nn.Linear(3, 2)

    for how in ("default", "normal", "kaiming"):
        network = Bare()
        before = network.layer.weight.clone()
        initialiser = Initialiser(network, how)
        initialiser.draw(0)
        assert initialiser.kept == 6
        assert torch.all(network.token == 5)
        assert not torch.equal(network.layer.weight, before)


def test_weights_that_are_computed_are_kept_and_counted() -> None:
    normed = parametrizations.weight_norm(nn.Linear(4, 3))
    pruned = prune.l1_unstructured(nn.Linear(4, 3), "weight", amount=2)
    for network, count in ((normed, 3 + 12), (pruned, 12)):
        before = {name: p.clone() for name, p in network.named_parameters()}
        initialiser = Initialiser(network, "default")
        initialiser.draw(0)
        assert initialiser.kept == count
        for name, parameter in network.named_parameters():
            assert torch.equal(parameter, before[name]) is (name != "bias"), name


def test_shared_weights_are_drawn_once() -> None:
    network = nn.Sequential(nn.Linear(30, 30), nn.Linear(30, 30))
    network[1].weight = network[0].weight
    initialiser = Initialiser(network, "normal")
    initialiser.draw(0)
    assert initialiser.kept == 0
    assert sum(tensor.numel() for tensor in initialiser._drawn) == 900
    assert torch.all(network[1].bias == 0)
    assert stats.kstest(network[0].weight.detach().flatten(), "norm").pvalue > LEVEL


def test_layers_without_bias_or_outputs() -> None:
    network = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Conv2d(2, 2, 1, bias=False))
    Initialiser(network, "default").draw(0)
    with pytest.warns(UserWarning, match="zero-element"):
        empty = nn.Linear(3, 0)
    Initialiser(empty, "default").draw(0)
    Initialiser(nn.ReLU(), "default").draw(0)


# --- repeatability ---------------------------------------------------------------------------------------------------


def everything() -> nn.Module:
    return nn.ModuleList([make() for make in LAYERS.values()])


@pytest.mark.parametrize("how", ["default", "normal", "kaiming"])
def test_same_seed_same_weights(how: str) -> None:
    first, second = everything(), everything()
    one, two = Initialiser(first, how), Initialiser(second, how)
    one.draw(3)
    torch.manual_seed(77)
    two.draw(9)
    assert not same(weights(first), weights(second))
    two.draw(3)
    assert same(weights(first), weights(second))
    one.draw(2**63 - 1)  # the largest seed there is
    assert not same(weights(first), weights(second))


@pytest.mark.parametrize("how", ["default", "normal", "kaiming"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_same_weights_in_other_types(how: str, dtype: torch.dtype) -> None:
    single, other = everything(), everything().to(dtype)
    Initialiser(single, how).draw(1)
    Initialiser(other, how).draw(1)
    for expected, actual in zip(weights(single), weights(other), strict=True):
        assert actual.dtype == dtype
        assert torch.equal(actual, expected.to(dtype))


def test_same_weights_whatever_torchs_default_type() -> None:
    single, other = everything(), everything()
    Initialiser(single, "normal").draw(1)
    torch.set_default_dtype(torch.float64)
    try:
        Initialiser(other, "normal").draw(1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(weights(single), weights(other))


@pytest.mark.parametrize("how", INITIALISATIONS)
def test_the_random_state_and_everything_but_values_stay(how: str) -> None:
    network = everything()
    network[0].weight.requires_grad_(False)
    network[1].weight.grad = torch.ones_like(network[1].weight)
    facts = [(id(p), p.data_ptr(), p.dtype, p.requires_grad, id(p.grad), p.is_leaf) for p in network.parameters()]
    state = torch.get_rng_state()
    Initialiser(network, how).draw(5)
    assert torch.equal(torch.get_rng_state(), state)
    assert facts == [
        (id(p), p.data_ptr(), p.dtype, p.requires_grad, id(p.grad), p.is_leaf) for p in network.parameters()
    ]


def test_keep_keeps() -> None:
    network = everything()
    before = weights(network)
    initialiser = Initialiser(network, "keep")
    initialiser.draw(0)
    assert same(weights(network), before)
    assert initialiser.kept == 0


def test_unknown_initialisation() -> None:
    with pytest.raises(OptionError) as caught:
        Initialiser(nn.Linear(2, 2), "Normal")
    assert str(caught.value) == "There is no initialisation 'Normal'. Use one of keep, default, normal, kaiming."
