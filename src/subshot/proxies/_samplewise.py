"""One pass in which samples don't mix, for gradients of each sample by itself.

Batch norm by batch statistics couples samples, and a sample's own gradient then takes a backward pass of its own. Here
the statistics are those of the batch, the values of the forward pass are the same, but the statistics are held fixed:
gradients don't flow through them. One backward pass then gives the gradient at every layer's output for all samples at
once, and a layer's input and output gradient give each sample's weight gradient ("unfolding"), which is used on the
spot and never kept. :mod:`subshot.proxies._coupled` goes through the statistics.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from subshot.errors import NetworkError
from subshot.proxies._attempt import attempt
from subshot.proxies._fixed_norm import FixedStatistics
from subshot.proxies._layers import Sharing, differentiable, weight_layers, weights_of
from subshot.proxies._loss import Loss, as_output, check_differentiable, loss_value
from subshot.proxies._output_fisher import output_fisher
from subshot.proxies._proxy import Need
from subshot.proxies._twice_sigmoid import TwiceDifferentiableSigmoid
from subshot.proxies._unfold import at_outputs, by_weight, run_on_copy, sample_gradients, unfolded, where_finite
from subshot.proxies._uses import OpenAttention, Use, watched

SAMPLE_NEEDS = Need.KERNEL | Need.GRADIENT_SIGNS | Need.OUTPUT_FISHER


@dataclass(frozen=True)
class Samplewise:
    """What the pass gave.

    Attributes:
        kernel: Products of the samples' gradients of their summed outputs, (S, S), float64.
        sign_agreement: Sum over weights of |sum over samples of the sign of the loss gradient|.
        weights: Number of weights in that sum.
        output_fisher: Mean over samples of J^T (diag p - p p^T) J, J the Jacobian of the logits for the first number of
            each parameter, (parameters, parameters), float64.
        released_fisher: The same as the authors' code has it, (L J)^T (L J) with L L^T = diag p - p p^T.
        tensors: Number of parameters whose first number has a place in it; beyond 128 they are left out of the matrix.
        backwards: Backward passes taken.
        missing: Why something that was asked for could not be had.
    """

    kernel: Tensor | None = None
    sign_agreement: float | None = None
    weights: int = 0
    output_fisher: Tensor | None = None
    released_fisher: Tensor | None = None
    tensors: int = 0
    backwards: int = 0
    missing: Mapping[Need, Exception] = field(default_factory=dict)


def sample_pass(
    network: nn.Module,
    inputs: Tensor | Mapping[str, Tensor],
    needs: Need,
    *,
    labels: Tensor | None,
    loss: Loss | None,
    samples: int,
) -> Samplewise:
    """Run the network once with fixed statistics and go backward as often as ``needs`` says.

    Args:
        network: Any module whose samples don't mix but through batch norm.
        inputs: One tensor or named tensors.
        needs: Which.
        labels: Labels, for the signs of loss gradients.
        loss: Loss of (output, labels), a mean or sum over samples.
        samples: Batch size S.

    Raises:
        NetworkError: No convolution or linear layer ran, or one of a kind whose samples can't be told apart.
    """
    found = Samplewise()
    missing: dict[Need, Exception] = {}
    # Weights that are computed from others are the same tensor all through.
    with torch.inference_mode(False), torch.enable_grad(), cached():
        layers = weight_layers(network)
        with differentiable(weights_of(layers)), watched(network, norms=bool(needs & Need.OUTPUT_FISHER)) as uses:
            with FixedStatistics(), TwiceDifferentiableSigmoid(), OpenAttention(layers, uses):
                output = run_on_copy(network, inputs)
            tensor = as_output(output)
            check_differentiable(tensor)
            groups = by_weight(layers, uses)
            if not any(groups):
                raise NetworkError("No convolution or linear layer ran.")
            ways: dict[Need, Callable[[], Samplewise]] = {
                Need.KERNEL: lambda: _kernel(tensor, layers, groups, samples),
                Need.OUTPUT_FISHER: lambda: _fisher(tensor, network, uses, samples),
            }
            if labels is not None:
                ways[Need.GRADIENT_SIGNS] = lambda: _signs(output, labels, loss, layers, groups, samples)
            for need, take in ways.items():
                part = attempt(missing, need, take) if needs & need else None
                if part is not None:
                    found = _join(found, part)
    return replace(found, missing=missing)


def _join(a: Samplewise, b: Samplewise) -> Samplewise:
    return Samplewise(
        kernel=a.kernel if b.kernel is None else b.kernel,
        sign_agreement=a.sign_agreement if b.sign_agreement is None else b.sign_agreement,
        weights=a.weights + b.weights,
        output_fisher=a.output_fisher if b.output_fisher is None else b.output_fisher,
        released_fisher=a.released_fisher if b.released_fisher is None else b.released_fisher,
        tensors=a.tensors + b.tensors,
        backwards=a.backwards + b.backwards,
    )


def _kernel(output: Tensor, layers: Sequence[Sharing], groups: Sequence[Sequence[Use]], samples: int) -> Samplewise:
    kernel = torch.zeros(samples, samples, dtype=torch.float64, device=output.device)
    for group, at in zip(groups, at_outputs(output.sum(), layers, groups), strict=True):
        runs = unfolded(group, at, samples)
        if len(runs) == 1 and runs[0][0].shape[-1] == 1:
            # With a single position products of gradients are products of products, and large layers are cheap.
            columns, deltas = (one.squeeze(-1).transpose(0, 1).double() for one in runs[0])  # (groups, S, numbers)
            kernel += ((columns @ columns.mT) * (deltas @ deltas.mT)).sum(dim=0)
            continue
        for gradients in sample_gradients(runs):
            wide = gradients.double()
            kernel += wide @ wide.T
    return Samplewise(kernel=where_finite(kernel, output), backwards=1)


def _signs(
    output: Any,
    labels: Tensor,
    loss: Loss | None,
    layers: Sequence[Sharing],
    groups: Sequence[Sequence[Use]],
    samples: int,
) -> Samplewise:
    value = loss_value(output, labels, loss, weights_of(layers))
    total = 0.0
    for group, at in zip(groups, at_outputs(value, layers, groups), strict=True):
        for gradients in sample_gradients(unfolded(group, at, samples)):
            if not all(map(math.isfinite, torch.stack(torch.aminmax(gradients)).tolist())):
                total = float("nan")
            total += float(gradients.sign().sum(dim=0).abs().sum())
    weights = sum(weight.numel() for weight in weights_of(layers))
    return Samplewise(sign_agreement=total, weights=weights, backwards=1)


def _fisher(output: Tensor, network: nn.Module, uses: Sequence[Use], samples: int) -> Samplewise:
    found = output_fisher(output, network, uses, samples=samples)
    return Samplewise(
        output_fisher=found.exact, released_fisher=found.released, tensors=found.tensors, backwards=found.backwards
    )
