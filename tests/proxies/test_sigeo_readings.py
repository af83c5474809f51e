"""The readings of SiGeo's Fisher-Rao term, its steps, scopes and published settings, against plain torch."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot._types import Score
from subshot.errors import OptionError
from subshot.proxies._proxy import bind
from subshot.proxies._score import score
from subshot.proxies.sigeo import SETTINGS

CLASSES = 3


class Small(nn.Module):
    """Two convolutions behind batch norm, one without, and two linear layers that print alike."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm_a = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.b, self.norm_b = nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.c = nn.Conv2d(4, 4, 1)
        self.d, self.e = nn.Linear(4, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm_a(self.a(x)))
        x = F.relu(self.norm_b(self.b(x)))
        return self.head(F.relu(self.e(F.relu(self.d(self.c(x).mean((2, 3)))))))


def drawn(seed: int = 0, samples: int = 16) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = torch.randn(samples, 3, 8, 8, dtype=torch.float64)
        return Small().double(), (x, torch.randint(0, CLASSES, (samples,)))


def value(name: str, network: nn.Module, batch: Any) -> Score:
    (result,) = score(network, batch, proxies=[name]).values()
    return result


def by_hand(
    network: nn.Module, batch: tuple[Tensor, Tensor], *, rate: float
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]], list[float]]:
    """Weights at the end, gradients and losses of four parts, by torch's own optimiser."""
    other = copy.deepcopy(network).train()
    optimiser = torch.optim.SGD(other.parameters(), lr=rate)
    size = len(batch[1]) // 4
    gradients, losses = [], []
    for part in range(4):
        cut = slice(part * size, (part + 1) * size)
        loss = F.cross_entropy(other(batch[0][cut]), batch[1][cut])
        optimiser.zero_grad()
        loss.backward()
        losses.append(loss.item())
        gradients.append({name: p.grad.clone() for name, p in other.named_parameters() if p.grad is not None})
        if rate:
            optimiser.step()
    weights = {name: p.detach() for name, p in other.named_parameters() if p.dim() > 1}
    return weights, gradients, losses


@pytest.mark.parametrize("step", [False, True])
def test_the_three_readings(step: bool) -> None:
    network, batch = drawn()
    weights, gradients, _ = by_hand(network, batch, rate=1.0 if step else 0.0)
    products = torch.tensor([[float((w * g[name]).sum()) for name, w in weights.items()] for g in gradients])
    expected = {
        "sum": 2 * math.log(abs(products.sum().item()) + 1e-5),
        "layers": 2 * math.log(products.sum(0).abs().sum().item() + 1e-5),
        "mean": math.log(products.sum(1).square().mean().item() + 1e-10),
    }
    assert len({round(one, 6) for one in expected.values()}) == 3
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for reading, result in expected.items():
        found = value(f"fisher_rao(reading={reading},step={str(step).lower()})", network, batch)
        assert found.value == pytest.approx(result, rel=1e-5), reading
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_the_head_is_the_last_layer() -> None:
    network, batch = drawn(1)
    weights, gradients, _ = by_hand(network, batch, rate=0.0)
    product = sum(float((weights["head.weight"] * one["head.weight"]).sum()) for one in gradients)
    found = value("fisher_rao(scope=head)", network, batch)
    assert found.value == pytest.approx(2 * math.log(abs(product) + 1e-5), rel=1e-9)
    ratios = torch.stack([one["head.weight"].flatten() for one in gradients])
    zico = math.log(float((ratios.abs().mean(0) / ratios.std(0, correction=0)).sum()))
    assert value("sigeo(scope=head)", network, batch).parts["zico"] == pytest.approx(zico, rel=1e-9)


def test_with_steps_a_layer_before_batch_norm_measures_the_length_of_gradients() -> None:
    # theta_last . sum of g_b = -(rate / 2) (|sum of g_b|^2 + sum of |g_b|^2), for theta_b . g_b = 0 at each step
    network, batch = drawn(2)
    for norm in (network.norm_a, network.norm_b):
        norm.eps = 1e-13  # which alone makes the length of a weight matter
    weights, gradients, _ = by_hand(network, batch, rate=1.0)
    for name in ("a.weight", "b.weight"):
        several = torch.stack([one[name] for one in gradients])
        product = float((weights[name] * several.sum(0)).sum())
        lengths = -0.5 * (several.sum(0).square().sum() + several.square().sum())
        assert product == pytest.approx(float(lengths), rel=1e-6)
        assert abs(product) > 1e-4
    still, gradients, _ = by_hand(network, batch, rate=0.0)
    for name in ("a.weight", "b.weight"):
        assert abs(float((still[name] * sum(one[name] for one in gradients)).sum())) < 1e-9


def test_the_loss_term_is_that_of_the_last_part() -> None:
    network, batch = drawn(3)
    for setting, rate in (("vision", 1.0), ("recsys", 0.0)):
        _, _, losses = by_hand(network, batch, rate=rate)
        found = value(f"sigeo(setting={setting})", network, batch)
        assert found.parts["loss"] == pytest.approx(losses[3], rel=1e-6)


def test_a_setting_is_its_options() -> None:
    network, batch = drawn(4)
    for setting, options in SETTINGS.items():
        written = ",".join(f"{key}={str(one).lower()}" for key, one in options.items())
        assert (
            value(f"sigeo(setting={setting})", network, batch).value == value(f"sigeo({written})", network, batch).value
        )
    assert len({value(f"sigeo(setting={name})", network, batch).value for name in SETTINGS}) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sigeo(setting=cv)", "no setting"),
        ("sigeo(setting=vision,step=true)", "step too"),
        ("sigeo(reading=squares)", "no reading"),
        ("fisher_rao(scope=tail)", "no scope"),
    ],
)
def test_bad_options(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        bind(text)


def test_zico_is_what_remains_without_the_other_terms() -> None:
    network, batch = drawn(5)
    found = score(network, batch, proxies=["zico", "sigeo(fisher_rao_weight=0.0)"])
    assert found["zico"].value == found["sigeo(fisher_rao_weight=0.0)"].value


def test_the_loss_is_the_loss() -> None:
    network, batch = drawn(6)
    expected = F.cross_entropy(copy.deepcopy(network).train()(batch[0]), batch[1])
    assert value("loss", network, batch).value == pytest.approx(-expected.item(), rel=1e-12)
    together = score(network, batch, proxies=["loss", "grad_norm"])
    assert together["loss"].value == value("loss", network, batch).value
    assert value("loss", network, batch).cost.backwards == 0
    assert value("loss", network, batch[0]).status == "not_applicable"
