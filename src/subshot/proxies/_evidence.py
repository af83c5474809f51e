"""The one look: one pass over a batch that gathers what every requested proxy needs."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from subshot._types import Cost
from subshot.errors import NetworkError
from subshot.networks._macs import MacCounter
from subshot.proxies._absolute import absolute_pass
from subshot.proxies._capture import ActivationMode, EmbeddingMode
from subshot.proxies._features import FEATURE_NEEDS, FeatureRecorder, Features
from subshot.proxies._gradients import (
    LOSS_NEEDS,
    Gradients,
    Layer,
    LayerOutputs,
    Loss,
    Sharing,
    attempt,
    differentiable,
    differentiate,
    weight_layers,
    weights_of,
)
from subshot.proxies._noise import NoisePair, noise_pass
from subshot.proxies._parts import Parts, part_gradients
from subshot.proxies._patterns import SignRecorder, sample_axis
from subshot.proxies._proxy import Need
from subshot.proxies._samplewise import SAMPLE_NEEDS, Samplewise, coupled_kernel, sample_pass
from subshot.proxies._twice_norm import TwiceDifferentiableNorm

T = TypeVar("T")

# A batch's inputs: one tensor for a network with one input, named tensors for one with several.
Inputs = Tensor | Mapping[str, Tensor]


@dataclass(frozen=True)
class Evidence:
    """What one look found. Read-only; a field is ``None`` where no proxy asked for it.

    Attributes:
        samples: Batch size S.
        parameters: Numbers in the network's parameters; 0 where no proxy asked for it.
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
        layers: Weights of convolutions and linear layers, and what the backward passes gave.
        jacobian: Gradient of the summed output for each sample's input, (S, numbers); integer inputs are replaced by
            the embeddings they select.
        loss: The loss.
        labels: The labels, (S, ...).
        absolute: Convolutions and linear layers after SynFlow's pass: absolute weights and gradients, float64.
        absolute_norm: The same with batch norm in its place.
        noise: Zen's pair of passes.
        halves: Gradients of the loss on each half of the batch.
        quarters: And on each quarter.
        samplewise: What the pass in which samples don't mix gave.
        coupled_kernel: The kernel with gradients through batch statistics, (S, S), float64.
        features: What was seen of feature maps.
        missing: Why something that was asked for could not be had.
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
    absolute_norm: tuple[Layer, ...] | None = None
    noise: NoisePair | None = None
    halves: Parts | None = None
    quarters: Parts | None = None
    samplewise: Samplewise | None = None
    coupled_kernel: Tensor | None = None
    features: Features = field(default_factory=Features)
    missing: Mapping[Need, Exception] = field(default_factory=dict)


