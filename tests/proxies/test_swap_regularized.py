"""Regularised SWAP: the formula by hand, its units, and options taken from sizes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from subshot.errors import OptionError, UnknownNameError
from subshot.proxies._proxy import bind, get_proxy
from subshot.proxies._score import score
from subshot.proxies.swap_regularized import UNITS, sizes_to_options

NETWORK = nn.Sequential(nn.Linear(20, 150), nn.ReLU(), nn.Linear(150, 30), nn.ReLU())
PARAMETERS = 20 * 150 + 150 + 150 * 30 + 30  # 7,680
BATCH = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))


def regularised(options: str) -> float:
    (result,) = score(NETWORK, BATCH, proxies=f"swap_regularized({options})").values()
    assert result.ok, result.reason
    return result.value


def plain() -> float:
    return score(NETWORK, BATCH)["swap"].value


@pytest.mark.parametrize(
    ("options", "damping"),
    [
        ("mu=7.68, sigma=1", 1.0),
        ("mu=6.68, sigma=1", math.exp(-1)),  # one thousand parameters off, sigma one thousand squared
        ("mu=8.68, sigma=1, unit=k", math.exp(-1)),  # on either side
        ("mu=5.68, sigma=2", math.exp(-2)),  # (Theta - mu)^2 / sigma: sigma isn't squared and has no factor 2
        ("mu=7000, sigma=462400, unit=one", math.exp(-1)),  # 680^2
        ("mu=1, sigma=0.5, unit=M", math.exp(-((0.00768 - 1) ** 2) / 0.5)),
        ("mu=0, sigma=1e-300", 0.0),
    ],
)
def test_the_formula_by_hand(options: str, damping: float) -> None:
    assert regularised(options) == pytest.approx(plain() * damping, rel=1e-9)


def test_a_large_sigma_is_plain_swap() -> None:
    assert regularised("mu=1, sigma=inf") == plain()


def test_parts_hold_the_terms() -> None:
    (result,) = score(NETWORK, BATCH, proxies="swap_regularized(mu=6.68, sigma=1)").values()
    assert result.parts["swap"] == plain()
    assert result.parts["theta"] == PARAMETERS / 1000
    assert (result.parts["mu"], result.parts["sigma"]) == (6.68, 1.0)
    assert result.parts["damping"] == pytest.approx(math.exp(-1))
    assert result.parts["units"] == 180.0


def test_fitted_options_are_told() -> None:
    for text, told in (("mu=1, sigma=9, fitted=true", True), ("mu=1, sigma=9", False)):
        (result,) = score(NETWORK, BATCH, proxies=f"swap_regularized({text})").values()
        assert ("mu and sigma were fitted to accuracies" in result.warnings) is told


@pytest.mark.parametrize("options", ["", "(mu=1)", "(sigma=1)", "(unit=M)"])
def test_without_both_options_it_is_not_applicable(options: str) -> None:
    (result,) = score(NETWORK, BATCH, proxies=f"swap_regularized{options}").values()
    assert result.status == "not_applicable"
    assert "swap_regularized(mu=..., sigma=..., unit=k)" in result.reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("mu=1, sigma=0", "sigma is 0. It must be positive."),
        ("mu=1, sigma=-2.5", "sigma is -2.5. It must be positive."),
        ("mu=1, sigma=nan", "sigma is nan. It must be positive."),
        ("sigma=-1", "sigma is -1. It must be positive."),
        ("mu=nan, sigma=1", "mu is nan. It must be finite."),
        ("mu=big, sigma=1", "mu is 'big'. It must be a number."),
        ("mu=1, sigma=true", "sigma is True. It must be a number."),
        ("mu=1, sigma=1, unit=MB", "There is no unit 'MB' of size. Use one of one, k, M."),
        (
            "mu=1, sigma=1, fitted=1",
            "proxy swap_regularized was given fitted=1. fitted takes true or false, like false.",
        ),
    ],
)
def test_bad_options_are_refused(options: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        score(NETWORK, BATCH, proxies=f"swap_regularized({options})")
    assert str(caught.value) == message
    with pytest.raises(OptionError):  # nothing has to be built or looked at to know
        bind(f"swap_regularized({options})")


def test_unknown_option() -> None:
    with pytest.raises(UnknownNameError, match=r"named 'sigm'\. Did you mean 'sigma'"):
        bind("swap_regularized(sigm=1)")


def test_a_network_without_activations_is_not_applicable() -> None:
    (result,) = score(nn.Linear(20, 3), BATCH, proxies="swap_regularized(mu=1, sigma=1)").values()
    assert (result.status, result.reason) == (
        "not_applicable",
        "no activation function was seen in the forward pass",
    )


# --- options from sizes ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=50))
def test_sizes_place_the_bump_at_the_upper_end(sizes: list[int]) -> None:
    options = sizes_to_options(sizes)
    assert set(options) == {"mu", "sigma"}
    millions = sizes_to_options(sizes, {"unit": "M"})
    assert millions["mu"] == pytest.approx(options["mu"] / 1_000)
    low, high = np.quantile(sizes, [0.05, 0.95]) / UNITS["k"]
    assert options["mu"] == pytest.approx(high)
    assert options["sigma"] > 0
    if high > 1.001 * low:
        # The small end loses a fifth or so, the upper end nothing.
        assert math.exp(-((low - options["mu"]) ** 2) / options["sigma"]) == pytest.approx(math.exp(-1 / 4))


def test_calibration_is_declared_and_gives_a_score() -> None:
    info = get_proxy("swap_regularized")
    assert info.calibrate is sizes_to_options
    (one,) = bind("swap_regularized")
    sized = one.with_options(info.calibrate([PARAMETERS // 2, PARAMETERS, 2 * PARAMETERS]))
    assert sized.name == "swap_regularized"
    result = score(NETWORK, BATCH, proxies=[sized])["swap_regularized"]
    assert 0.75 * plain() < result.value <= plain()


def test_equal_sizes_still_give_a_score() -> None:
    (one,) = bind("swap_regularized")
    sized = one.with_options(sizes_to_options([PARAMETERS] * 3))
    assert score(NETWORK, BATCH, proxies=[sized])["swap_regularized"].value == plain()
