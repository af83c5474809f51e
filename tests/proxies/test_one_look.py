"""All proxies from shared passes: how many, at what cost, and that no value depends on what else is computed."""

import copy
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, reduce

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot._types import Protocol, Score
from subshot.proxies import _block_maps, _evidence, _gradients, _hidden_maps, _layer_maps, _samplewise
from subshot.proxies._batch_pass import SIGN_NEEDS
from subshot.proxies._features import FEATURE_NEEDS
from subshot.proxies._gradients import LOSS_NEEDS
from subshot.proxies._proxy import Need, bind, list_proxies
from subshot.proxies._score import score

Inputs = Tensor | dict[str, Tensor]

# Every proxy, and options that need or read something else.
ALL = [
    *(name for name in list_proxies() if name != "swap_regularized"), "swap(ternary=true)",
    "swap_regularized(mu=1, sigma=4)", "epe_nas(branch=many)", "zen(variance=running)", "synflow(batch_norm=true)",
    "ntk_condition(coupled=true)", "ntk_mse(coupled=true)", "vkdnw(released=true)", "zico(parts=2)", "meco(opt=true)",
    "meco(modules=all)", "sigeo(setting=vision)", "fisher_rao(step=true)", "fisher_rao(reading=mean, scope=head)",
]  # fmt: skip

# Which pass serves which proxy: of the loss, over the whole batch and in passes of their own ...
LOSS = ["grad_norm", "plain", "snip", "grasp", "fisher"]
STEPPED = ["sigeo(setting=vision)", "fisher_rao(step=true)"]
PARTS = ["zico", "zico(parts=2)", "sigeo", "fisher_rao", "fisher_rao(reading=mean, scope=head)", "l_swag", *STEPPED]
VALUE = ["loss"]
OF_A_LOSS = [*LOSS, *PARTS, "grad_sign"]
# ... of the output ...
JACOBIAN = ["jacob_cov", "epe_nas", "epe_nas(branch=many)"]
KERNEL = ["ntk_condition", "ntk_mse", "eigen_nas"]
COUPLED = ["ntk_condition(coupled=true)", "ntk_mse(coupled=true)"]
FISHER = ["vkdnw", "vkdnw(released=true)"]
SYNFLOW = ["synflow", "synflow(batch_norm=true)"]
ZEN = ["zen", "zen(variance=running)"]
# ... of a block alone, and what needs no way back.
TRAINABILITY = ["az_trainability"]
SIGNS = ["swap", "swap(ternary=true)", "swap_regularized(mu=1, sigma=4)", "nwot", "linear_regions"]
MECO = ["meco", "meco(opt=true)", "meco(modules=all)"]
FEATURES = [*MECO, "near", "az_expressivity", "az_progressivity", "w_pca"]
COUNTS = ["parameters", "macs", "l2_norm"]

# What uses labels, and what only groups samples by them.
BY_CLASS = ["epe_nas", "epe_nas(branch=many)", "ntk_mse", "ntk_mse(coupled=true)"]
LABELLED = [*OF_A_LOSS, *VALUE, *BY_CLASS]
# What goes back through the whole network from its output.
FROM_OUTPUT = [*OF_A_LOSS, *JACOBIAN, *KERNEL, *COUPLED, *FISHER, *SYNFLOW]

SAMPLES, CLASSES = 8, 4


def needing(needs: Need) -> set[str]:
    """Proxies that declare any of the needs."""
    return {one.name for one in bind(ALL) if one.needs & needs}


class Vision(nn.Module):
    """A vision transformer of torch's own modules."""

    def __init__(self, *, fused: bool = False) -> None:
        super().__init__()
        self.fused = fused
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True, norm_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), 1, 8), x], 1) + self.positions
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=not self.fused)[0]
        x = self.encoder(x + self.mlp(self.norms[1](x)))
        return self.head(x[:, 0])


class Words(nn.Module):
    """Token and position embeddings, fused attention written out, an LSTM; it draws numbers while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.positions = nn.Embedding(13, 8), nn.Embedding(6, 8)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.lstm, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids) + self.positions(torch.arange(ids.shape[1]))
        x += 0.1 * torch.randn_like(x)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return self.head(F.mish(self.lstm(x)[0]).mean(1))


class Recommender(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.users, self.tags = nn.Embedding(17, 5), nn.EmbeddingBag(13, 5)
        self.bottom, self.top, self.head = nn.Linear(4, 5), nn.Linear(8, 12), nn.Linear(12, CLASSES)

    def forward(self, *, dense: Tensor, user: Tensor, tags: Tensor) -> Tensor:
        x = F.relu_(self.bottom(dense))
        vectors = torch.stack([x, self.users(user), self.tags(tags)], 1)
        upper = torch.triu_indices(3, 3, 1)
        products = (vectors @ vectors.transpose(1, 2))[:, upper[0], upper[1]]
        return self.head(F.silu(self.top(torch.cat([x, products], 1)), inplace=True))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(0.3),
        nn.Conv2d(6, 6, 3, groups=3), nn.BatchNorm2d(6), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, CLASSES),
    )  # fmt: skip


def in_place_cnn() -> nn.Module:
    """Group norm, SiLU and Mish: their backward pass takes other kernels where it has to be differentiable."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3), nn.GroupNorm(2, 6), nn.SiLU(),
        nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5), nn.Mish(), nn.Conv2d(5, 5, 1), nn.LeakyReLU(0.1, inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, CLASSES),
    )  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.Tanh(), nn.Linear(20, 9), nn.GELU(), nn.Linear(9, 4))


