"""Jacobian covariance and EPE-NAS against NumPy; which gradients the rows are for every kind of input."""

import copy
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot.errors import OptionError
from subshot.proxies._evidence import look
from subshot.proxies._prepare import prepared
from subshot.proxies._proxy import Need
from subshot.proxies._score import score

K = 1e-5


class Given(nn.Module):
    """A network whose input gradients are given: sample i times row i."""

    def __init__(self, rows: Tensor, outputs: int = 1) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("rows", rows)

    def forward(self, x: Tensor) -> Tensor:
        return ((x.flatten(1) * self.rows).sum(1, keepdim=True) / self.outputs).expand(-1, self.outputs)


def jacob_cov_by_numpy(rows: np.ndarray) -> float:
    v = np.maximum(np.linalg.eigvalsh(np.corrcoef(rows)), 0)
    return float(-np.sum(np.log(v + K) + 1 / (v + K)))


def epe_by_numpy(rows: np.ndarray, labels: np.ndarray, *, many: bool) -> float:
    per_class = []
    for label in np.unique(labels):
        members = [row for row, its in zip(rows, labels, strict=True) if its == label]
        if many and len(members) == 1:
            continue
        entries = 0.0
        for a, b in itertools.product(members, members):
            a, b = a - a.mean(), b - b.mean()
            entries += math.log(abs(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))) + K)
        per_class.append(entries / len(members) if many else entries)
    if not many:
        return sum(abs(entries) for entries in per_class)
    return sum(abs(a - b) for a, b in itertools.combinations(per_class, 2)) / len(per_class)


def ok(network: nn.Module, batch: object, name: str = "jacob_cov") -> float:
    result = score(network, batch, proxies=[name])[name]  # type: ignore[arg-type]
    assert result.ok, result.reason
    return result.value


def rows_of(network: nn.Module, inputs: Tensor | dict[str, Tensor]) -> Tensor:
    with prepared(network, batch_norm="batch", keep_parameters=False):
        rows = look(network, inputs, Need.JACOBIAN).jacobian
    assert rows is not None
    return rows


# --- the score from given rows ---------------------------------------------------------------------------------------


def hadamard(size: int) -> Tensor:
    rows = torch.ones(1, 1, dtype=torch.float64)
    while len(rows) < size:
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    return rows


@pytest.mark.parametrize("samples", [1, 2, 7, 15])
def test_orthogonal_rows_give_the_highest_score(samples: int) -> None:
    rows = hadamard(16)[1 : samples + 1] * torch.linspace(0.1, 9, samples, dtype=torch.float64)[:, None]
    found = ok(Given(rows + 0.3), torch.randn(samples, 16, dtype=torch.float64))
    assert found == pytest.approx(-samples * (math.log(1 + K) + 1 / (1 + K)), rel=1e-12)
    if samples > 1:
        assert found > ok(Given(torch.randn(samples, 16)), torch.randn(samples, 16))


@pytest.mark.parametrize("seed", range(3))
def test_against_numpy(seed: int) -> None:
    torch.manual_seed(seed)
    rows = torch.randn(9, 5, dtype=torch.float64) @ torch.randn(5, 40, dtype=torch.float64)
    rows += 0.1 * torch.randn_like(rows)
    labels = torch.tensor([0, 1, 1, 2, 2, 2, 7, 7, 7])  # one class has one sample, one isn't next to the others
    batch = (torch.randn(9, 2, 20, dtype=torch.float64), labels)
    assert ok(Given(rows), batch) == pytest.approx(jacob_cov_by_numpy(rows.numpy()), rel=1e-9)
    for branch in ("few", "many"):
        expected = epe_by_numpy(rows.numpy(), labels.numpy(), many=branch == "many")
        assert ok(Given(rows, 8), batch, f"epe_nas(branch={branch})") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("outputs", "many"), [(100, False), (101, True)])
def test_epe_nas_chooses_its_branch_by_the_classes(outputs: int, many: bool) -> None:
    torch.manual_seed(0)
    rows, labels = torch.randn(8, 12, dtype=torch.float64), torch.tensor([0, 0, 5, 5, 5, 80, 80, 2])
    result = score(Given(rows, outputs), (torch.randn(8, 12, dtype=torch.float64), labels), proxies="epe_nas")[
        "epe_nas"
    ]
    assert result.value == pytest.approx(epe_by_numpy(rows.numpy(), labels.numpy(), many=many), rel=1e-9)
    assert result.parts["classes"] == (3 if many else 4)


def test_related_samples_lower_the_score() -> None:
    rows = hadamard(8)[[1, 2, 2, 4]]
    v = np.array([1, 2, 0, 1])  # two equal rows: one eigenvalue of 2, and a null direction
    expected = -np.sum(np.log(v + K) + 1 / (v + K))
    assert ok(Given(rows), torch.randn(4, 8, dtype=torch.float64)) == pytest.approx(expected, rel=1e-9)
    assert expected < -9e4


