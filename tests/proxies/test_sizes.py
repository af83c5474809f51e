"""The two baselines: parameters and multiply-accumulate operations."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from subshot._types import Protocol
from subshot.proxies._evidence import look
from subshot.proxies._proxy import Need
from subshot.proxies._score import score


def sizes(network: nn.Module, batch: Tensor, *, company: str = "") -> tuple[float, float]:
    scores = score(network, batch, proxies=f"parameters, macs{company}")
    return scores["parameters"].value, scores["macs"].value


def test_parameters_are_numbers_in_parameters(specimen) -> None:  # type: ignore[no-untyped-def]
    network, inputs = specimen.draw(3, 6)
    result = score(network, inputs, proxies="parameters")["parameters"]
    assert result.value == sum(p.numel() for p in network.parameters())
    assert result.cost.forwards == 0


def test_shared_and_frozen_parameters_count_once() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    network[0].bias.requires_grad_(False)
    assert score(network, torch.ones(2, 4), proxies="parameters")["parameters"].value == 16 + 4 + 4


@pytest.mark.parametrize("company", ["", ", swap, swap(ternary=true), nwot"])
@pytest.mark.parametrize("samples", [1, 2, 7, 16])
def test_macs_of_convolutions_by_formula(samples: int, company: str) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 25, 7),
    )
    macs = 100 * 8 * 27 + 25 * 12 * 2 * 9 + 12 * 25 * 7
    parameters = 8 * 27 + 8 + 16 + 12 * 2 * 9 + 12 + 12 * 25 * 7 + 7
    assert sizes(network, torch.randn(samples, 3, 10, 10), company=company) == (parameters, macs)


@pytest.mark.parametrize("company", ["", ", swap, nwot"])
@pytest.mark.parametrize("heads", [1, 2])
def test_macs_of_attention_by_formula(heads: int, company: str) -> None:
    tokens, width, hidden = 7, 8, 16
    network = nn.TransformerEncoderLayer(width, heads, hidden, 0.0, batch_first=True)
    projections = tokens * (width * 3 * width + width * width)
    attention = 2 * tokens * tokens * width
    feed_forward = 2 * tokens * width * hidden
    _, macs = sizes(network, torch.randn(5, tokens, width), company=company)
    assert macs == projections + attention + feed_forward


@pytest.mark.parametrize("width", [8, 3])
def test_macs_of_unequal_attention(width: int) -> None:
    class Cross(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            memory = torch.cat([x, x, x], dim=2)  # three times the tokens
            return nn.functional.scaled_dot_product_attention(x, memory, memory[..., :width])

    _, macs = sizes(Cross(), torch.randn(4, 2, 5, 8))
    assert macs == 2 * 5 * 15 * (8 + width)


def test_macs_are_half_of_torchs_flops(specimen) -> None:  # type: ignore[no-untyped-def]
    network, inputs = specimen.draw(5, 6)
    # Attention in plain matrix products, which torch's counter knows; it doesn't know the fused kernel of the CPU.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(**inputs) if isinstance(inputs, dict) else network(inputs.clone())
    for company in ("", ", swap, nwot"):
        result = score(network, inputs, proxies=f"macs{company}")["macs"]
        assert result.value == counter.get_total_flops() / 2 / 6


def test_macs_that_are_known_cost_no_pass() -> None:
    evidence = look(nn.Linear(3, 2), torch.ones(4, 3), Need.MACS, macs=77)
    assert (evidence.macs, evidence.cost.forwards) == (77, 0)


def test_sizes_do_not_depend_on_the_weights() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    x = torch.randn(5, 4)
    protocol = Protocol(initialisation="normal", repeats=3)
    scores = score(network, x, proxies="parameters, macs", protocol=protocol)
    assert (scores["parameters"].value, scores["macs"].value) == (15, 12)
    assert scores["macs"].parts == {"spread": 0.0}
