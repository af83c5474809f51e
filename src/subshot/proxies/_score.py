"""Score one network by several proxies from shared looks."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from subshot._choice import Choice
from subshot._seeds import stable_seed
from subshot._types import Cost, Protocol, Score
from subshot.errors import NetworkError, OptionError, SubshotError
from subshot.networks.initialisation import Initialiser
from subshot.proxies._evidence import Evidence, Inputs, look
from subshot.proxies._prepare import prepared
from subshot.proxies._proxy import BoundProxy, Need, Reading, bind

Batch = Inputs | tuple[Inputs, Tensor | None]


def score(
    network: nn.Module,
    batch: Batch,
    *,
    proxies: str | Sequence[str | Choice | BoundProxy] = ("swap",),
    protocol: Protocol | None = None,
    loss: Callable[[Any, Tensor], Tensor] | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """Score any network on a batch, without training it.

    The network is left as found: parameters, buffers, gradients, modes, hooks and random state. It is scored with the
    weights it has, unless ``protocol.initialisation`` asks for others.

    Args:
        network: Any module.
        batch: The inputs, or ``(inputs, labels)``. Inputs are one tensor, whose first axis is the batch, or a dict of
            tensors that are passed as keywords. The whole batch is used.
        proxies: Names, with options where wanted, or ``"all"``.
        protocol: How to measure; only ``repeats``, ``initialisation``, ``batch_norm`` and ``seed`` are taken from it,
            the rest follows from the arguments. By default one look with the weights as they are and batch statistics.
        loss: Loss of (output, labels), for proxies that need one; cross-entropy if not given.
        seed: Seed of re-drawn weights, where no protocol is given.

    Returns:
        A score per proxy, by the proxy's name with its changed options. A proxy that isn't defined for this network
        has the status ``not_applicable`` with its reason, a network that raises ``failed``.

    Raises:
        UnknownNameError: No proxy, or no option, has that name.
        NetworkError: The batch is no batch, or the network has parameters without a shape.
    """
    inputs, _ = split_batch(batch)
    if any(is_lazy(parameter) for parameter in network.parameters()):
        raise NetworkError("The network has lazy parameters without a shape.", "Run it on a batch once, then score it.")
    protocol = protocol or Protocol(initialisation="keep", weights="given", seed=seed)
    chosen = bind(proxies)
    initialiser = Initialiser(network, protocol.initialisation)
    return score_prepared(
        network, inputs, chosen, initialiser=initialiser, protocol=protocol, identity="given", keep_parameters=True
    )


def score_prepared(
    network: nn.Module,
    inputs: Inputs,
    proxies: Sequence[BoundProxy],
    *,
    initialiser: Initialiser,
    protocol: Protocol,
    identity: str,
    keep_parameters: bool,
    macs: int | None = None,
) -> dict[str, Score]:
    """The engine under :func:`score` and the search: looks at one built network ``protocol.repeats`` times.

    Args:
        network: The network.
        inputs: The batch's inputs.
        proxies: Bound proxies.
        initialiser: Re-draws the network's weights before each repeat.
        protocol: Repeats, batch-norm mode and seed are taken from it.
        identity: Text that, with the study's seed and the repeat, seeds the weights: the architecture's text.
        keep_parameters: Put the parameters back afterwards; not needed for a network of our own.
        macs: Multiply-accumulate operations per sample, if known.
    """
    if protocol.repeats < 1:
        raise OptionError(f"{protocol.repeats} repeats were asked for.", "At least one is needed.")
    needs = Need(0)
    for one in proxies:
        needs |= one.needs
    redraws = protocol.initialisation != "keep"
    looks: list[Evidence] = []
    try:
        keep = keep_parameters and redraws
        with prepared(network, batch_norm=protocol.batch_norm, keep_parameters=keep) as seed_all:
            for repeat in range(protocol.repeats):
                seed = stable_seed(protocol.seed, identity, repeat)
                initialiser.draw(seed)
                seed_all(stable_seed(seed, "forward"))
                looks.append(look(network, inputs, needs, macs=macs))
    except SubshotError:
        raise
    except Exception as error:  # a candidate that raises is a result, not the end of a search
        failure = Score.failed(f"{type(error).__name__} in the forward pass: {error}".strip())
        counts = Need.PARAMETERS | (Need.MACS if macs is not None else Need(0))  # known without a pass
        still = look(network, inputs, counts, macs=macs)
        return {one.name: failure if one.needs & ~counts else _reduce(one, [still], ()) for one in proxies}
    warnings = looks[-1].warnings
    if redraws and initialiser.kept:
        warnings += (f"{initialiser.kept} parameters have no rule to re-draw them and kept their values",)
    return {one.name: _reduce(one, looks, warnings) for one in proxies}


def _reduce(proxy: BoundProxy, looks: Sequence[Evidence], warnings: tuple[str, ...]) -> Score:
    """Average a proxy's readings over the looks."""
    cost = sum((one.cost for one in looks), Cost())
    measured = bool(proxy.needs & ~(Need.PARAMETERS | Need.MACS))  # counts don't depend on what the network computes
    broken = next((one for one in looks if one.non_finite), None) if measured else None
    if broken is not None:
        reason = f"the output has {broken.non_finite} non-finite of {broken.outputs} numbers"
        return Score.of(math.nan, reason=reason, cost=cost)
    try:
        readings = [proxy.read(one) for one in looks]
    except SubshotError:
        raise
    except Exception as error:
        return Score.failed(f"{type(error).__name__} in the proxy: {error}", cost=cost)
    return _average(readings, warnings, cost)


def _average(readings: Sequence[Reading], warnings: tuple[str, ...], cost: Cost) -> Score:
    undefined = next((one.not_applicable for one in readings if one.not_applicable), "")
    if undefined:
        return Score.not_applicable(undefined, cost=cost)
    values = [one.value for one in readings]
    shared = [key for key in readings[0].parts if all(key in one.parts for one in readings)]
    parts = {key: sum(one.parts[key] for one in readings) / len(readings) for key in shared}
    mean = sum(values) / len(values)
    if len(values) > 1:
        parts["spread"] = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    own = tuple(dict.fromkeys(warning for one in readings for warning in one.warnings))
    reason = "" if math.isfinite(mean) else f"the proxy's value is {mean}"
    return Score.of(mean, reason=reason, parts=parts, warnings=own + warnings, cost=cost)


def split_batch(batch: Batch) -> tuple[Inputs, Tensor | None]:
    """Split ``(inputs, labels)``, the only meaning a tuple has here.

    Raises:
        NetworkError: Something else than tensors.
    """
    inputs, labels = batch if isinstance(batch, tuple) and len(batch) == 2 else (batch, None)
    tensors = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    given = tensors if labels is None else [*tensors, labels]
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in given):
        raise NetworkError(
            f"A batch of type {type(batch).__name__} was given.",
            "Give a tensor, a dict of tensors, or a tuple (inputs, labels) of these.",
        )
    return inputs, labels