@pytest.mark.parametrize("rows", [torch.zeros(4, 7), torch.full((4, 7), 0.1), torch.eye(4)[:, :1] * torch.ones(7)])
def test_constant_rows_have_no_correlation(rows: Tensor) -> None:
    labels = torch.tensor([0, 0, 1, 1])
    scores = score(Given(rows), (torch.randn(4, 7), labels), proxies="jacob_cov, epe_nas, parameters")
    for name in ("jacob_cov", "epe_nas"):
        assert scores[name].status == "not_applicable"
        assert scores[name].reason == "the input gradient of some sample is constant"
    assert scores["parameters"].ok


def test_a_network_that_ignores_its_input_is_not_applicable() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.values = nn.Parameter(torch.randn(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.values.expand(len(x), 3)

    assert score(Constant(), torch.randn(5, 4), proxies="jacob_cov")["jacob_cov"].status == "not_applicable"


def test_rows_that_are_not_finite_give_no_number() -> None:
    class Steep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.abs().sqrt()

    x = torch.randn(4, 6)
    x[1, 2] = 0
    scores = score(Steep(), (x, torch.tensor([0, 1, 0, 1])), proxies="jacob_cov, epe_nas")
    assert {(one.status, one.reason) for one in scores.values()} == {("nan", "the proxy's value is nan")}


def test_epe_nas_needs_a_class_for_each_sample() -> None:
    x, rows = torch.randn(4, 7), torch.randn(4, 7)
    for labels in (torch.zeros(4), torch.zeros(4, 2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)):
        scores = score(Given(rows), (x, labels), proxies="epe_nas, jacob_cov")
        assert (scores["epe_nas"].status, scores["epe_nas"].reason) == (
            "not_applicable",
            "it needs one class for each sample",
        )
        assert scores["jacob_cov"].ok
    for outputs, last in ((1, 1), (3, 2), (120, 119)):  # one output stands for two classes
        expected = f", and the network has outputs for classes 0 to {last}"
        for low, high in ((0, last + 1), (-1, 1), (0, last)):
            labels = torch.tensor([low, high, high, low])
            found = score(Given(rows, outputs), (x, labels), proxies="epe_nas")["epe_nas"]
            assert found.ok is (low == 0 and high == last)
            assert found.ok or found.reason == f"labels reach from {low} to {high}{expected}"
    with pytest.raises(OptionError, match="no branch 'most' of epe_nas"):
        score(Given(rows), (x, torch.tensor([0, 0, 1, 1])), proxies="epe_nas(branch=most)")


# --- the rows --------------------------------------------------------------------------------------------------------


def test_rows_are_gradients_of_the_summed_output() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.Conv2d(5, 4, 2), nn.GELU(), nn.Flatten(),
        nn.Linear(36, 6),
    ).double()  # fmt: skip
    x = torch.randn(7, 3, 6, 6, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    copy.deepcopy(network).train()(leaf).sum().backward()
    expected = leaf.grad.flatten(1)
    torch.testing.assert_close(rows_of(network, x), expected, rtol=1e-10, atol=1e-14)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    assert ok(network, x) == pytest.approx(jacob_cov_by_numpy(expected.numpy()), rel=1e-8)
    assert ok(network, (x, labels), "epe_nas") == pytest.approx(
        epe_by_numpy(expected.numpy(), labels.numpy(), many=False), rel=1e-8
    )
    step, direction = 1e-6, torch.randn_like(x)
    with torch.no_grad():
        ends = [copy.deepcopy(network).train()(x + sign * step * direction).sum().item() for sign in (1, -1)]
    assert (expected * direction.flatten(1)).sum().item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_an_input_that_the_network_changes_in_place() -> None:
    class Scaling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(3).tanh()

    x = torch.randn(4, 6)
    torch.testing.assert_close(rows_of(Scaling(), x), 3 * (1 - torch.tanh(3 * x) ** 2))


class Mixer(nn.Module):
    """Embedded tokens and positions through a network that mixes them; ``how`` says by which way they come in."""

    def __init__(self, how: str, length: int) -> None:
        super().__init__()
        self.how = how
        self.table, self.positions = nn.Embedding(13, 4), nn.Embedding(length, 4)
        self.mix, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def embedded(self, ids: Tensor) -> Tensor:
        if self.how == "tokens first":
            return self.table(ids.T)
        if self.how == "flat":
            return self.table(ids.reshape(-1)).reshape(*ids.shape, 4)
        if self.how == "in place":
            return self.table(ids).mul_(2).relu_()
        if self.how == "functional, shifted":
            return F.embedding((ids + 1).clamp(max=12), self.table.weight)
        if self.how == "pieces":
            return torch.cat([self.table(one) for one in torch.stack([ids, ids]).flip(2).unbind(0)[0].split(1, 1)], 1)
        return self.table(ids)

    def after(self, x: Tensor) -> Tensor:
        if self.how == "tokens first":
            x = x.transpose(0, 1)
        x = x + self.positions(torch.arange(x.shape[1])) + self.positions(torch.zeros(1, dtype=torch.int64))
        return self.head(torch.tanh(self.mix(x)).mean(1))

    def forward(self, ids: Tensor) -> Tensor:
        return self.after(self.embedded(ids))


def mixer_by_hand(network: Mixer, ids: Tensor) -> Tensor:
    """Gradient for the looked-up embeddings, whatever is done with them after."""
    how, index = network.how, ids
    if how == "functional, shifted":
        index = (ids + 1).clamp(max=12)
    elif how == "pieces":
        index = ids.flip(1)
    leaf = network.table.weight.detach()[index].requires_grad_()
    x = (2 * leaf).relu() if how == "in place" else leaf
    if how == "tokens first":
        x = x.transpose(0, 1)
    network.after(x).sum().backward()
    return leaf.grad.flatten(1)


WAYS = ["plain", "tokens first", "flat", "in place", "functional, shifted", "pieces", "frozen"]
# As many tokens as samples, no multiple and a multiple of them. With as many, tokens in front would be read as samples.
LENGTHS = [(how, length) for how in WAYS for length in (5, 7, 10) if (how, length) != ("tokens first", 5)]


@pytest.mark.parametrize(("how", "length"), LENGTHS)
def test_integer_inputs_are_replaced_by_their_embeddings(how: str, length: int) -> None:
    torch.manual_seed(2)
    network, ids = Mixer(how, length).double(), torch.randint(0, 13, (5, length))
    network.table.weight.requires_grad_(how != "frozen")
    expected = mixer_by_hand(network, ids)
    torch.testing.assert_close(rows_of(network, ids), expected, rtol=1e-10, atol=1e-14)
    assert ok(network, ids) == pytest.approx(jacob_cov_by_numpy(expected.numpy()), rel=1e-7)
    assert network.table.weight.requires_grad is (how != "frozen")


class Recommender(nn.Module):
    """Dense features, categories in a column of their own and among the dense ones, and bags of categories."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.tags = nn.Embedding(17, 3), nn.EmbeddingBag(13, 3, mode="mean")
        self.kinds = nn.Embedding(4, 2)
        self.head = nn.Linear(10, 4)

    def forward(self, *, dense: Tensor, user: Tensor, tags: Tensor) -> Tensor:
        parts = [dense[:, :2], self.users(user), self.tags(tags), self.kinds(dense[:, 2].long())]
        return torch.tanh(self.head(torch.cat(parts, dim=1)))


def test_dense_and_sparse_inputs() -> None:
    torch.manual_seed(3)
    network = Recommender().double()
    dense = torch.cat([torch.randn(6, 2), torch.randint(0, 4, (6, 1)).float()], 1).double()
    inputs = {"dense": dense, "user": torch.arange(6), "tags": torch.randint(0, 13, (6, 2))}
    leaves = [
        dense.clone().requires_grad_(),
        network.users.weight.detach()[inputs["user"]].requires_grad_(),
        network.tags.weight.detach()[inputs["tags"]].mean(1).requires_grad_(),
        network.kinds.weight.detach()[dense[:, 2].long()].requires_grad_(),
    ]
    torch.tanh(network.head(torch.cat([leaves[0][:, :2], *leaves[1:]], 1))).sum().backward()
    expected = torch.cat([leaf.grad for leaf in leaves], 1)
    torch.testing.assert_close(rows_of(network, inputs), expected, rtol=1e-10, atol=1e-14)
    assert ok(network, inputs) == pytest.approx(jacob_cov_by_numpy(expected.numpy()), rel=1e-7)


class Codes(nn.Module):
    """Looks codes up by what it has computed, as vector quantisers do: those are no inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.codes, self.layer = nn.Embedding(5, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.codes(self.layer(x).argmax(1))).tanh()


def test_only_inputs_are_differentiated() -> None:
    x = torch.randn(4, 6)
    network = Codes()
    rows = rows_of(network, x)
    assert rows.shape == (4, 6)
    leaf = x.clone().requires_grad_()
    network(leaf).sum().backward()
    torch.testing.assert_close(rows, leaf.grad)


@pytest.mark.parametrize(
    "forward", [lambda ids: F.one_hot(ids, 5).float(), lambda ids: ids.float().tanh()], ids=["one-hot", "as numbers"]
)
def test_integers_without_embeddings_are_not_applicable(forward: Callable[[Tensor], Tensor]) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LazyLinear(3)

        def forward(self, ids: Tensor) -> Tensor:
            return self.layer(forward(ids.reshape(len(ids), -1)).flatten(1)).relu()

    network, ids = Bare(), torch.tensor([0, 3, 1, 4])
    network(ids)
    scores = score(network, (ids, torch.tensor([0, 1, 2, 0])), proxies="jacob_cov, epe_nas, snip, swap")
    for name in ("jacob_cov", "epe_nas"):
        assert scores[name].status == "not_applicable"
        assert scores[name].reason == "The inputs are whole numbers, and no embedding of them was seen."
    assert scores["snip"].ok
    assert scores["swap"].ok
