"""SWAP against its definition: distinct rows of the sign matrix of all units."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from subshot._types import Protocol
from subshot.proxies._score import score

# Around the ends of tables, words and groups of bits, and anything between.
SAMPLES = st.sampled_from([2, 3, 8, 9, 12, 16, 17, 23, 24, 25, 32, 47, 48, 49, 63, 64, 65, 96, 127, 128, 129, 130])
BATCH = Protocol(initialisation="keep", batch_norm="batch")


def check_definition(count: float, signs: Tensor) -> None:
    """The SWAP score of an (S, V) matrix is the number of its distinct columns, at most min(2^S, V)."""
    samples, units = signs.shape
    assert count == torch.unique(signs.T, dim=0).shape[0]
    assert count <= min(len(torch.unique(signs)) ** samples, units)


@settings(deadline=None, max_examples=120)
@given(seed=st.integers(0, 2**32 - 1), samples=st.one_of(SAMPLES, st.integers(2, 130)))
def test_equals_the_definition(specimen, seed: int, samples: int) -> None:  # type: ignore[no-untyped-def]
    network, inputs = specimen.draw(seed, samples)
    activations = specimen.activations(network, inputs)
    scores = score(network, inputs, proxies="swap, swap(ternary=true)", protocol=BATCH)
    check_definition(scores["swap"].value, (activations > 0).float())
    check_definition(scores["swap(ternary=true)"].value, torch.sign(activations))
    assert scores["swap"].parts["units"] == activations.shape[1]


@pytest.mark.parametrize("error", [-1, 1])
def test_the_check_catches_a_wrong_count(error: int) -> None:
    signs = (torch.randn(16, 200, generator=torch.Generator().manual_seed(0)) > 0).float()
    right = torch.unique(signs.T, dim=0).shape[0]
    check_definition(right, signs)
    with pytest.raises(AssertionError):
        check_definition(right + error, signs)


@pytest.mark.parametrize("samples", [5, 16, 40])
def test_each_form_of_activation(form: Callable[[Tensor], Tensor], samples: int) -> None:
    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return form(x - 0.3)

    x = 8 * torch.randn(samples, 300, generator=torch.Generator().manual_seed(samples))
    with torch.no_grad():
        activations = form(x - 0.3)
    scores = score(One(), x, proxies=["swap", "swap(ternary=true)"], protocol=BATCH)
    check_definition(scores["swap"].value, (activations > 0).float())
    check_definition(scores["swap(ternary=true)"].value, torch.sign(activations))


def test_ternary_tells_underflow_from_negative() -> None:
    # Float32 GELU is exactly zero far below: three signs where "positive or not" sees two.
    x = torch.tensor([[-1.0, -20.0, 1.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    scores = score(nn.GELU(), x, proxies="swap, swap(ternary=true)")
    assert scores["swap"].value == 2
    assert scores["swap(ternary=true)"].value == 3
    relu = score(nn.ReLU(), x, proxies="swap, swap(ternary=true)")
    assert relu["swap"].value == relu["swap(ternary=true)"].value == 2


# --- parts and warnings ----------------------------------------------------------------------------------------------


def test_parts_say_what_bounds_the_count() -> None:
    result = score(nn.Sequential(nn.ReLU(), nn.Tanh()), torch.randn(6, 10))["swap"]
    assert result.parts == {"units": 20.0, "bound": 64.0, "activations": 2.0}
    ternary = score(nn.ReLU(), torch.randn(6, 10), proxies="swap(ternary=true)")["swap(ternary=true)"]
    assert ternary.parts["bound"] == 729.0


@pytest.mark.parametrize(
    ("samples", "units", "advice"), [(3, 400, "use a larger batch"), (60, 400, "use a smaller batch"), (8, 400, None)]
)
def test_saturation_is_told(samples: int, units: int, advice: str | None) -> None:
    x = torch.randn(samples, units, generator=torch.Generator().manual_seed(0))
    warnings = score(nn.ReLU(), x)["swap"].warnings
    if advice is None:
        assert warnings == ()
    else:
        assert len(warnings) == 1
        assert warnings[0].startswith("saturated: over 90% of the ")
        assert warnings[0].endswith(advice)


def test_saturation_is_told_once_for_all_repeats() -> None:
    network = nn.Sequential(nn.Linear(5, 200), nn.ReLU())
    protocol = Protocol(initialisation="normal", repeats=6)
    assert len(score(network, torch.randn(50, 5), protocol=protocol)["swap"].warnings) == 1


def test_very_large_batches() -> None:
    x = torch.randn(1500, 20, generator=torch.Generator().manual_seed(0))
    for name in ("swap", "swap(ternary=true)"):
        result = score(nn.ReLU(), x, proxies=name)[name]
        assert (result.value, result.status) == (20.0, "ok")
        assert result.to_dict()["parts"]["bound"] is None


def test_no_activations_is_not_applicable() -> None:
    result = score(nn.Linear(3, 2), torch.randn(4, 3))["swap"]
    assert result.status == "not_applicable"
    assert result.reason == "no activation function was seen in the forward pass"
