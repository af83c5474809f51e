"""Batch norm that is cheap to differentiate twice against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from subshot.proxies._twice_norm import TwiceDifferentiableNorm


def derivatives(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, ours: bool) -> tuple[list[Tensor], Tensor]:
    x = x.clone().requires_grad_()
    affine = [one for one in (weight, bias) if one is not None]
    with TwiceDifferentiableNorm() if ours else torch.enable_grad():
        output = F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-3)
    value = (output.sin() * torch.linspace(-1, 2, output.numel(), dtype=x.dtype).reshape(output.shape)).sum()
    first = torch.autograd.grad(value, [x, *affine], create_graph=True)
    direction = torch.linspace(2, -3, x.numel(), dtype=x.dtype).reshape(x.shape).cos()
    (second,) = torch.autograd.grad((first[0] * direction).sum(), x)
    return [output, *first], second


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 5, 2), (3, 2, 2, 3, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_same_values_and_gradients_and_second_derivatives(shape: tuple[int, ...], affine: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    weight = torch.rand(shape[1], dtype=torch.float64).requires_grad_() if affine else None
    bias = torch.randn(shape[1], dtype=torch.float64).requires_grad_() if affine else None
    (same, second), (expected, wanted) = (derivatives(x, weight, bias, ours=ours) for ours in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(same, expected, strict=True))
    torch.testing.assert_close(second, wanted, rtol=1e-10, atol=1e-11)


def test_against_finite_differences() -> None:
    torch.manual_seed(1)
    weight = torch.rand(2, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)

    def norm(x: Tensor) -> Tensor:
        with TwiceDifferentiableNorm():
            return F.batch_norm(x, None, None, weight, None, training=True)

    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradgradcheck(norm, (x,))


def test_what_it_leaves_to_torch() -> None:
    mean, variance = torch.zeros(3), torch.ones(3)
    with TwiceDifferentiableNorm():
        stored = F.batch_norm(torch.ones(2, 3), mean, variance, training=False)
        F.batch_norm(torch.randn(5, 3), mean, variance, training=True)
        with pytest.raises(ValueError, match="more than 1 value"):
            F.batch_norm(torch.ones(1, 3), None, None, training=True)
    torch.testing.assert_close(stored, torch.ones(2, 3), atol=1e-4, rtol=0)
    assert not torch.equal(mean, torch.zeros(3))
