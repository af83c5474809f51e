"""Second derivatives of the hard sigmoid, and what can't be differentiated twice."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot.proxies._score import score
from subshot.proxies._twice_sigmoid import TwiceDifferentiableSigmoid


def composed(x: Tensor) -> Tensor:
    """The hard sigmoid of functions that torch differentiates twice."""
    return F.relu6(x + 3) / 6


class Form(nn.Module):
    """The hard sigmoid as a network writes it."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        if self.form == "composed":
            return composed(x)
        if self.form == "in place":
            return F.hardsigmoid(3 * x / 3, inplace=True)
        return F.hardsigmoid(x)


def network(form: str) -> nn.Module:
    """A gate between layers whose second derivatives pass through it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Linear(6, 12), Form(form), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4)
        return nn.Sequential(*layers).double()


def test_values_and_first_derivatives_are_torchs_own() -> None:
    x = torch.linspace(-4, 4, 41).requires_grad_()
    plain = F.hardsigmoid(x)
    for inplace in (False, True):
        with TwiceDifferentiableSigmoid():
            ours = F.hardsigmoid(x.clone() if inplace else x, inplace)
        assert torch.equal(ours, plain)
        pairs = (torch.autograd.grad(one, x, x.detach().cos(), retain_graph=True)[0] for one in (ours, plain))
        assert torch.equal(*pairs)


def test_in_place_it_changes_what_it_is_given() -> None:
    x = torch.linspace(-4, 4, 9)
    with TwiceDifferentiableSigmoid():
        assert F.hardsigmoid(x, inplace=True) is x
    assert torch.equal(x, F.hardsigmoid(torch.linspace(-4, 4, 9)))


def test_second_derivatives_by_finite_differences() -> None:
    x = torch.tensor([-4.0, -2.0, 0.5, 2.9, 3.5], dtype=torch.float64, requires_grad=True)

    def gated(x: Tensor) -> Tensor:
        with TwiceDifferentiableSigmoid():
            return x.sin() * F.hardsigmoid(x * 1.01)

    assert torch.autograd.gradgradcheck(gated, (x,))


@pytest.mark.parametrize("form", ["plain", "in place"])
def test_grasp_and_what_shares_its_pass(form: str) -> None:
    torch.manual_seed(1)
    batch = torch.randn(8, 6, dtype=torch.float64), torch.randint(0, 4, (8,))
    both = score(network(form), batch, proxies="grasp, snip, jacob_cov, fisher")
    composed = score(network("composed"), batch, proxies="grasp")["grasp"]
    assert composed.value != 0
    assert both["grasp"].value == pytest.approx(composed.value, rel=1e-7)  # torch has 1 / 6 in single precision
    for name in ("snip", "jacob_cov", "fisher"):
        assert both[name].value == score(network(form), batch, proxies=name)[name].value


class Distances(nn.Module):
    """Distances to anchors, which torch differentiates once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.anchors = nn.Linear(6, 5), nn.Parameter(torch.randn(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(self.layer(x), self.anchors)


class Marked(nn.Module):
    """With a function that may be differentiated once."""

    def __init__(self, sine: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.sine = sine
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.sine(self.first(x)))


def test_what_has_no_second_derivative_is_not_applicable(sine_once: Callable[[Tensor], Tensor]) -> None:
    for network, why in ((Distances(), "cdist"), (Marked(sine_once), "a function of their own")):
        found = score(network, (torch.randn(8, 6), torch.randint(0, 4, (8,))), proxies="grasp, snip")
        assert found["snip"].ok
        assert found["grasp"].status == "not_applicable"
        assert "can't be differentiated twice" in found["grasp"].reason
        assert why in found["grasp"].reason