# What needs a graph of the pass over the batch, what is read from signs, what takes passes of its own, and what the
# batch's output vouches for.
GRAPH_NEEDS = LOSS_NEEDS | Need.JACOBIAN | Need.TRAINABILITY
SIGN_NEEDS = Need.PATTERNS | Need.TERNARY | Need.AGREEMENT
OWN_NEEDS = (
    Need.ABSOLUTE | Need.ABSOLUTE_NORM | Need.NOISE | Need.HALVES | Need.QUARTERS | SAMPLE_NEEDS | Need.KERNEL_COUPLED
)
BATCH_NEEDS = GRAPH_NEEDS | SIGN_NEEDS | FEATURE_NEEDS


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
    two the Hessian product. SynFlow's pass is one more of each over a single sample, Zen's two forward passes. Where
    the output of a layer is changed in place, the saliency of channels takes a second forward pass. What can't be had
    is told in ``missing`` and costs the rest nothing, unless the forward pass itself raises.

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
        NetworkError: The batch is empty or its tensors differ in length.
    """
    started = time.perf_counter()
    samples, device = check_batch(inputs)
    parameters = sum(p.numel() for p in network.parameters()) if needs & Need.PARAMETERS else 0
    known = Need.MACS if macs is not None else Need(0)
    found = Evidence(samples, parameters, macs=macs, labels=labels)
    if needs & (BATCH_NEEDS | Need.MACS) & ~known:
        found = _over_batch(network, inputs, needs & ~known, found, device, loss, seed)
    elif needs & Need.WEIGHTS:
        weights = weights_of(weight_layers(network))
        found = replace(found, layers=tuple(Layer(weight.detach()) for weight in weights))
    missing = dict(found.missing)
    own = _own_passes(network, inputs, needs, labels=labels, loss=loss, samples=samples, seed=seed)
    for need, take in own.items():
        if needs & need:
            part = attempt(missing, need, lambda: _afresh(device, take))  # noqa: B023 - called at once
            if part is not None:
                fields, cost = part
                found = replace(found, cost=found.cost + cost, **fields)
    if found.samplewise is not None:
        missing |= found.samplewise.missing
    return replace(found, missing=missing, cost=replace(found.cost, seconds=time.perf_counter() - started))


# Fields of the evidence, and passes in units of the whole batch.
_Part = tuple[dict[str, Any], Cost]


def _own_passes(
    network: nn.Module,
    inputs: Inputs,
    needs: Need,
    *,
    labels: Tensor | None,
    loss: Loss | None,
    samples: int,
    seed: int,
) -> dict[Need, Callable[[], _Part]]:
    """Passes that can't share the one over the batch: other weights, other inputs, parts of the batch."""

    def absolute(*, norm: bool) -> _Part:
        layers = absolute_pass(network, inputs, norm=norm)
        return {"absolute_norm" if norm else "absolute": layers}, Cost(forwards=1, backwards=1)

    def noise() -> _Part:
        pair = noise_pass(network, inputs, seed)
        return {"noise": pair}, Cost(forwards=1 if pair.difference is None else 2)

    def parts(name: str, count: int) -> _Part:
        assert labels is not None
        return {name: part_gradients(network, inputs, labels, loss, parts=count)}, Cost(forwards=1, backwards=1)

    def samplewise() -> _Part:
        found = sample_pass(network, inputs, needs, labels=labels, loss=loss, samples=samples)
        return {"samplewise": found}, Cost(forwards=1, backwards=found.backwards)

    def coupled() -> _Part:
        return {"coupled_kernel": coupled_kernel(network, inputs, samples=samples)}, Cost(forwards=1, backwards=samples)

    passes: dict[Need, Callable[[], _Part]] = {
        Need.ABSOLUTE: lambda: absolute(norm=False),
        Need.ABSOLUTE_NORM: lambda: absolute(norm=True),
        Need.NOISE: noise,
        SAMPLE_NEEDS: samplewise,
        Need.KERNEL_COUPLED: coupled,
    }
    if labels is not None:
        passes |= {Need.HALVES: lambda: parts("halves", 2), Need.QUARTERS: lambda: parts("quarters", 4)}
    return passes


def _afresh(device: torch.device, run: Callable[[], T]) -> T:
    """Run a pass and put torch's random state back, so that every pass of a look starts from the same."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return run()


def _over_batch(
    network: nn.Module,
    inputs: Inputs,
    needs: Need,
    found: Evidence,
    device: torch.device,
    loss: Loss | None,
    seed: int,
) -> Evidence:
    """One forward pass over the batch and the backward passes that are needed."""
    samples, labels = found.samples, found.labels
    if labels is None:
        needs &= ~LOSS_NEEDS
    graph = bool(needs & GRAPH_NEEDS)
    with (
        # Inference mode has no graphs, whatever is asked for inside.
        torch.inference_mode(False) if graph else nullcontext(),
        torch.set_grad_enabled(graph),
        cached(),  # weights that are computed from others are the same tensor all through
    ):
        layers = weight_layers(network) if needs & (LOSS_NEEDS | Need.WEIGHTS | Need.TRAINABILITY) else []
        with differentiable(weights_of(layers)) if graph else nullcontext():
            passed = _forward(network, inputs, needs, layers, samples, device, seed)
            tensors = _tensors(passed.output)
            non_finite = sum(int((~torch.isfinite(t.detach())).sum()) for t in tensors)
            gradients = Gradients([Layer(weight.detach()) for weight in weights_of(layers)])
            features, missing = Features(), dict[Need, Exception]()
            if passed.features is not None and not non_finite:
                features = passed.features.collect(missing)
            if graph and not non_finite:
                gradients = differentiate(
                    passed.output,
                    needs,
                    layers,
                    roots=passed.roots,
                    outputs=passed.outputs,
                    labels=labels,
                    loss=loss,
                    samples=samples,
                )
    recorder, flops = passed.recorder, passed.flops
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
        layers=tuple(gradients.layers),
        jacobian=gradients.jacobian,
        loss=gradients.loss,
        features=features,
        missing={**missing, **gradients.missing},
        cost=Cost(forwards=passed.forwards, backwards=features.backwards + gradients.backwards),
    )


@dataclass(frozen=True)
class _Pass:
    """A forward pass: what the network returned and what was seen."""

    output: Any
    roots: list[Tensor]
    outputs: list[list[Tensor]]
    recorder: SignRecorder | None
    flops: MacCounter | None
    features: FeatureRecorder | None
    forwards: int


def _forward(
    network: nn.Module,
    inputs: Inputs,
    needs: Need,
    layers: Sequence[Sharing],
    samples: int,
    device: torch.device,
    seed: int,
) -> _Pass:
    """Run the network with the instruments attached, twice where the outputs of layers can't be kept otherwise."""
    passed = _forward_once(network, inputs, needs, layers, samples, device, seed, copy=False)
    if passed is None:
        passed = _forward_once(network, inputs, needs, layers, samples, device, seed, copy=True)
        assert passed is not None
    return passed


