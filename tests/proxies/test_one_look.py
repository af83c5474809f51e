"""All proxies from shared passes: how many, at what cost, and that no value depends on what else is computed."""

import copy
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot._types import Protocol, Score
from subshot.proxies._proxy import list_proxies
from subshot.proxies._score import score

Inputs = Tensor | dict[str, Tensor]

LOSS = ["grad_norm", "plain", "snip", "grasp", "fisher"]
JACOBIAN = ["jacob_cov", "epe_nas"]
ALL = [
    *(name for name in list_proxies() if name != "swap_regularized"), "swap(ternary=true)",
    "swap_regularized(mu=1, sigma=4)", "epe_nas(branch=many)", "zen(variance=running)",
]  # fmt: skip
SAMPLES, CLASSES = 8, 4


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
    """A network, a batch for it, and which proxies don't apply."""

    make: Callable[[], nn.Module]
    batch: Callable[[], Inputs]
    refused: frozenset[str] = frozenset()
    in_place: bool = False


def images() -> Tensor:
    return torch.randn(SAMPLES, 3, 8, 8)


ZEN = frozenset({"zen", "zen(variance=running)"})
KINDS = {
    "convolutional": Kind(cnn, images),
    "convolutional, in place": Kind(in_place_cnn, images, in_place=True),
    "vision transformer": Kind(Vision, images, ZEN),
    "words": Kind(Words, lambda: torch.randint(0, 13, (SAMPLES, 6)), ZEN | {"synflow"}),
    "perceptron": Kind(mlp, lambda: torch.randn(SAMPLES, 6), ZEN),
    "recommender": Kind(
        Recommender,
        lambda: {
            "dense": torch.randn(SAMPLES, 4),
            "user": torch.randint(0, 17, (SAMPLES,)),
            "tags": torch.randint(0, 13, (SAMPLES, 3)),
        },
        ZEN | {"synflow"},
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


# --- alone and in company --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("initialisation", ["keep", "normal"])
def test_a_value_is_the_same_alone_and_in_any_company(kind: Kind, initialisation: str) -> None:
    network, inputs, labels = draw(kind)
    protocol = Protocol(initialisation=initialisation, repeats=1 if initialisation == "keep" else 2, seed=4)
    alone: dict[str, object] = {}
    for name in ALL:
        alone |= without_cost(score(network, (inputs, labels), proxies=[name], protocol=protocol))
    rng = random.Random(0)
    for size in (len(ALL), len(ALL), 8, 4, 4, 2, 2):
        chosen = rng.sample(ALL, size)
        scores = score(network, (inputs, labels), proxies=chosen, protocol=protocol)
        assert list(scores) == chosen
        assert without_cost(scores) == {name: alone[name] for name in chosen}


def test_every_proxy_applies_where_it_should(kind: Kind) -> None:
    network, inputs, labels = draw(kind)
    scores = score(network, (inputs, labels), proxies=ALL)
    assert {name for name, one in scores.items() if one.status == "not_applicable"} == kind.refused
    assert all(one.ok for name, one in scores.items() if name not in kind.refused)


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
    names = ["swap", "nwot", "fisher", "jacob_cov", "synflow", "grasp"]
    alone = {name: without_cost(score(network, batch, proxies=name))[name] for name in names}
    assert without_cost(score(network, batch, proxies=names)) == alone


# --- passes ----------------------------------------------------------------------------------------------------------


class Passes:
    """Counts what a network really does."""

    def __init__(self) -> None:
        self.forwards, self.backwards = 0, 0

    def reset(self) -> None:
        self.forwards, self.backwards = 0, 0


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Passes]:
    counted, grad = Passes(), torch.autograd.grad

    def counting(*args: object, **kwargs: object) -> object:
        counted.backwards += 1
        return grad(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.autograd, "grad", counting)
    return counted


def watch(network: nn.Module, passes: Passes) -> None:
    def count(module: nn.Module, args: object) -> None:
        passes.forwards += 1

    network.register_forward_pre_hook(count)


@pytest.mark.parametrize(
    ("proxies", "forwards", "backwards"),
    [
        ("parameters", 0, 0),
        ("l2_norm, parameters", 0, 0),
        ("macs", 1, 0),
        ("swap, nwot, macs, l2_norm", 1, 0),
        ("snip", 1, 1),
        ("snip, plain, grad_norm, fisher, swap", 1, 1),
        ("grasp", 1, 2),
        ("grasp, snip", 1, 3),
        ("jacob_cov", 1, 1),
        ("jacob_cov, epe_nas, swap", 1, 1),
        ("jacob_cov, snip", 1, 2),
        ("synflow", 1, 1),
        ("zen", 2, 0),
        ("zen, zen(variance=running), synflow, snip", 4, 2),
        (ALL, 4, 5),
    ],
)
def test_the_passes_are_those_stated(proxies: str, forwards: int, backwards: int, passes: Passes) -> None:
    network, inputs, labels = draw(KINDS["convolutional"])
    watch(network, passes)
    for repeats in (1, 3):
        passes.reset()
        protocol = Protocol(initialisation="normal", repeats=repeats)
        scores = score(network, (inputs, labels), proxies=proxies, protocol=protocol)
        assert all(one.ok for one in scores.values())
        assert (passes.forwards, passes.backwards) == (repeats * forwards, repeats * backwards)
        for one in scores.values():
            assert (one.cost.forwards, one.cost.backwards) == (passes.forwards, passes.backwards)
        assert len({one.cost.seconds for one in scores.values()}) == 1


def test_the_cost_is_what_was_taken(kind: Kind, passes: Passes) -> None:
    network, inputs, labels = draw(kind)
    watch(network, passes)
    scores = score(network, (inputs, labels), proxies=ALL)
    synflow = "synflow" not in kind.refused
    # Without pooling Zen stops after its first pass; other inputs than images it doesn't run on at all.
    zen = 2 if not kind.refused else int(isinstance(network, Vision))
    assert (passes.forwards, passes.backwards) == (1 + kind.in_place + synflow + zen, 4 + synflow)
    assert {(one.cost.forwards, one.cost.backwards) for one in scores.values()} == {(passes.forwards, passes.backwards)}
    passes.reset()
    score(network, (inputs, labels), proxies=[*LOSS[:4], "jacob_cov", "swap", "macs", "l2_norm"])
    assert (passes.forwards, passes.backwards) == (1, 4)


# --- labels and losses -----------------------------------------------------------------------------------------------


def test_without_labels_the_rest_is_unaffected(kind: Kind) -> None:
    network, inputs, labels = draw(kind)
    with_labels = without_cost(score(network, (inputs, labels), proxies=ALL))
    for batch in (inputs, (inputs, None)):
        scores = score(network, batch, proxies=ALL)
        for name in [*LOSS, "epe_nas", "epe_nas(branch=many)"]:
            assert scores[name].status == "not_applicable"
            assert scores[name].reason == "it needs labels, and the batch has none"
            assert scores[name].cost.forwards == 0
            del scores[name]
        assert without_cost(scores) == {name: with_labels[name] for name in scores}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (torch.arange(SAMPLES), "Labels reach from 0 to 7, the output has 4 classes."),
        (torch.arange(SAMPLES) - 7, "Labels reach from -7 to 0, the output has 4 classes."),
        (torch.zeros(SAMPLES - 1, dtype=torch.int64), "Output (8, 4) and labels (7,) are no classification."),
        (torch.zeros(SAMPLES, 4, dtype=torch.int64), "Output (8, 4) and labels (8, 4) are no classification."),
        (torch.zeros(SAMPLES), "Output (8, 4) and labels (8,) differ."),
    ],
)
def test_wrong_labels_concern_the_loss_alone(labels: Tensor, reason: str, passes: Passes) -> None:
    network, inputs, right = draw(KINDS["convolutional"])
    expected = without_cost(score(network, (inputs, right), proxies=ALL))
    watch(network, passes)
    passes.reset()
    scores = score(network, (inputs, labels), proxies=ALL)
    assert passes.forwards == 4  # nothing is run again
    for name in LOSS:
        assert scores[name].status == "not_applicable"
        assert scores[name].reason.startswith(reason)
        assert "Give" in scores[name].reason
    fits = labels.shape == right.shape and not labels.is_floating_point()
    for name in ("epe_nas", "epe_nas(branch=many)"):  # only groups by them
        assert scores.pop(name).ok is fits
    assert without_cost({k: v for k, v in scores.items() if k not in LOSS}) == {
        name: value for name, value in expected.items() if name in scores and name not in LOSS
    }


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
def test_labels_of_other_integer_types(dtype: torch.dtype) -> None:
    network, inputs, _ = draw(KINDS["perceptron"])
    labels = torch.arange(SAMPLES) % 2
    expected = score(network, (inputs, labels), proxies=[*LOSS, "epe_nas"])
    assert without_cost(score(network, (inputs, labels.to(dtype)), proxies=[*LOSS, "epe_nas"])) == without_cost(
        expected
    )


