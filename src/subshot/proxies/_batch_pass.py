"""The pass over the batch: one forward pass with every instrument attached, and the backward passes through it.

It serves signs, operations, feature maps and every gradient that is taken at the weights as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from subshot._types import Cost
from subshot.errors import NetworkError
from subshot.networks._macs import MacCounter
from subshot.proxies._attempt import attempt
from subshot.proxies._axes import Axes
from subshot.proxies._capture import ActivationMode, EmbeddingMode
from subshot.proxies._features import FEATURE_NEEDS, FeatureRecorder, Features
from subshot.proxies._gradients import LOSS_NEEDS, Gradients, differentiate
from subshot.proxies._layers import Layer, LayerOutputs, Sharing, differentiable, weight_layers, weights_of
from subshot.proxies._loss import Loss, plain_loss
from subshot.proxies._patterns import SignRecorder, sample_axis
from subshot.proxies._proxy import Need
from subshot.proxies._recording import Recording
from subshot.proxies._twice_norm import TwiceDifferentiableNorm
from subshot.proxies._twice_sigmoid import TwiceDifferentiableSigmoid

T = TypeVar("T")

# A batch's inputs: one tensor for a network with one input, named tensors for one with several.
Inputs = Tensor | Mapping[str, Tensor]

# Fields of the evidence, and passes in units of the whole batch.
Part = tuple[dict[str, Any], Cost]

# What needs a graph, what is read from signs, and what the batch's output vouches for.
GRAPH_NEEDS = LOSS_NEEDS | Need.JACOBIAN | Need.TRAINABILITY
SIGN_NEEDS = Need.PATTERNS | Need.TERNARY | Need.AGREEMENT
BATCH_NEEDS = GRAPH_NEEDS | SIGN_NEEDS | FEATURE_NEEDS | Need.LOSS


def over_batch(
    network: nn.Module,
    inputs: Inputs,
    needs: Need,
    *,
    samples: int,
    device: torch.device,
    labels: Tensor | None,
    loss: Loss | None,
    seed: int,
    more_follows: bool,
) -> Part:
    """One forward pass over the batch and the backward passes that are needed.

    Args:
        network: Any module, run as it stands.
        inputs: One tensor or named tensors.
        needs: What to gather.
        samples: Batch size S.
        device: Where the batch lives.
        labels: Labels of the batch; without them nothing of the loss is taken.
        loss: Loss of (output, labels); cross-entropy if not given.
        seed: Seed of what is drawn at random.
        more_follows: Whether other passes of the same look follow, which start from the same random state.
    """
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
            # Only where another pass follows does the random state have to be put back.
            again = more_follows or bool(needs & Need.SALIENCY)
            run = partial(_forward, network, inputs, needs, layers, samples, device, seed, again=again)
            passed = run(copy=False) or run(copy=True)  # again where the outputs of layers can't be kept otherwise
            assert passed is not None
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
            value = gradients.loss
            if value is None and labels is not None and needs & Need.LOSS:
                value = attempt(missing, Need.LOSS, lambda: plain_loss(passed.output, labels, loss))
    recorder, flops = passed.recorder, passed.flops
    warnings = []
    if recorder is not None and recorder.skipped:
        warnings.append(f"{recorder.skipped} activation calls have no axis of {samples} samples and were not counted")
    found = {
        "units": recorder.units if recorder else 0,
        "activations": recorder.calls if recorder else 0,
        "distinct_patterns": recorder.distinct if recorder else None,
        "distinct_ternary": recorder.distinct_ternary if recorder else None,
        "agreement": recorder.agreement if recorder else None,
        "non_finite": non_finite,
        "outputs": sum(t.numel() for t in tensors),
        "warnings": tuple(warnings),
        "layers": tuple(gradients.layers),
        "jacobian": gradients.jacobian,
        "loss": value,
        "features": features,
        "missing": {**missing, **gradients.missing},
    }
    if flops is not None:
        found["macs"] = flops.macs / samples
    return found, Cost(forwards=passed.forwards, backwards=features.backwards + gradients.backwards)


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
    *,
    copy: bool,
    again: bool,
) -> _Pass | None:
    """One forward pass, or ``None`` if a layer's output was needed and has been changed in place."""
    recorder, flops = _instruments(needs, samples, device)
    own, roots = _own(inputs, jacobian=bool(needs & Need.JACOBIAN))
    kept = LayerOutputs(layers if needs & Need.SALIENCY else (), copy=copy)
    features: FeatureRecorder | None = None
    if needs & FEATURE_NEEDS:
        recording = Recording(needs, Axes(samples), seed)
        if flops is not None:
            recording = replace(recording, uncounted=flops.uncounted)
        features = FeatureRecorder(network, recording)

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
                stack.enter_context(TwiceDifferentiableSigmoid())
            if needs & Need.JACOBIAN:
                stack.enter_context(EmbeddingMode(own.values() if isinstance(own, Mapping) else [own], root))
            return network(**own) if isinstance(own, Mapping) else network(own)

    try:
        output = afresh(device, run) if again else run()
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


def afresh(device: torch.device, run: Callable[[], T]) -> T:
    """Run a pass and put torch's random state back, so that every pass of a look starts from the same."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return run()


def _tensors(output: Any) -> list[Tensor]:
    """Floating-point tensors in whatever a network returns."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return [tensor for value in output.values() for tensor in _tensors(value)]
    if isinstance(output, (list, tuple)):
        return [tensor for value in output for tensor in _tensors(value)]
    return []
