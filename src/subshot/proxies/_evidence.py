"""The one look: one pass over a batch that gathers what every requested proxy needs."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from subshot._types import Cost
from subshot.errors import NetworkError
from subshot.proxies._capture import ActivationMode
from subshot.proxies._macs import MacCounter
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


def look(network: nn.Module, inputs: Inputs, needs: Need, *, macs: int | None = None) -> Evidence:
    """Take the evidence that ``needs`` names, in as few passes as possible.

    The network is run as it stands; :func:`subshot.proxies._prepare.prepared` sets modes and puts everything back.

    Args:
        network: Any module.
        inputs: One tensor, or named tensors that are passed as keywords; the first axis is the batch.
        needs: What the proxies to be computed need.
        macs: Multiply-accumulate operations per sample, if they are known already.

    Raises:
        NetworkError: The batch is empty or its tensors differ in length.
    """
    started = time.perf_counter()
    samples, device = _batch(inputs)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    forward_needs = needs & ~(Need.PARAMETERS | (Need.MACS if macs is not None else Need(0)))
    if not forward_needs:
        return Evidence(samples, parameters, macs=macs, cost=Cost(time.perf_counter() - started))

    recorder, flops = _instruments(needs, samples, device, count_macs=bool(needs & Need.MACS) and macs is None)
    with torch.no_grad(), ExitStack() as stack:
        # A copy: a network whose first operation is in place would change the batch for every later look.
        own = {key: t.clone() for key, t in inputs.items()} if isinstance(inputs, Mapping) else inputs.clone()
        if flops is not None:
            stack.enter_context(flops)
        if recorder is not None:
            record = flops.uncounted(recorder.add) if flops is not None else recorder.add
            stack.enter_context(ActivationMode(record))
        output = network(**own) if isinstance(own, dict) else network(own)
        tensors = _tensors(output)
        non_finite = sum(int((~torch.isfinite(t)).sum()) for t in tensors)

    warnings = []
    if recorder is not None and recorder.skipped:
        warnings.append(f"{recorder.skipped} activation calls have no axis of {samples} samples and were not counted")
    return Evidence(
        samples=samples,
        parameters=parameters,
        units=recorder.units if recorder else 0,
        activations=recorder.calls if recorder else 0,
        distinct_patterns=recorder.distinct if recorder else None,
        distinct_ternary=recorder.distinct_ternary if recorder else None,
        agreement=recorder.agreement if recorder else None,
        macs=flops.macs / samples if flops is not None else macs,
        non_finite=non_finite,
        outputs=sum(t.numel() for t in tensors),
        warnings=tuple(warnings),
        cost=Cost(time.perf_counter() - started, forwards=1),
    )


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


def _batch(inputs: Inputs) -> tuple[int, torch.device]:
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