def test_labels_of_real_numbers_take_the_squared_error() -> None:
    network, inputs, _ = draw(KINDS["perceptron"])
    labels = torch.randn(SAMPLES, CLASSES)
    given = score(network, (inputs, labels), proxies=LOSS, loss=lambda y, t: ((y - t) ** 2).mean())
    for name, one in score(network, (inputs, labels), proxies=LOSS).items():
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
    expected = score(plain, (inputs, labels), proxies=[*LOSS, *JACOBIAN, "synflow"])

    def loss(output: dict[str, Tensor], targets: Tensor) -> Tensor:
        return F.cross_entropy(output["logits"], targets)

    scores = score(network, (inputs, labels), proxies=list(expected), loss=loss)
    assert without_cost(scores) == without_cost(expected)  # the first tensor of real numbers is what is summed
    scores = score(network, (inputs, labels), proxies=list(expected))
    for name in LOSS:
        assert (scores[name].status, scores[name].reason) == (
            "not_applicable",
            "The output is a dict. Give a loss that takes it.",
        )
    assert scores["jacob_cov"].value == expected["jacob_cov"].value


@pytest.mark.parametrize(
    ("loss", "status", "reason"),
    [
        (lambda y, t: F.cross_entropy(y, t, reduction="none"), "not_applicable", "The loss is a tensor (8,)."),
        (lambda y, t: 1.0, "not_applicable", "The loss is a float."),
        (lambda y, t: y.detach().sum(), "not_applicable", "through anything differentiable."),
        (lambda y, t: y["logits"].sum(), "failed", "IndexError while the network ran"),
        (lambda y, t: y.sum() * math.nan, "nan", "the proxy's value is nan"),
    ],
)
def test_a_loss_that_does_not_do(loss: Callable[[Tensor, Tensor], Tensor], status: str, reason: str) -> None:
    network, inputs, labels = draw(KINDS["perceptron"])
    scores = score(network, (inputs, labels), proxies=[*LOSS, *JACOBIAN, "swap"], loss=loss)
    for name in LOSS:
        assert scores[name].status == status, name
        assert reason in scores[name].reason
    assert all(scores[name].ok for name in (*JACOBIAN, "swap"))


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


