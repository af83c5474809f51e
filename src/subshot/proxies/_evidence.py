"""The one look: one pass over a batch that gathers what every requested proxy needs."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from subshot._types import Cost
from subshot.errors import NetworkError
from subshot.proxies._absolute import absolute_pass
from subshot.proxies._capture import ActivationMode, EmbeddingMode
from subshot.proxies._gradients import (
    Layer,
    LayerOutputs,
    Loss,
    as_output,
    differentiable,
    take_gradients,
    weight_layers,
)
from subshot.proxies._macs import MacCounter
from subshot.proxies._noise import NoisePair, noise_pass
from subshot.proxies._patterns import SignRecorder
from subshot.proxies._proxy import Need

# A batch's inputs: one tensor for a network with one input, named tensors for one with several.
Inputs = Tensor | Mapping[str, Tensor]


@dataclass(frozen=True)
class Evidence:
    """What one look found. Read-only; a field is ``None`` where no proxy asked for it.

    Attributes:
        samples: Batch size S.
        parameters: Numbers in the network's parameters.
        units: Post-activation numbers per sample, V.
        activations: Activation calls seen.
        distinct_patterns: Distinct sample-wise patterns of "positive or not".
        distinct_ternary: Distinct sample-wise patterns of the sign.
        agreement: Units on which two samples are both positive or both not, (S, S), float64.
        macs: Multiply-accumulate operations per sample: convolutions and matrix products.
        non_finite: Non-finite numbers in the output.
        outputs: Numbers in the output.
        warnings: What a reader should know.
        cost: Passes and seconds.
        layers: Convolutions and linear layers: weights, and what the backward passes gave.
        jacobian: Gradient of the summed output for each sample's input, (S, numbers).
        loss: The loss.
        labels: The labels, (S, ...).
        absolute: Convolutions and linear layers after SynFlow's pass: absolute weights and gradients, float64.
        noise: Zen's pair of passes.
    """

    samples: int
    parameters: int
    units: int = 0
    activations: int = 0
    distinct_patterns: int | None = None
    distinct_ternary: int | None = None
    agreement: Tensor | None = None
    macs: float | None = None
    non_finite: int = 0
    outputs: int = 0
    warnings: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
    layers: tuple[Layer, ...] = ()
    jacobian: Tensor | None = None
    loss: float | None = None
    labels: Tensor | None = None
    absolute: tuple[Layer, ...] | None = None
    noise: NoisePair | None = None


# Needs that a pass over the batch serves, and those among them that need a graph.
_LOSS = Need.GRADIENT | Need.SALIENCY | Need.CURVATURE
_GRAPH = _LOSS | Need.JACOBIAN
# Needs whose passes can fail where a plain forward pass doesn't.
GRAPH_NEEDS = _GRAPH | Need.ABSOLUTE | Need.NOISE
_SIGNS = Need.PATTERNS | Need.TERNARY | Need.AGREEMENT


def look(
    network: nn.Module,
    inputs: Inputs,
    needs: Need,
    *,
    labels: Tensor | None = None,
    loss: Loss | None = None,
    macs: int | None = None,
    seed: int = 0,
) -> Evidence:
    """Take the evidence that ``needs`` names, in as few passes as possible.

    One forward pass serves signs, operations and every gradient; one backward pass the summed output, one the loss,
    one the Hessian product; SynFlow's pass is one more of each over a single sample.

    The network is run as it stands; :func:`subshot.proxies._prepare.prepared` sets modes and puts everything back.

    Args:
        network: Any module.
        inputs: One tensor, or named tensors that are passed as keywords; the first axis is the batch.
        needs: What the proxies to be computed need.
        labels: Labels of the batch; without them nothing of the loss is taken.
        loss: Loss of (output, labels); cross-entropy if not given.
        macs: Multiply-accumulate operations per sample, if they are known already.
        seed: Seed of passes that draw their own weights or inputs.

    Raises:
        NetworkError: The batch is empty or its tensors differ in length, or what is needed can't be differentiated.
    """
    started = time.perf_counter()
    samples, device = check_batch(inputs)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    known = Need.MACS if macs is not None else Need(0)
    found = Evidence(samples, parameters, macs=macs, labels=labels)
    # The same kernels with and without a graph, so that no value depends on what else is computed; the plain attention
    # kernel is the only one that can be differentiated twice.
    with sdpa_kernel(SDPBackend.MATH):
        if needs & (_SIGNS | _GRAPH | Need.MACS) & ~known:
            found = _over_batch(network, inputs, needs & ~known, found, device, loss)
        elif needs & Need.WEIGHTS:
            found = replace(found, layers=tuple(Layer(one.weight.detach()) for one in _weighted(network)))
        if needs & Need.ABSOLUTE:
            absolute = absolute_pass(network, inputs)
            found = replace(found, absolute=absolute, cost=found.cost + Cost(forwards=1, backwards=1))
        if needs & Need.NOISE:
            found = replace(found, noise=noise_pass(network, inputs, seed), cost=found.cost + Cost(forwards=2))
    return replace(found, cost=replace(found.cost, seconds=time.perf_counter() - started))


def _over_batch(
    network: nn.Module, inputs: Inputs, needs: Need, found: Evidence, device: torch.device, loss: Loss | None
) -> Evidence:
    """One forward pass over the batch and the backward passes that are needed."""
    samples, labels = found.samples, found.labels
    wants_loss = bool(needs & _LOSS) and labels is not None
    jacobian = bool(needs & Need.JACOBIAN)
    layers = _weighted(network) if needs & (_LOSS | Need.WEIGHTS) else []
    recorder, flops = _instruments(needs, samples, device, count_macs=bool(needs & Need.MACS))
    weights = [layer.weight for layer in layers]
    with differentiable(weights) if wants_loss or jacobian else torch.no_grad():
        for copy in (False, True):
            own, roots = _own(inputs, jacobian=jacobian)
            kept = LayerOutputs(layers, copy=copy) if wants_loss and needs & Need.SALIENCY else None
            try:
                output = _forward(network, own, recorder, flops, roots if jacobian else None)
            finally:
                if kept is not None:
                    kept.remove()
            if kept is None or kept.intact:
                break
            recorder, flops = _instruments(needs, samples, device, count_macs=bool(needs & Need.MACS))
        tensors = _tensors(output)
        non_finite = sum(int((~torch.isfinite(t.detach())).sum()) for t in tensors)
        gradients = None
        if (wants_loss or jacobian) and not non_finite:
            gradients = take_gradients(
                layers,
                as_output(output),
                roots,
                labels=labels if wants_loss else None,
                loss=loss,
                outputs=kept.outputs if kept is not None else None,
                jacobian=jacobian,
                curvature=bool(needs & Need.CURVATURE),
                samples=samples,
            )
    warnings = []
    if recorder is not None and recorder.skipped:
        warnings.append(f"{recorder.skipped} activation calls have no axis of {samples} samples and were not counted")
    return replace(
        found,
        units=recorder.units if recorder else 0,
        activations=recorder.calls if recorder else 0,
        distinct_patterns=recorder.distinct if recorder else None,
        distinct_ternary=recorder.distinct_ternary if recorder else None,
        agreement=recorder.agreement if recorder else None,
        macs=flops.macs / samples if flops is not None else found.macs,
        non_finite=non_finite,
        outputs=sum(t.numel() for t in tensors),
        warnings=tuple(warnings),
        layers=gradients.layers if gradients else tuple(Layer(weight.detach()) for weight in weights),
        jacobian=gradients.jacobian if gradients else None,
        loss=gradients.loss if gradients else None,
        cost=Cost(forwards=1, backwards=gradients.backwards if gradients else 0),
    )


def _forward(
    network: nn.Module,
    own: Inputs,
    recorder: SignRecorder | None,
    flops: MacCounter | None,
    roots: list[Tensor] | None,
) -> Any:
    """Run the network with the instruments attached."""
    with ExitStack() as stack:
        if flops is not None:
            stack.enter_context(flops)
        if recorder is not None:
            record = flops.uncounted(recorder.add) if flops is not None else recorder.add
            stack.enter_context(ActivationMode(lambda output: record(output.detach())))
        if roots is not None:
            stack.enter_context(EmbeddingMode(roots.append))
        return network(**own) if isinstance(own, dict) else network(own)


def _own(inputs: Inputs, *, jacobian: bool) -> tuple[Inputs, list[Tensor]]:
    """A copy of the batch, since a network may change it in place, and the tensors to take the Jacobian for."""
    roots: list[Tensor] = []

    def copy(tensor: Tensor) -> Tensor:
        if not (jacobian and tensor.is_floating_point()):
            return tensor.clone()
        leaf = tensor.detach().requires_grad_()
        roots.append(leaf)
        return leaf.clone()

    own = {name: copy(tensor) for name, tensor in inputs.items()} if isinstance(inputs, Mapping) else copy(inputs)
    return own, roots


def _weighted(network: nn.Module) -> list[Any]:
    return list(weight_layers(network))


def _instruments(
    needs: Need, samples: int, device: torch.device, *, count_macs: bool
) -> tuple[SignRecorder | None, MacCounter | None]:
    wants_signs = bool(needs & (Need.PATTERNS | Need.TERNARY | Need.AGREEMENT))
    recorder = (
        SignRecorder(
            samples,
            device,
            binary=bool(needs & Need.PATTERNS),
            ternary=bool(needs & Need.TERNARY),
            agreement=bool(needs & Need.AGREEMENT),
        )
        if wants_signs
        else None
    )
    return recorder, MacCounter() if count_macs else None


def check_batch(inputs: Inputs) -> tuple[int, torch.device]:
    """Number of samples and device of a batch.

    Raises:
        NetworkError: The batch is empty or its tensors differ in length.
    """
    tensors = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    lengths = {tensor.shape[0] if tensor.dim() else 0 for tensor in tensors}
    if len(lengths) != 1 or 0 in lengths:
        raise NetworkError(
            f"The batch has inputs of length {sorted(lengths)}.",
            "Give at least one sample, the same number in every input tensor, on the first axis.",
        )
    return lengths.pop(), tensors[0].device


def _tensors(output: Any) -> list[Tensor]:
    """Floating-point tensors in whatever a network returns."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return [tensor for value in output.values() for tensor in _tensors(value)]
    if isinstance(output, (list, tuple)):
        return [tensor for value in output for tensor in _tensors(value)]
    return []
