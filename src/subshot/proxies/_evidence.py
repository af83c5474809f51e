"""The one look: one pass over a batch that gathers what every requested proxy needs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from subshot._types import Cost
from subshot.proxies._absolute import absolute_pass
from subshot.proxies._attempt import attempt
from subshot.proxies._batch_pass import BATCH_NEEDS, Inputs, Part, afresh, check_batch, over_batch
from subshot.proxies._coupled import coupled_kernel
from subshot.proxies._features import Features
from subshot.proxies._layers import Layer, weight_layers, weights_of
from subshot.proxies._loss import Loss
from subshot.proxies._noise import NoisePair, noise_pass
from subshot.proxies._parts import Parts, part_gradients
from subshot.proxies._proxy import Need
from subshot.proxies._samplewise import SAMPLE_NEEDS, Samplewise, sample_pass

# What takes passes of its own.
PART_NEEDS = Need.HALVES | Need.QUARTERS | Need.QUARTERS_STEPPED
OWN_NEEDS = Need.ABSOLUTE | Need.ABSOLUTE_NORM | Need.NOISE | PART_NEEDS | SAMPLE_NEEDS | Need.KERNEL_COUPLED

# What SiGeo's code for benchmarks steps by.
_RATE = 1.0


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
        quarters_stepped: And with a step of gradient descent at rate 1 after each quarter.
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
    quarters_stepped: Parts | None = None
    samplewise: Samplewise | None = None
    coupled_kernel: Tensor | None = None
    features: Features = field(default_factory=Features)
    missing: Mapping[Need, Exception] = field(default_factory=dict)


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
        fields, cost = over_batch(
            network,
            inputs,
            needs & ~known,
            samples=samples,
            device=device,
            labels=labels,
            loss=loss,
            seed=seed,
            more_follows=bool(needs & OWN_NEEDS),
        )
        found = replace(found, cost=cost, **fields)
    elif needs & Need.WEIGHTS:
        weights = weights_of(weight_layers(network))
        found = replace(found, layers=tuple(Layer(weight.detach()) for weight in weights))
    missing = dict(found.missing)
    own = _own_passes(network, inputs, needs, labels=labels, loss=loss, samples=samples, seed=seed)
    for need, take in own.items():
        if needs & need:
            part = attempt(missing, need, lambda: afresh(device, take))  # noqa: B023 - called at once
            if part is not None:
                fields, cost = part
                found = replace(found, cost=found.cost + cost, **fields)
    if found.samplewise is not None:
        missing |= found.samplewise.missing
    return replace(found, missing=missing, cost=replace(found.cost, seconds=time.perf_counter() - started))


def _own_passes(
    network: nn.Module,
    inputs: Inputs,
    needs: Need,
    *,
    labels: Tensor | None,
    loss: Loss | None,
    samples: int,
    seed: int,
) -> dict[Need, Callable[[], Part]]:
    """Passes that can't share the one over the batch: other weights, other inputs, parts of the batch."""

    def absolute(*, norm: bool) -> Part:
        layers = absolute_pass(network, inputs, norm=norm)
        return {"absolute_norm" if norm else "absolute": layers}, Cost(forwards=1, backwards=1)

    def noise() -> Part:
        pair = noise_pass(network, inputs, seed)
        return {"noise": pair}, Cost(forwards=1 if pair.difference is None else 2)

    def parts(name: str, count: int, rate: float = 0.0) -> Part:
        assert labels is not None
        found = part_gradients(network, inputs, labels, loss, parts=count, rate=rate)
        return {name: found}, Cost(forwards=1, backwards=1)

    def samplewise() -> Part:
        found = sample_pass(network, inputs, needs, labels=labels, loss=loss, samples=samples)
        return {"samplewise": found}, Cost(forwards=1, backwards=found.backwards)

    def coupled() -> Part:
        kernel, backwards = coupled_kernel(network, inputs, samples=samples)
        return {"coupled_kernel": kernel}, Cost(forwards=1, backwards=backwards)

    passes: dict[Need, Callable[[], Part]] = {
        Need.ABSOLUTE: lambda: absolute(norm=False),
        Need.ABSOLUTE_NORM: lambda: absolute(norm=True),
        Need.NOISE: noise,
        SAMPLE_NEEDS: samplewise,
        Need.KERNEL_COUPLED: coupled,
    }
    if labels is not None:
        passes |= {
            Need.HALVES: lambda: parts("halves", 2),
            Need.QUARTERS: lambda: parts("quarters", 4),
            Need.QUARTERS_STEPPED: lambda: parts("quarters_stepped", 4, _RATE),
        }
    return passes