GRAPH = [*LOSS, *JACOBIAN]


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("argmax", "not_applicable"),
        ("detach", "not_applicable"),
        ("no_grad", "not_applicable"),
        ("numpy", "failed"),
        ("in place on a weight", "failed"),
    ],
)
def test_what_needs_no_gradient_is_unaffected(how: str, status: str, passes: Passes) -> None:
    torch.manual_seed(3)
    network, inputs = Cut(how), torch.randn(SAMPLES, 6)
    labels = torch.randint(0, CLASSES, (SAMPLES,))
    whole = Cut("")
    whole.load_state_dict(network.state_dict())
    expected = without_cost(score(whole, (inputs, labels), proxies=ALL))
    watch(network, passes)
    scores = score(network, (inputs, labels), proxies=ALL)
    for name in GRAPH:
        assert scores[name].status == status, name
        assert scores[name].reason
    for name in ("swap", "swap(ternary=true)", "nwot", "macs", "parameters", "l2_norm"):
        assert without_cost(scores)[name] == expected[name]
    if status == "not_applicable":
        assert passes.forwards == 2  # the batch's and SynFlow's


def test_no_second_derivative_concerns_grasp_alone(passes: Passes) -> None:
    network, inputs, labels = draw(KINDS["convolutional"])
    watch(network, passes)
    scores = score(network, (inputs, labels), proxies=GRAPH, loss=F.multi_margin_loss)  # torch has none for it
    assert scores["grasp"].status == "failed"
    assert "multi_margin_loss_backward is not implemented" in scores["grasp"].reason
    assert all(one.ok for name, one in scores.items() if name != "grasp")
    assert passes.forwards == 1


def test_networks_without_weights_are_not_applicable() -> None:
    network = nn.Sequential(nn.BatchNorm1d(6), nn.GELU())
    scores = score(network, (torch.randn(SAMPLES, 6), torch.arange(SAMPLES) % 6), proxies=ALL)
    for name in (*LOSS, "synflow"):
        assert scores[name].status == "not_applicable"
        assert scores[name].reason == "The network has no convolution or linear layer."
    assert scores["jacob_cov"].ok
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
    expected = score(network.head, (hidden, labels), proxies=LOSS)
    for name, one in score(network, (x, labels), proxies=LOSS).items():
        assert one.value == pytest.approx(expected[name].value, rel=1e-6)


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
    with pytest.raises(KeyboardInterrupt):
        score(network, (inputs, labels), proxies="snip", loss=_interrupt)
    assert [parameter.requires_grad for parameter in network.parameters()] == flags


def _interrupt(output: Tensor, labels: Tensor) -> Tensor:
    raise KeyboardInterrupt


def test_gradients_are_neither_made_nor_changed(kind: Kind) -> None:
    network, inputs, labels = draw(kind)
    for index, parameter in enumerate(network.parameters()):
        parameter.grad = torch.full_like(parameter, index) if index % 2 else None
    before = [(parameter.grad, parameter.detach().clone()) for parameter in network.parameters()]
    values = [None if gradient is None else gradient.clone() for gradient, _ in before]
    buffers = {name: (id(buffer), buffer.clone()) for name, buffer in network.named_buffers()}
    state = torch.get_rng_state()
    for protocol in (None, Protocol(initialisation="kaiming", repeats=2)):
        score(network, (inputs, labels), proxies=ALL, protocol=protocol)
        for parameter, (gradient, weight), value in zip(network.parameters(), before, values, strict=True):
            assert parameter.grad is gradient
            assert value is None or torch.equal(parameter.grad, value)
            assert torch.equal(parameter, weight)
            assert parameter.is_leaf
        for name, buffer in network.named_buffers():
            assert id(buffer) == buffers[name][0]
            assert torch.equal(buffer, buffers[name][1])
        assert torch.equal(torch.get_rng_state(), state)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


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
    for name in (*GRAPH, "swap", "nwot", "epe_nas(branch=many)"):
        assert scores[name].reason == "the output has 8 non-finite of 32 numbers"
    for name in ("l2_norm", "parameters", "macs", *ZEN):
        assert alone[name] == finite[name]


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