@dataclass(frozen=True)
class Kind:
    """A network, a batch for it, which proxies don't apply, and what the network makes a look do.

    Attributes:
        make: Draws the network.
        batch: Draws the batch.
        refused: Proxies that don't apply.
        blocks: Blocks with one before them that are gone back through, those gone through in vain included.
        noise: Forward passes of Zen.
        in_place: Whether outputs of layers are changed in place.
        failed: Proxies for which it raises.
    """

    make: Callable[[], nn.Module]
    batch: Callable[[], Inputs]
    refused: frozenset[str]
    blocks: int
    noise: int = 0
    in_place: bool = False
    failed: frozenset[str] = frozenset()


def images() -> Tensor:
    return torch.randn(SAMPLES, 3, 8, 8)


TOKENS, MAPS = frozenset({"w_pca"}), frozenset(MECO)
KINDS = {
    "convolutional": Kind(cnn, images, TOKENS, blocks=4, noise=2),
    "convolutional, in place": Kind(in_place_cnn, images, TOKENS, blocks=5, noise=2, in_place=True),
    # Without pooling Zen stops after its first pass; other inputs than images it doesn't run on at all.
    "vision transformer": Kind(Vision, images, frozenset(ZEN), blocks=6, noise=1),
    "words": Kind(Words, lambda: torch.randint(0, 13, (SAMPLES, 6)), TOKENS | frozenset([*ZEN, *SYNFLOW]), blocks=3),
    "perceptron": Kind(
        mlp,
        lambda: torch.randn(SAMPLES, 6),
        TOKENS | MAPS | frozenset(ZEN),
        blocks=3,
        failed=frozenset({"synflow(batch_norm=true)"}),  # its one sample has no statistics
    ),
    "recommender": Kind(
        Recommender,
        lambda: {
            "dense": torch.randn(SAMPLES, 4),
            "user": torch.randint(0, 17, (SAMPLES,)),
            "tags": torch.randint(0, 13, (SAMPLES, 3)),
        },
        # Its embeddings don't depend on the layer that ran before them.
        TOKENS | MAPS | frozenset([*ZEN, *SYNFLOW, *TRAINABILITY]),
        blocks=1,
        in_place=True,
    ),
}


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def draw(kind: Kind) -> tuple[nn.Module, Inputs, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return kind.make(), kind.batch(), torch.randint(0, CLASSES, (SAMPLES,))


def without_cost(scores: dict[str, Score]) -> dict[str, object]:
    """Everything but the cost, to the last bit."""
    return {name: (repr(s.value), s.status, s.reason, repr(dict(s.parts)), s.warnings) for name, s in scores.items()}


# --- the tables above ------------------------------------------------------------------------------------------------


def test_every_proxy_has_its_place_in_the_tables() -> None:
    families = [
        OF_A_LOSS, VALUE, JACOBIAN, KERNEL, COUPLED, FISHER, SYNFLOW, ZEN, TRAINABILITY, SIGNS, FEATURES, COUNTS,
    ]  # fmt: skip
    assert sorted(name for family in families for name in family) == sorted(ALL)  # each once
    assert {one.info.name for one in bind(ALL)} == set(list_proxies())
    assert reduce(Need.__or__, (one.needs for one in bind(ALL))) == reduce(Need.__or__, Need)


def test_the_tables_are_what_is_declared() -> None:
    assert needing(Need.LABELS) == set(LABELLED)
    assert needing(LOSS_NEEDS) == set(LOSS)
    assert needing(Need.HALVES | Need.QUARTERS | Need.QUARTERS_STEPPED) == set(PARTS)
    assert needing(Need.QUARTERS_STEPPED) == set(STEPPED)
    assert needing(Need.LOSS) == set(VALUE)
    assert needing(Need.GRADIENT_SIGNS) == {"grad_sign"}
    assert needing(Need.JACOBIAN) == set(JACOBIAN)
    assert needing(Need.KERNEL) == set(KERNEL)
    assert needing(Need.KERNEL_COUPLED) == set(COUPLED)
    assert needing(Need.OUTPUT_FISHER) == set(FISHER)
    assert needing(Need.ABSOLUTE | Need.ABSOLUTE_NORM) == set(SYNFLOW)
    assert needing(Need.NOISE) == set(ZEN)
    assert needing(Need.TRAINABILITY) == set(TRAINABILITY)
    assert needing(SIGN_NEEDS) == {*SIGNS, "l_swag"}  # it multiplies the two
    assert needing(FEATURE_NEEDS) == {*FEATURES, *TRAINABILITY}


# --- alone and in company --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("initialisation", ["keep", "normal"])
def test_a_value_is_the_same_alone_and_in_any_company(kind: Kind, initialisation: str) -> None:
    network, inputs, labels = draw(kind)
    protocol = Protocol(initialisation=initialisation, repeats=1 if initialisation == "keep" else 2, seed=4)
    alone: dict[str, object] = {}
    for name in ALL:
        alone |= without_cost(score(network, (inputs, labels), proxies=[name], protocol=protocol))
    rng = random.Random(0)
    for size in (len(ALL), len(ALL), 16, 8, 8, 4, 4, 2, 2):
        chosen = rng.sample(ALL, size)
        scores = score(network, (inputs, labels), proxies=chosen, protocol=protocol)
        assert list(scores) == chosen
        assert without_cost(scores) == {name: alone[name] for name in chosen}


def test_every_proxy_applies_where_it_should(kind: Kind) -> None:
    network, inputs, labels = draw(kind)
    scores = score(network, (inputs, labels), proxies=ALL)
    assert {name for name, one in scores.items() if one.status == "not_applicable"} == kind.refused
    assert {name for name, one in scores.items() if one.status == "failed"} == kind.failed
    assert all(one.ok for name, one in scores.items() if name not in kind.refused | kind.failed)


def test_single_beside_double_precision(kind: Kind) -> None:
    network, inputs, labels = draw(kind)
    if isinstance(network, Words):  # it draws numbers, and other ones in double precision
        return
    double = copy.deepcopy(network).double()
    converted = (
        {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in inputs.items()}
        if isinstance(inputs, dict)
        else inputs.double()
    )
    single = score(network, (inputs, labels), proxies=ALL)
    for name, one in score(double, (converted, labels), proxies=ALL).items():
        assert one.status == single[name].status
        if one.ok:
            # A null direction of the Jacobian's correlation costs 1 / (v + k): v is what rounding leaves.
            assert one.value == pytest.approx(single[name].value, rel=0.05 if name == "jacob_cov" else 1e-3, abs=1e-6)


def test_every_pass_draws_the_same_numbers() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(6, 40), nn.Linear(40, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu_(self.layer(x + torch.randn_like(x))))  # changed in place: run twice for fisher

    torch.manual_seed(0)
    network, batch = Noisy(), (torch.randn(SAMPLES, 6), torch.arange(SAMPLES) % CLASSES)
    alone = {name: without_cost(score(network, batch, proxies=[name]))[name] for name in ALL}
    assert without_cost(score(network, batch, proxies=ALL)) == alone


class Turned(nn.Module):
    """A linear layer whose input isn't contiguous: torch multiplies in one of two ways, by what needs a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.head = nn.Linear(8, 24), nn.LayerNorm(24), nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.layer(x.transpose(0, 1)))).mean(0))


@pytest.mark.parametrize("samples", [2, 4])
def test_frozen_networks_too_are_the_same_in_company(samples: int) -> None:
    torch.manual_seed(0)
    network, batch = Turned(), (torch.randn(samples, 5, 8), torch.arange(samples))
    expected = without_cost(score(network, batch, proxies=ALL))
    network.requires_grad_(False)
    assert without_cost(score(network, batch, proxies=ALL)) == expected
    for name in ALL:
        assert without_cost(score(network, batch, proxies=[name]))[name] == expected[name]


TROUBLE = {
    "SynFlow's pass": (_evidence, "absolute_pass", SYNFLOW),
    "Zen's pass": (_evidence, "noise_pass", ZEN),
    "parts": (_evidence, "part_gradients", PARTS),
    "the pass in which samples don't mix": (_evidence, "sample_pass", [*KERNEL, *FISHER, "grad_sign"]),
    "its kernel": (_samplewise, "_kernel", KERNEL),
    "its signs": (_samplewise, "_signs", ["grad_sign"]),
    "its Fisher matrix": (_samplewise, "_fisher", FISHER),
    "the coupled kernel": (_evidence, "coupled_kernel", COUPLED),
    "the Jacobian": (_gradients, "jacobian_rows", JACOBIAN),
    "the loss": (_gradients, "loss_value", LOSS),
    "gradients": (_gradients, "first_order", [name for name in LOSS if name != "grasp"]),
    "the Hessian": (_gradients, "hessian_products", ["grasp"]),
    "correlations": (_layer_maps, "correlation", MECO),
    "eigenvalues of correlations": (_layer_maps, "_smallest", MECO),
    "rows": (_layer_maps, "_rows", ["near"]),
    "singular values": (_layer_maps, "_ranks", ["near"]),
    "covariances of blocks": (_block_maps, "_set_covariance", ["az_expressivity", "az_progressivity"]),
    "gains": (_block_maps, "largest_singular_value", TRAINABILITY),
    "hidden layers": (_hidden_maps.HiddenMaps, "_take", ["w_pca"]),
}


@cache
def without_trouble(name: str) -> dict[str, Score]:
    network, inputs, labels = draw(KINDS[name])
    return score(network, (inputs, labels), proxies=ALL)


@pytest.mark.parametrize("where", TROUBLE)
@pytest.mark.parametrize("name", ["vision transformer", "convolutional"])
def test_trouble_in_one_pass_is_not_the_others(name: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = without_trouble(name)
    network, inputs, labels = draw(KINDS[name])
    owner, function, concerned = TROUBLE[where]

    def trouble(*args: object, **kwargs: object) -> None:
        raise RuntimeError("trouble")

    monkeypatch.setattr(owner, function, trouble)
    scores = score(network, (inputs, labels), proxies=ALL)
    hit = {one for one in concerned if expected[one].ok}
    assert {one for one, found in scores.items() if found.status == "failed"} >= hit
    for one in concerned:
        if scores[one].status == "failed":
            assert scores[one].reason == "RuntimeError while the network ran: trouble"
    others = [one for one in ALL if one not in concerned]
    assert without_cost({one: scores[one] for one in others}) == without_cost({one: expected[one] for one in others})


# --- passes ----------------------------------------------------------------------------------------------------------


class Calls:
    """Counts what a network really does. One pass over the batch may take several calls, one for each part of it."""

    def __init__(self) -> None:
        self.forwards, self.backwards = 0, 0

    def reset(self) -> None:
        self.forwards, self.backwards = 0, 0


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    counted, grad = Calls(), torch.autograd.grad

    def counting(*args: object, **kwargs: object) -> object:
        counted.backwards += 1
        return grad(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.autograd, "grad", counting)
    return counted


def watch(network: nn.Module, calls: Calls) -> None:
    def count(module: nn.Module, args: object) -> None:
        calls.forwards += 1

    network.register_forward_pre_hook(count)


# Stated forward and backward passes, and calls where these are more: parts of the batch are called one by one, and so
# are the five blocks of the network.
PASSES = [
    ("parameters", (0, 0), None),
    ("l2_norm, parameters", (0, 0), None),
    ("macs", (1, 0), None),
    ("swap, nwot, macs, l2_norm", (1, 0), None),
    ("linear_regions, swap(ternary=true), swap_regularized(mu=1, sigma=4)", (1, 0), None),
    ("meco, near, az_expressivity, az_progressivity", (1, 0), None),
    ("meco(opt=true), meco(modules=all), near, nwot, macs", (1, 0), None),
    ("az_trainability", (1, 1), (1, 4)),
    ("az_trainability, az_expressivity, jacob_cov", (1, 2), (1, 5)),
    ("snip", (1, 1), None),
    ("snip, plain, grad_norm, fisher, swap", (1, 1), None),
    ("grasp", (1, 2), None),
    ("grasp, snip", (1, 3), None),
    ("jacob_cov", (1, 1), None),
    ("jacob_cov, epe_nas, swap", (1, 1), None),
    ("jacob_cov, snip", (1, 2), None),
    ("synflow", (1, 1), None),
    ("synflow, synflow(batch_norm=true)", (2, 2), None),
    ("zen", (2, 0), None),
    ("zen, zen(variance=running), synflow, snip", (4, 2), None),
    ("ntk_condition", (1, 1), None),
    ("ntk_condition, ntk_mse, eigen_nas", (1, 1), None),
    ("ntk_condition(coupled=true), ntk_mse(coupled=true)", (1, SAMPLES), None),
    ("grad_sign", (1, 1), None),
    ("vkdnw, vkdnw(released=true)", (1, CLASSES), None),
    ("ntk_mse, grad_sign, vkdnw", (1, 2 + CLASSES), None),
    ("zico", (1, 1), (4, 4)),
    ("zico, sigeo", (1, 1), (4, 4)),
    ("zico(parts=2)", (1, 1), (2, 2)),
    ("zico, zico(parts=2)", (2, 2), (6, 6)),
    ("zico, fisher_rao, fisher_rao(step=true), sigeo(setting=vision)", (2, 2), (8, 8)),
    ("loss, swap", (1, 0), None),
    ("loss, snip", (1, 1), None),
    ("l_swag", (2, 1), (5, 4)),
    ("l_swag, swap, sigeo, near", (2, 1), (5, 4)),
    (
        [name for name in ALL if name != "w_pca"],
        (1 + 2 + 2 + 3 + 1 + 1, 1 + 4 + 2 + 3 + (2 + CLASSES) + SAMPLES),
        (1 + 2 + 2 + 10 + 1 + 1, 4 + 4 + 2 + 10 + (2 + CLASSES) + SAMPLES),
    ),
]


@pytest.mark.parametrize(("proxies", "stated", "called"), PASSES)
def test_the_passes_are_those_stated(
    proxies: str | list[str], stated: tuple[int, int], called: tuple[int, int] | None, calls: Calls
) -> None:
    network, inputs, labels = draw(KINDS["convolutional"])
    watch(network, calls)
    for repeats in (1, 3):
        calls.reset()
        protocol = Protocol(initialisation="normal", repeats=repeats)
        scores = score(network, (inputs, labels), proxies=proxies, protocol=protocol)
        assert all(one.ok for one in scores.values())
        assert (calls.forwards, calls.backwards) == tuple(repeats * count for count in called or stated)
        for one in scores.values():
            assert (one.cost.forwards, one.cost.backwards) == tuple(repeats * count for count in stated)
        assert len({one.cost.seconds for one in scores.values()}) == 1


def test_the_one_pass_of_w_pca(calls: Calls) -> None:
    network, inputs, labels = draw(KINDS["vision transformer"])
    watch(network, calls)
    scores = score(network, (inputs, labels), proxies="w_pca, near, swap")
    assert all((one.ok, one.cost.forwards, one.cost.backwards) == (True, 1, 0) for one in scores.values())
    assert (calls.forwards, calls.backwards) == (1, 0)


def test_passes_of_parts_take_every_sample_once() -> None:
    sizes: list[int] = []
    network, inputs, labels = draw(KINDS["convolutional"])
    network.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    score(network, (inputs, labels), proxies="zico, zico(parts=2), synflow, ntk_mse, ntk_mse(coupled=true)")
    # Halves, quarters, SynFlow's one sample, and the whole batch for each of the kernels.
    assert sorted(sizes) == [1, 2, 2, 2, 2, 4, 4, 8, 8]


def test_the_cost_is_what_was_taken(kind: Kind, calls: Calls) -> None:
    network, inputs, labels = draw(kind)
    watch(network, calls)
    own, begun = (
        len([name for name in SYNFLOW if name not in left]) for left in (kind.refused | kind.failed, kind.refused)
    )
    # The batch, SynFlow's and Zen's, halves, quarters, also with steps, samples apart, coupled. What raised isn't
    # counted.
    forwards = 1 + own + kind.noise + 3 + 1 + 1
    backwards = 4 + own + 3 + (2 + CLASSES) + SAMPLES
    scores = score(network, (inputs, labels), proxies=ALL)
    assert (calls.forwards, calls.backwards) == (forwards + begun - own + 7, backwards + 7 + kind.blocks)
    gains = scores["az_trainability"].ok  # those of all blocks are one pass
    assert {(one.cost.forwards, one.cost.backwards) for one in scores.values()} == {(forwards, backwards + gains)}
    calls.reset()
    # Blocks hand on copies of what they keep. Without them a second pass is needed if it was changed in place.
    forwards += kind.in_place
    scores = score(network, (inputs, labels), proxies=[name for name in ALL if name not in TRAINABILITY])
    assert (calls.forwards, calls.backwards) == (forwards + begun - own + 7, backwards + 7)
    assert {(one.cost.forwards, one.cost.backwards) for one in scores.values()} == {(forwards, backwards)}
    calls.reset()
    score(network, (inputs, labels), proxies=[*LOSS[:4], "jacob_cov", "swap", "macs", "l2_norm", *FEATURES])
    assert (calls.forwards, calls.backwards) == (1, 4)


# --- labels and losses -----------------------------------------------------------------------------------------------


def test_without_labels_the_rest_is_unaffected(kind: Kind) -> None:
    network, inputs, labels = draw(kind)
    with_labels = without_cost(score(network, (inputs, labels), proxies=ALL))
    for batch in (inputs, (inputs, None)):
        scores = score(network, batch, proxies=ALL)
        for name in LABELLED:
            assert scores[name].status == "not_applicable"
            assert scores[name].reason == "it needs labels, and the batch has none"
            assert scores[name].cost.forwards == 0
            del scores[name]
        assert without_cost(scores) == {name: with_labels[name] for name in scores}


# Wrong labels; why the loss refuses them on the batch, on the first half or quarter that it can't take, and after how
# many parts. What only groups by labels takes some of them.
PAIRS = torch.tensor([1, 1, 3, 3, 5, 5, 7, 7])
WRONG = {
    "too high": (
        PAIRS,
        "Labels reach from 1 to 7, the output has 4 classes.",
        ("Labels reach from 5 to 7, the output has 4 classes.", "Labels reach from 5 to 5, the output has 4 classes."),
        2 + 3 + 3,
        ["ntk_mse", "ntk_mse(coupled=true)"],
    ),
    "negative": (
        PAIRS - 7,
        "Labels reach from -6 to 0, the output has 4 classes.",
        ("Labels reach from -6 to -4, the output", "Labels reach from -6 to -6, the output"),
        1 + 1 + 1,
        [],
    ),
    "too few": (
        torch.zeros(SAMPLES - 1, dtype=torch.int64),
        "Output (8, 4) and labels (7,) are no classification.",
        ("Labels (7,) have no entry for each of 8 samples.",) * 2,
        0,
        [],
    ),
    "of two axes": (
        torch.zeros(SAMPLES, 4, dtype=torch.int64),
        "Output (8, 4) and labels (8, 4) are no classification.",
        tuple(f"Output ({size}, 4) and labels ({size}, 4) are no classification." for size in (4, 2)),
        1 + 1 + 1,
        [],
    ),
    "real": (
        torch.zeros(SAMPLES),
        "Output (8, 4) and labels (8,) differ.",
        tuple(f"Output ({size}, 4) and labels ({size},) differ." for size in (4, 2)),
        1 + 1 + 1,
        [],
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_labels_concern_what_uses_them_alone(wrong: str, calls: Calls) -> None:
    labels, reason, of_parts, parts, grouped = WRONG[wrong]
    network, inputs, right = draw(KINDS["convolutional"])
    expected = without_cost(score(network, (inputs, right), proxies=ALL))
    watch(network, calls)
    scores = score(network, (inputs, labels), proxies=ALL)
    assert calls.forwards == 1 + 2 + 2 + 1 + 1 + parts  # nothing is run again
    for name in OF_A_LOSS:
        assert scores[name].status == "not_applicable", name
        half = name == "zico(parts=2)"
        assert scores[name].reason.startswith(of_parts[not half] if name in PARTS else reason)
        assert "Give" in scores[name].reason or wrong == "too few"
    for name in BY_CLASS:
        assert scores[name].status == ("ok" if name in grouped else "not_applicable"), name
    unlabelled = [name for name in ALL if name not in LABELLED]
    assert without_cost({name: scores[name] for name in unlabelled}) == {name: expected[name] for name in unlabelled}


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
def test_labels_of_other_integer_types(dtype: torch.dtype) -> None:
    network, inputs, _ = draw(KINDS["perceptron"])
    labels = torch.arange(SAMPLES) % 2
    expected = score(network, (inputs, labels), proxies=LABELLED)
    assert all(one.ok for one in expected.values())
    assert without_cost(score(network, (inputs, labels.to(dtype)), proxies=LABELLED)) == without_cost(expected)


def test_labels_of_real_numbers_take_the_squared_error() -> None:
    network, inputs, _ = draw(KINDS["perceptron"])
    labels = torch.randn(SAMPLES, CLASSES)
    given = score(network, (inputs, labels), proxies=OF_A_LOSS, loss=lambda y, t: ((y - t) ** 2).mean())
    for name, one in score(network, (inputs, labels), proxies=OF_A_LOSS).items():
        assert one.value == pytest.approx(given[name].value, rel=1e-4)


def test_a_loss_of_ones_own() -> None:
    network, inputs, labels = draw(KINDS["convolutional"])
    other = copy.deepcopy(network).train()
    other[3].eval()  # dropout
    F.multi_margin_loss(other(inputs), labels).backward()
    layers = [m for m in other.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    by_hand = sum(m.weight.grad.norm().item() for m in layers)
    scores = score(network, (inputs, labels), proxies="grad_norm, jacob_cov", loss=F.multi_margin_loss)
    assert scores["grad_norm"].value == pytest.approx(by_hand, rel=1e-4)
    assert scores["jacob_cov"].value == score(network, inputs, proxies="jacob_cov")["jacob_cov"].value


class Several(nn.Module):
    """Returns logits among other things."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(6, 9), nn.Linear(9, CLASSES)

    def forward(self, x: Tensor) -> dict[str, object]:
        hidden = torch.tanh(self.layer(x))
        return {"name": "text", "ids": hidden.argmax(1), "logits": self.head(hidden), "hidden": [hidden]}


def test_outputs_of_several_parts() -> None:
    torch.manual_seed(2)
    network, inputs, labels = Several(), torch.randn(SAMPLES, 6), torch.randint(0, CLASSES, (SAMPLES,))
    plain = nn.Sequential(network.layer, nn.Tanh(), network.head)
    expected = score(plain, (inputs, labels), proxies=FROM_OUTPUT)
    assert all(one.ok for one in expected.values())

    def loss(output: dict[str, Tensor], targets: Tensor) -> Tensor:
        return F.cross_entropy(output["logits"], targets)

    scores = score(network, (inputs, labels), proxies=list(expected), loss=loss)
    assert without_cost(scores) == without_cost(expected)  # the first tensor of real numbers is what is summed
    scores = score(network, (inputs, labels), proxies=list(expected))
    for name in FROM_OUTPUT:
        if name in OF_A_LOSS:
            assert (scores[name].status, scores[name].reason) == (
                "not_applicable",
                "The output is a dict. Give a loss that takes it.",
            )
        else:
            assert scores[name].value == expected[name].value


@pytest.mark.parametrize(
    ("loss", "status", "reason"),
    [
        (lambda y, t: F.cross_entropy(y, t, reduction="none"), "not_applicable", "The loss is a tensor ("),
        (lambda y, t: 1.0, "not_applicable", "The loss is a float."),
        (lambda y, t: y.detach().sum(), "not_applicable", "through anything differentiable."),
        (lambda y, t: y["logits"].sum(), "failed", "IndexError while the network ran"),
        (lambda y, t: y.sum() * math.nan, "nan", "the proxy's value is nan"),
    ],
)
def test_a_loss_that_does_not_do(loss: Callable[[Tensor, Tensor], Tensor], status: str, reason: str) -> None:
    network, inputs, labels = draw(KINDS["perceptron"])
    expected = without_cost(score(network, (inputs, labels), proxies=ALL))
    scores = score(network, (inputs, labels), proxies=ALL, loss=loss)
    for name in OF_A_LOSS:
        assert scores[name].status == status, name
        assert reason in scores[name].reason
    others = [name for name in ALL if name not in OF_A_LOSS + VALUE]
    assert without_cost({name: scores[name] for name in others}) == {name: expected[name] for name in others}


# --- networks that can't be differentiated ---------------------------------------------------------------------------


class Cut(nn.Module):
    """A perceptron that gives away its graph."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.layer, self.head = nn.Linear(6, 30), nn.Linear(30, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "no_grad":
            with torch.no_grad():
                return self.head(F.relu(self.layer(x)))
        if self.how == "in place on a weight":
            self.layer.weight.mul_(1.0)
        y = self.head(F.relu(self.layer(x)))
        if self.how == "argmax":
            return y.argmax(1)
        if self.how == "detach":
            return y.detach()
        if self.how == "numpy":
            return torch.from_numpy(y.numpy())
        return y


@pytest.mark.parametrize(
    ("how", "status", "of_blocks"),
    [
        ("argmax", "not_applicable", "ok"),
        ("detach", "not_applicable", "ok"),
        ("no_grad", "not_applicable", "not_applicable"),
        ("numpy", "failed", "failed"),
        ("in place on a weight", "failed", "failed"),
    ],
)
def test_what_needs_no_gradient_is_unaffected(how: str, status: str, of_blocks: str, calls: Calls) -> None:
    torch.manual_seed(3)
    network, inputs = Cut(how), torch.randn(SAMPLES, 6)
    labels = torch.randint(0, CLASSES, (SAMPLES,))
    whole = Cut("")
    whole.load_state_dict(network.state_dict())
    expected = without_cost(score(whole, (inputs, labels), proxies=ALL))
    alone = {name: without_cost(score(network, (inputs, labels), proxies=[name]))[name] for name in ALL}
    watch(network, calls)
    scores = score(network, (inputs, labels), proxies=ALL)
    assert without_cost(scores) == alone
    for name in FROM_OUTPUT:
        assert scores[name].status == status, name
        assert scores[name].reason
    assert scores["az_trainability"].status == of_blocks
    unaffected = [*SIGNS, *FEATURES, *COUNTS, *ZEN, *(TRAINABILITY if of_blocks == "ok" else [])]
    for name in unaffected:
        assert without_cost(scores)[name] == expected[name]
    assert {name for name in unaffected if not scores[name].ok} == KINDS["perceptron"].refused
    if status == "not_applicable":
        # The batch, twice for SynFlow, the first half and the first quarter, this twice, samples apart, coupled.
        assert calls.forwards == 1 + 2 + 3 + 1 + 1


def test_no_second_derivative_concerns_grasp_alone(calls: Calls) -> None:
    network, inputs, labels = draw(KINDS["convolutional"])
    watch(network, calls)
    scores = score(network, (inputs, labels), proxies=FROM_OUTPUT, loss=F.multi_margin_loss)  # torch has none for it
    assert scores["grasp"].status == "not_applicable"
    assert "Network or loss can't be differentiated twice" in scores["grasp"].reason
    assert "multi_margin_loss_backward is not implemented" in scores["grasp"].reason
    assert all(one.ok for name, one in scores.items() if name != "grasp")
    assert calls.forwards == 1 + 2 + 10 + 1 + 1


def test_networks_without_weights_are_not_applicable() -> None:
    network = nn.Sequential(nn.BatchNorm1d(6), nn.GELU())
    scores = score(network, (torch.randn(SAMPLES, 6), torch.arange(SAMPLES) % 6), proxies=ALL)
    for name in (*LOSS, *PARTS, *SYNFLOW, *COUPLED):
        assert scores[name].status == "not_applicable"
        assert scores[name].reason == "The network has no convolution or linear layer."
    for name in (*KERNEL, *FISHER, "grad_sign"):
        assert scores[name].status == "not_applicable"
        assert scores[name].reason == "No convolution or linear layer ran."
    for name in ("az_expressivity", "az_progressivity", "az_trainability"):
        assert scores[name].status == "not_applicable"
        assert scores[name].reason.startswith("1 blocks were found")
    assert all(scores[name].ok for name in (*JACOBIAN, "near", "swap", "linear_regions", "parameters"))
    assert scores["l2_norm"].value == 0


def test_parts_that_run_without_a_graph() -> None:
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 9), nn.Linear(9, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = F.relu_(self.body(x))
            return self.head(x)

    torch.manual_seed(5)
    network, x, labels = Backbone(), torch.randn(SAMPLES, 6), torch.randint(0, CLASSES, (SAMPLES,))
    with torch.no_grad():
        hidden = F.relu(network.body(x))
    names = [*OF_A_LOSS, *KERNEL, *COUPLED, *FISHER]
    names.remove("l_swag")  # it sees the activation
    expected = score(network.head, (hidden, labels), proxies=names)
    for name, one in score(network, (x, labels), proxies=names).items():
        assert one.value == pytest.approx(expected[name].value, rel=1e-6), name


# --- nothing depends on the caller, and nothing is left behind -------------------------------------------------------


def test_frozen_parameters_are_differentiated_and_frozen_again(kind: Kind) -> None:
    network, inputs, labels = draw(kind)
    expected = without_cost(score(network, (inputs, labels), proxies=ALL))
    for frozen in (list(network.parameters()), list(network.parameters())[::2]):
        network.requires_grad_(True)
        for parameter in frozen:
            parameter.requires_grad_(False)
        flags = [parameter.requires_grad for parameter in network.parameters()]
        assert without_cost(score(network, (inputs, labels), proxies=ALL)) == expected
        assert [parameter.requires_grad for parameter in network.parameters()] == flags
        with torch.inference_mode():
            assert without_cost(score(network, (inputs, labels), proxies=ALL)) == expected
        assert [parameter.requires_grad for parameter in network.parameters()] == flags
    for name in ("snip", "grad_sign", "zico"):
        with pytest.raises(KeyboardInterrupt):
            score(network, (inputs, labels), proxies=name, loss=_interrupt)
        assert [parameter.requires_grad for parameter in network.parameters()] == flags
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def _interrupt(output: Tensor, labels: Tensor) -> Tensor:
    raise KeyboardInterrupt


def test_gradients_are_neither_made_nor_changed(kind: Kind) -> None:
    network, inputs, labels = draw(kind)
    for index, parameter in enumerate(network.parameters()):
        parameter.grad = torch.full_like(parameter, index) if index % 2 else None
    before = [(parameter.grad, parameter.detach().clone()) for parameter in network.parameters()]
    values = [None if gradient is None else gradient.clone() for gradient, _ in before]
    buffers = {name: (id(buffer), buffer.clone()) for name, buffer in network.named_buffers()}
    modes = [(module.training, getattr(module, "track_running_stats", None)) for module in network.modules()]
    state = torch.get_rng_state()
    for protocol in (None, Protocol(initialisation="kaiming", repeats=2)):
        score(network, (inputs, labels), proxies=ALL, protocol=protocol)
        for parameter, (gradient, weight), value in zip(network.parameters(), before, values, strict=True):
            assert parameter.grad is gradient
            assert value is None or torch.equal(parameter.grad, value)
            assert torch.equal(parameter, weight)
            assert parameter.is_leaf
            assert parameter.requires_grad
        for name, buffer in network.named_buffers():
            assert id(buffer) == buffers[name][0]
            assert torch.equal(buffer, buffers[name][1])
        assert torch.equal(torch.get_rng_state(), state)
        for module in network.modules():
            kinds = (
                module._forward_hooks,
                module._forward_pre_hooks,
                module._backward_hooks,
                module._backward_pre_hooks,
            )
            assert not any(kinds)
        assert modes == [(one.training, getattr(one, "track_running_stats", None)) for one in network.modules()]


def test_the_batch_is_not_touched(kind: Kind) -> None:
    network, inputs, labels = draw(kind)
    tensors = [*(inputs.values() if isinstance(inputs, dict) else [inputs]), labels]
    before = [(tensor.clone(), tensor._version) for tensor in tensors]
    score(network, (inputs, labels), proxies=ALL)
    for tensor, (values, version) in zip(tensors, before, strict=True):
        assert torch.equal(tensor, values)
        assert tensor._version == version
        assert not tensor.requires_grad
        assert tensor.grad is None


def test_the_callers_modes_do_not_matter(kind: Kind) -> None:
    network, inputs, labels = draw(kind)
    expected = without_cost(score(network, (inputs, labels), proxies=ALL))
    with torch.no_grad():
        assert without_cost(score(network, (inputs, labels), proxies=ALL)) == expected
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert without_cost(score(network, (inputs, labels), proxies=ALL)) == expected
        own = {k: v.clone() for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.clone()
        assert without_cost(score(network, (own, labels.clone()), proxies=ALL)) == expected
    assert without_cost(score(network, (own, labels), proxies=ALL)) == expected  # a batch made in that mode
    network.eval()
    assert without_cost(score(network, (inputs, labels), proxies=ALL)) == expected


@pytest.mark.parametrize("fused", [False, True])
def test_grasp_through_torchs_attention(fused: bool) -> None:
    torch.manual_seed(6)
    network, x = Vision(fused=fused).double(), torch.randn(SAMPLES, 3, 8, 8, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (SAMPLES,))
    network.eval()  # no dropout
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    weights = [layer.weight for layer in layers]

    def gradient() -> list[Tensor]:
        found = torch.autograd.grad(F.cross_entropy(network(x), labels), weights)
        return [one.clone() for one in found]

    direction, step, ends = gradient(), 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            kept = [weight.clone() for weight in weights]
            for weight, one in zip(weights, direction, strict=True):
                weight.add_(one, alpha=sign * step)
        ends.append(gradient())
        with torch.no_grad():
            for weight, one in zip(weights, kept, strict=True):
                weight.copy_(one)
    by_hand = -sum(
        (weight * (a - b)).sum().item() / (2 * step) for weight, a, b in zip(weights, ends[0], ends[1], strict=True)
    )
    scores = score(network, (x, labels), proxies="grasp, snip")
    assert scores["grasp"].value == pytest.approx(by_hand, rel=1e-6)
    assert scores["snip"].value == pytest.approx(
        sum((w * g).abs().sum().item() for w, g in zip(weights, direction, strict=True)), rel=1e-12
    )


# --- what is told ----------------------------------------------------------------------------------------------------


def test_a_non_finite_output_concerns_what_is_read_from_it() -> None:
    network, inputs, labels = draw(KINDS["convolutional"])
    finite = without_cost(score(network, (inputs, labels), proxies=ALL))
    with torch.no_grad():
        network[-1].bias[2] = math.inf
    alone: dict[str, object] = {}
    for name in ALL:
        alone |= without_cost(score(network, (inputs, labels), proxies=[name]))
    scores = score(network, (inputs, labels), proxies=ALL)
    assert without_cost(scores) == alone
    parts = [name for name in PARTS if name != "l_swag"]
    own = [*KERNEL, *COUPLED, *FISHER, "grad_sign", *parts]  # the passes show it themselves
    unaffected = [*COUNTS, *ZEN, *SYNFLOW]
    for name in ALL:
        if name in unaffected:
            assert alone[name] == finite[name]
        else:
            assert scores[name].status == "nan", name
            reason = "the proxy's value is nan" if name in own else "the output has 8 non-finite of 32 numbers"
            assert scores[name].reason == reason


def test_warnings_about_activations_concern_signs_alone() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.gate = nn.Linear(6, CLASSES), nn.Parameter(torch.randn(CLASSES + 1))

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.layer(x)) * F.relu(self.gate)[1:]

    torch.manual_seed(7)
    scores = score(
        Gated(), (torch.randn(SAMPLES, 6), torch.arange(SAMPLES) % 2), proxies="swap, snip, synflow, l2_norm"
    )
    assert scores["swap"].warnings
    assert not any(scores[name].warnings for name in ("snip", "synflow", "l2_norm"))
