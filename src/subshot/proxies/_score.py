"""Score one network by several proxies from shared looks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from subshot._choice import Choice
from subshot._seeds import stable_seed
from subshot._types import Cost, Protocol, Score
from subshot.errors import NetworkError, OptionError, SubshotError
from subshot.networks.initialisation import Initialiser
from subshot.proxies._batch_pass import BATCH_NEEDS, GRAPH_NEEDS, SIGN_NEEDS, Inputs, check_batch
from subshot.proxies._evidence import PART_NEEDS, Evidence, look
from subshot.proxies._gradients import LOSS_NEEDS
from subshot.proxies._layers import weight_layers, weights_of
from subshot.proxies._loss import Loss
from subshot.proxies._prepare import prepared
from subshot.proxies._proxy import BoundProxy, Need, bind
from subshot.proxies._samplewise import SAMPLE_NEEDS

# What is taken from the weights of convolutions and linear layers.
WEIGHT_NEEDS = (
    LOSS_NEEDS | SAMPLE_NEEDS | PART_NEEDS | Need.WEIGHTS | Need.KERNEL_COUPLED
    | Need.ABSOLUTE | Need.ABSOLUTE_NORM
)  # fmt: skip

Batch = Inputs | tuple[Inputs, Tensor | None]


def score(
    network: nn.Module,
    batch: Batch,
    *,
    proxies: str | Sequence[str | Choice | BoundProxy] = ("swap",),
    protocol: Protocol | None = None,
    loss: Loss | None = None,
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
        loss: Loss of (output, labels) as one number, for proxies that need one; the output is what the network
            returns. If not given, cross-entropy, or the mean squared error where labels are real numbers.
        seed: Seed of re-drawn weights, where no protocol is given.

    Returns:
        A score per proxy, by the proxy's name with its changed options. A proxy that isn't defined for this network
        has the status ``not_applicable`` with its reason, a network that raises ``failed``.

    Raises:
        UnknownNameError: No proxy, or no option, has that name.
        OptionError: An option of the wrong type or outside its range.
        NetworkError: The batch is no batch, or the network has parameters without a shape.
    """
    inputs, labels = split_batch(batch)
    if any(is_lazy(parameter) for parameter in network.parameters()):
        raise NetworkError("The network has lazy parameters without a shape.", "Run it on a batch once, then score it.")
    protocol = protocol or Protocol(initialisation="keep", weights="given", seed=seed)
    chosen = bind(proxies)
    initialiser = Initialiser(network, protocol.initialisation)
    return score_prepared(
        network,
        inputs,
        chosen,
        labels=labels,
        loss=loss,
        initialiser=initialiser,
        protocol=protocol,
        identity="given",
        keep_parameters=True,
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
    labels: Tensor | None = None,
    loss: Loss | None = None,
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
        labels: The batch's labels; proxies that need them are not applicable without.
        loss: Loss of (output, labels); cross-entropy if not given.
        macs: Multiply-accumulate operations per sample, if known.

    Raises:
        NetworkError: The batch is no batch.
        OptionError: Fewer than one repeat.
    """
    if protocol.repeats < 1:
        raise OptionError(f"{protocol.repeats} repeats were asked for.", "At least one is needed.")
    check_batch(inputs)
    redraws = protocol.initialisation != "keep"

    def measure(chosen: Sequence[BoundProxy]) -> dict[str, Score]:
        """Scores from shared looks. Each look is read at once: the next one draws other weights."""
        needs = reduce(Need.__or__, (one.needs for one in chosen), Need(0))
        scores: dict[str, list[Score]] = {one.name: [] for one in chosen}
        keep = keep_parameters and redraws
        unseen = ""
        with prepared(network, batch_norm=protocol.batch_norm, keep_parameters=keep) as seed_all:
            for repeat in range(protocol.repeats):
                seed = stable_seed(protocol.seed, identity, repeat)
                initialiser.draw(seed)
                seed_all(stable_seed(seed, "forward"))
                evidence = look(network, inputs, needs, labels=labels, loss=loss, macs=macs, seed=seed)
                if repeat == 0 and needs & WEIGHT_NEEDS:  # in here: asking for a computed weight may change buffers
                    unseen = _unseen(network)
                for one in chosen:
                    scores[one.name].append(_read(one, evidence, unseen))
        return {name: _average(several) for name, several in scores.items()}

    unlabelled = [one for one in proxies if labels is None and one.needs & Need.LABELS]
    scores = {one.name: Score.not_applicable("it needs labels, and the batch has none") for one in unlabelled}
    scores |= _measured([one for one in proxies if one not in unlabelled], measure)
    if redraws and initialiser.kept:
        warning = f"{initialiser.kept} parameters have no rule to re-draw them and kept their values"
        scores = {
            name: replace(one, warnings=(*one.warnings, warning)) if one.ok else one for name, one in scores.items()
        }
    return {one.name: scores[one.name] for one in proxies}


def _unseen(network: nn.Module) -> str:
    """A warning where most parameters are none that proxies of weights see; empty otherwise."""
    total = sum(parameter.numel() for parameter in network.parameters())
    seen = sum(weight.numel() for weight in weights_of(weight_layers(network)))
    if 2 * seen >= total:
        return ""
    return f"it sees weights of convolutions and linear layers, which are {seen:,} of {total:,} parameters here"


def _measured(
    proxies: Sequence[BoundProxy], measure: Callable[[Sequence[BoundProxy]], dict[str, Score]]
) -> dict[str, Score]:
    """All proxies from shared looks; where these fail, each family from its own: none costs another its score."""
    try:
        return measure(proxies)
    except Exception as error:  # a candidate that raises is a result, not the end of a search
        if isinstance(error, SubshotError) and not isinstance(error, NetworkError):
            raise
        families: dict[tuple[Need, bool], list[BoundProxy]] = {}
        for one in proxies:  # some need no pass over the batch, and operations may be known
            families.setdefault((one.needs & (GRAPH_NEEDS | Need.MACS), bool(one.needs & BATCH_NEEDS)), []).append(one)
        if len(families) > 1:
            return {name: value for family in families.values() for name, value in _measured(family, measure).items()}
        return {one.name: _refusal(error) for one in proxies}


def _refusal(error: Exception, *, cost: Cost | None = None) -> Score:
    if isinstance(error, NetworkError):
        return Score.not_applicable(str(error), cost=cost)
    return Score.failed(f"{type(error).__name__} while the network ran: {error}".strip(), cost=cost)


def _read(proxy: BoundProxy, evidence: Evidence, unseen: str) -> Score:
    """A proxy's score of one look; it has a reason where there is nothing to average.

    Args:
        proxy: The proxy.
        evidence: What the look found.
        unseen: A warning for proxies of weights.
    """
    cost = evidence.cost
    if evidence.non_finite and proxy.needs & BATCH_NEEDS:
        reason = f"the output has {evidence.non_finite} non-finite of {evidence.outputs} numbers"
        return Score.of(math.nan, reason=reason, cost=cost)
    for need, error in evidence.missing.items():
        if proxy.needs & need:
            return _refusal(error, cost=cost)
    try:
        reading = proxy.read(evidence)
    except SubshotError:
        raise
    except Exception as error:
        return Score.failed(f"{type(error).__name__} in the proxy: {error}", cost=cost)
    if reading.not_applicable:
        return Score.not_applicable(reading.not_applicable, cost=cost)
    warnings = reading.warnings + (evidence.warnings if proxy.needs & SIGN_NEEDS else ())
    if unseen and proxy.needs & WEIGHT_NEEDS:
        warnings = (*warnings, unseen)
    return Score.of(reading.value, parts=reading.parts, warnings=warnings, cost=cost)


def _average(scores: Sequence[Score]) -> Score:
    """The mean over looks, or the first that has none."""
    cost = sum((one.cost for one in scores), Cost())
    without = next((one for one in scores if one.reason), None)
    if without is not None:
        return replace(without, cost=cost)
    values = [one.value for one in scores]
    shared = [key for key in scores[0].parts if all(key in one.parts for one in scores)]
    parts = {key: sum(one.parts[key] for one in scores) / len(scores) for key in shared}
    mean = sum(values) / len(values)
    if len(values) > 1:
        parts["spread"] = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    warnings = tuple(dict.fromkeys(warning for one in scores for warning in one.warnings))
    reason = "" if math.isfinite(mean) else f"the proxy's value is {mean}"
    return Score.of(mean, reason=reason, parts=parts, warnings=warnings, cost=cost)


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