def _forward_once(
    network: nn.Module,
    inputs: Inputs,
    needs: Need,
    layers: Sequence[Sharing],
    samples: int,
    device: torch.device,
    seed: int,
    *,
    copy: bool,
) -> _Pass | None:
    """One forward pass, or ``None`` if a layer's output was needed and has been changed in place."""
    recorder, flops = _instruments(needs, samples, device)
    own, roots = _own(inputs, jacobian=bool(needs & Need.JACOBIAN))
    kept = LayerOutputs(layers if needs & Need.SALIENCY else (), copy=copy)
    features: FeatureRecorder | None = None
    if needs & FEATURE_NEEDS:
        uncounted = flops.uncounted if flops is not None else None
        features = FeatureRecorder(network, needs, samples=samples, seed=seed, uncounted=uncounted)

    def root(embedding: Tensor) -> None:
        if sample_axis(embedding.shape, samples) is not None:
            roots.append(embedding if embedding.requires_grad else embedding.requires_grad_())

    def run() -> Any:
        with ExitStack() as stack:
            if features is not None:
                stack.enter_context(features.watching())
            if flops is not None:
                stack.enter_context(flops)
            if recorder is not None:
                record = flops.uncounted(recorder.add) if flops is not None else recorder.add
                seen = (lambda output: record(output.detach())) if torch.is_grad_enabled() else record
                stack.enter_context(ActivationMode(seen))
            if needs & Need.CURVATURE:
                stack.enter_context(TwiceDifferentiableNorm())
            if needs & Need.JACOBIAN:
                stack.enter_context(EmbeddingMode(own.values() if isinstance(own, Mapping) else [own], root))
            return network(**own) if isinstance(own, Mapping) else network(own)

    try:
        # Only where another pass follows does the random state have to be put back.
        others = needs & (Need.SALIENCY | OWN_NEEDS)
        output = _afresh(device, run) if others else run()
    finally:
        kept.remove()
        if features is not None:
            features.remove()
    if not kept.intact:
        return None
    return _Pass(output, roots, kept.outputs, recorder, flops, features, forwards=2 if copy else 1)


def _own(inputs: Inputs, *, jacobian: bool) -> tuple[Inputs, list[Tensor]]:
    """A copy of the batch, since a network may change it in place, and the tensors to take the Jacobian for."""
    roots: list[Tensor] = []

    def copy(tensor: Tensor) -> Tensor:
        copied = tensor.detach().clone()
        if not (jacobian and tensor.is_floating_point()):
            return copied
        roots.append(copied.requires_grad_())
        return copied.clone()

    own = {name: copy(tensor) for name, tensor in inputs.items()} if isinstance(inputs, Mapping) else copy(inputs)
    return own, roots


def _instruments(needs: Need, samples: int, device: torch.device) -> tuple[SignRecorder | None, MacCounter | None]:
    recorder = (
        SignRecorder(
            samples,
            device,
            binary=bool(needs & Need.PATTERNS),
            ternary=bool(needs & Need.TERNARY),
            agreement=bool(needs & Need.AGREEMENT),
        )
        if needs & SIGN_NEEDS
        else None
    )
    return recorder, MacCounter() if needs & Need.MACS else None


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
