"""Steps between the parts of a batch: a frozen parameter has a gradient, and doesn't move."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot.proxies._parts import part_gradients

PARTS, RATE = 2, 0.5


def drawn() -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    return network, torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3


def by_hand(network: nn.Sequential, inputs: Tensor, labels: Tensor, moving: list[str]) -> dict[str, Tensor]:
    """Where the parameters are after a step of plain gradient descent behind each part."""
    values = {name: one.detach().clone().requires_grad_() for name, one in network.named_parameters()}
    for x, y in zip(inputs.chunk(PARTS), labels.chunk(PARTS), strict=True):
        hidden = F.relu(x @ values["0.weight"].T + values["0.bias"])
        loss = F.cross_entropy(hidden @ values["2.weight"].T + values["2.bias"], y)
        gradients = dict(zip(values, torch.autograd.grad(loss, list(values.values())), strict=True))
        for name in moving:
            values[name] = (values[name] - RATE * gradients[name]).detach().requires_grad_()
    return values


@pytest.mark.parametrize("frozen", [[], ["0.weight"], ["2.weight", "0.bias"], ["0.weight", "0.bias", "2.weight"]])
def test_frozen_parameters_have_gradients_and_stay(frozen: list[str]) -> None:
    network, inputs, labels = drawn()
    before = {name: one.detach().clone() for name, one in network.named_parameters()}
    for name, one in network.named_parameters():
        one.requires_grad_(name not in frozen)
    found = part_gradients(network, inputs, labels, None, parts=PARTS, rate=RATE)
    ends = by_hand(network, inputs, labels, [name for name in before if name not in frozen])
    for name, weight, gradients in zip(["0.weight", "2.weight"], found.weights, found.gradients, strict=True):
        torch.testing.assert_close(weight, ends[name].detach())
        assert torch.equal(weight, before[name]) == (name in frozen)
        assert gradients is not None
        assert gradients.abs().sum() > 0
    for name, one in network.named_parameters():
        assert torch.equal(one, before[name])
        assert one.requires_grad == (name not in frozen)
