"""Fisher matrix of the predicted distribution, over the first number of each parameter (VKDNW's choice)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from subshot.errors import NetworkError
from subshot.proxies._hessian import check_twice
from subshot.proxies._patterns import sample_axis
from subshot.proxies._uses import Use, image_columns, is_plain

# Parameters in the matrix, and the share of the uniform distribution in the predicted one: the authors' choices.
_TENSORS = 128
_UNIFORM = 0.05


# An output to differentiate for, and the map from the gradient there (of the output's shape) to one number per sample.
_Term = tuple[Tensor, Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class OutputFisher:
    """The matrix in two forms, each (parameters, parameters), float64.

    Attributes:
        exact: Mean over samples of J^T (diag p - p p^T) J, J the Jacobian of the logits for the first number of each of
            the first 128 parameters.
        released: (L J)^T (L J) with the Cholesky factor L of that inner matrix, as the authors' code has it, where the
            theory needs L^T J.
        tensors: All parameters, beyond 128 too.
        backwards: Backward passes taken.
    """

    exact: Tensor
    released: Tensor
    tensors: int
    backwards: int


def output_fisher(output: Tensor, network: nn.Module, uses: Sequence[Use], *, samples: int) -> OutputFisher:
    """The Fisher matrix of the predicted distribution.

    The Jacobian takes a backward pass for each class, or for each parameter and one more where these are fewer.

    Args:
        output: Logits (S, classes) with their graph, of a pass in which samples don't mix.
        network: Gives the order of parameters.
        uses: Runs of convolutions, linear and norm layers in that pass.
        samples: Batch size S.

    Raises:
        NetworkError: The output is no distribution over classes, or no parameter has gradients of single samples.
    """
    if output.dim() != 2 or output.shape[0] != samples or output.shape[1] < 2:
        raise NetworkError(f"An output {tuple(output.shape)} is no distribution over classes for each sample.")
    terms: dict[int, list[_Term]] = {}
    for use in uses:
        for parameter, derive in _first_numbers(use, samples):
            terms.setdefault(id(parameter), []).append((use.output, derive))
    own = [terms[id(parameter)] for parameter in network.parameters() if id(parameter) in terms]
    tensors, own = len(own), own[:_TENSORS]
    if not own:
        raise NetworkError("No parameter has gradients of single samples.")
    jacobian, backwards = _jacobian(output, own)
    p = (1 - _UNIFORM) * output.detach().double().softmax(dim=1) + _UNIFORM / output.shape[1]
    weighted = jacobian * p.unsqueeze(2)
    mean = weighted.sum(dim=1)
    exact = torch.einsum("scj,sck->jk", weighted, jacobian) - mean.T @ mean
    factored = _factor_times(p, jacobian)
    released = torch.einsum("scj,sck->jk", factored, factored)
    return OutputFisher(exact / samples, released / samples, tensors, backwards)


def _jacobian(output: Tensor, own: Sequence[Sequence[_Term]]) -> tuple[Tensor, int]:
    """Of logits for parameters, (S, classes, parameters), float64, and the backward passes that it took."""
    classes = output.shape[1]
    if len(own) + 1 < classes:
        try:
            return _by_parameter(output, own), len(own) + 1
        except (RuntimeError, NetworkError):  # not all that can be differentiated once can be twice
            pass
    return _by_class(output, own), classes


def _by_class(output: Tensor, own: Sequence[Sequence[_Term]]) -> Tensor:
    """Row by row: gradients of each logit."""
    flat = [at for several in own for at, _ in several]
    jacobian = torch.zeros(*output.shape, len(own), dtype=torch.float64, device=output.device)
    for label in range(output.shape[1]):
        found = iter(torch.autograd.grad(output[:, label].sum(), flat, retain_graph=True, allow_unused=True))
        for index, several in enumerate(own):
            for _, derive in several:
                gradient = next(found)
                if gradient is not None:
                    jacobian[:, label, index] += derive(gradient).double()
    return jacobian


def _by_parameter(output: Tensor, own: Sequence[Sequence[_Term]]) -> Tensor:
    """Column by column: gradients are linear in the direction v at the output, and their derivative for v is J.

    Raises:
        NetworkError: A function is marked as differentiable once.
    """
    flat = [at for several in own for at, _ in several]
    direction = torch.ones_like(output, requires_grad=True)
    gradients = torch.autograd.grad(output, flat, direction, create_graph=True, allow_unused=True)
    check_twice(gradients)
    found = iter(gradients)
    jacobian = torch.zeros(*output.shape, len(own), dtype=torch.float64, device=output.device)
    for index, several in enumerate(own):
        given = [(derive, gradient) for (_, derive), gradient in zip(several, found, strict=False)]
        sums = [derive(gradient).sum() for derive, gradient in given if gradient is not None]
        if sums:
            (column,) = torch.autograd.grad(sum(sums[1:], sums[0]), direction, retain_graph=True)
            jacobian[:, :, index] = column.double()
    return jacobian


def _factor_times(p: Tensor, jacobian: Tensor) -> Tensor:
    """L J with the lower factor L of diag p - p p^T in closed form (Tanabe & Sagae, JRSS B 54, 1992).

    L itself has classes x classes numbers for each sample: gigabytes for a thousand classes. Below its diagonal stands
    a product of one factor for the row and one for the column, so running sums over classes do.

    Args:
        p: Probabilities, (S, classes).
        jacobian: (S, classes, columns).
    """
    after = 1 - p.cumsum(dim=1)
    after = torch.where(after > 1e-12, after, torch.zeros_like(after))  # past the last class there is nothing
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    diagonal = (p * after / before).sqrt()
    # The last class is determined by the others: its column is zero.
    scale = torch.where(after > 0, (p / (before * after.clamp(min=1e-12))).sqrt(), torch.zeros_like(p))
    sums = (jacobian * scale.unsqueeze(2)).cumsum(dim=1)
    earlier = torch.cat([torch.zeros_like(sums[:, :1]), sums[:, :-1]], dim=1)
    return diagonal.unsqueeze(2) * jacobian - p.unsqueeze(2) * earlier


def _first_numbers(use: Use, samples: int) -> list[tuple[nn.Parameter, Callable[[Tensor], Tensor]]]:
    """Parameters of a layer with the map from the gradient at its output to that of their first number."""
    module, x = use.module, use.input
    found: list[tuple[nn.Parameter, Callable[[Tensor], Tensor]]] = []
    weight, bias = (getattr(module, name, None) for name in ("weight", "bias"))
    if not is_plain(use):
        return []
    last = isinstance(module, (nn.Linear, nn.LayerNorm))
    if isinstance(weight, nn.Parameter):
        feature = _feature(module, x)
        if feature is None:
            return []
        found.append((weight, lambda gradient: _by_sample(_first(gradient, module) * feature, x, samples, last=last)))
    if isinstance(bias, nn.Parameter):
        found.append((bias, lambda gradient: _by_sample(_first(gradient, module), x, samples, last=last)))
    return found


def _feature(module: nn.Module, x: Tensor) -> Tensor | None:
    """What the weight's first number multiplies, of the shape of the output's first channel or feature."""
    if isinstance(module, nn.Linear):
        return x[..., 0]
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x, module.normalized_shape, eps=module.eps).flatten(-len(module.normalized_shape))[..., 0]
    if isinstance(module, _BatchNorm):
        first = x[:, 0]
        if module.training or module.running_mean is None or module.running_var is None:
            variance, mean = torch.var_mean(first, correction=0)
        else:
            variance, mean = module.running_var[0], module.running_mean[0]
        return (first - mean) / (variance + module.eps).sqrt()
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return image_columns(module, x[:, :1])[:, 0]
    return None


def _first(gradient: Tensor, module: nn.Module) -> Tensor:
    """The gradient at the first channel or feature."""
    if isinstance(module, nn.Linear):
        return gradient[..., 0]
    if isinstance(module, nn.LayerNorm):
        return gradient.flatten(-len(module.normalized_shape))[..., 0]
    first = gradient[:, 0]
    return first if isinstance(module, _BatchNorm) else first.flatten(1)


def _by_sample(product: Tensor, x: Tensor, samples: int, *, last: bool) -> Tensor:
    """Sum over all but the samples, (S,)."""
    axis = sample_axis((*x.shape[:-1], 1), samples) if last else sample_axis(x.shape[:1], samples)
    if axis is None:
        raise NetworkError(f"A layer's input {tuple(x.shape)} has no axis of {samples} samples.")
    if axis == 1:
        product = product.transpose(0, 1)
    return product.reshape(samples, -1).sum(dim=1)
