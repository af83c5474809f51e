"""SiGeo (Zheng et al., KDD 2024, arXiv 2311.13169): the score whose terms a warm-up makes meaningful.

    score = zico_weight * ZiCo + fisher_rao_weight * log FR - loss_weight * L

ZiCo and FR are the proxies of these names on four parts of the batch, L the loss of the last part. All three terms
stand in the parts, so that other weights need no other look. With both other weights 0 it is ZiCo. ``setting`` takes
the published weights and readings together; other options that differ from their defaults are refused beside it:

    vision       1, 50, 1 with steps between the parts, products summed by layers: after a warm-up, on the benchmarks
    vision_cold  1, 1, 0, else the same: what the authors use without one
    recsys       1, 1, 1, one product, no steps: after a warm-up, on click data (their scripts differ, see below)

The defaults are 1, 1, 0 with one product and no steps. Cost: that of ``zico``.

With weights 1, 50, 1 one unit of log |w . g| counts 100 times a unit of loss: the loss hardly matters. The aggregator
``rank_sum`` over zico, fisher_rao and loss lets each term count.

Departures from the authors' code, of which there are two that differ: on recommenders theirs steps between the parts
too, with Adagrad at a rate near zero, and its scripts freeze all but the last layer (``scope=head``) and read one
weight of each tensor; here all weights count and the coefficients of a data set (1/1/0 to 0/1/1) have to be given.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Preset, Reading, proxy
from subshot.proxies.fisher_rao import check_reading, log_norm, parts_in_scope, step_needs
from subshot.proxies.zico import consistency

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence

_PLAIN: dict[str, Value] = {
    "zico_weight": 1.0, "fisher_rao_weight": 1.0, "loss_weight": 0.0, "reading": "sum", "step": False, "scope": "all"
}  # fmt: skip
SETTINGS: dict[str, dict[str, Value]] = {
    "plain": _PLAIN,
    "vision": _PLAIN | {"fisher_rao_weight": 50.0, "loss_weight": 1.0, "reading": "layers", "step": True},
    "vision_cold": _PLAIN | {"reading": "layers", "step": True},
    "recsys": _PLAIN | {"loss_weight": 1.0},
}


def _check(options: Mapping[str, Value]) -> None:
    for name in ("zico_weight", "fisher_rao_weight", "loss_weight"):
        value = options[name]
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise OptionError(f"{name} is {value!r}.", "It must be a finite number.")
    check_reading(options)
    if options["setting"] not in SETTINGS:
        raise OptionError(f"There is no setting {options['setting']!r} of sigeo.", f"Use {', '.join(SETTINGS)}.")
    changed = [name for name, value in _PLAIN.items() if options[name] != value]
    if options["setting"] != "plain" and changed:
        raise OptionError(
            f"The setting {options['setting']} of sigeo was given, and {', '.join(changed)} too.",
            f"Give the one or the other; {options['setting']} is {SETTINGS[str(options['setting'])]}.",
        )


def _resolved(options: Mapping[str, Value]) -> Mapping[str, Value]:
    return options if options["setting"] == "plain" else SETTINGS[str(options["setting"])]


def _needs(options: Mapping[str, Value]) -> Need:
    return step_needs(_resolved(options))


@proxy(
    paper="Zheng et al., KDD 2024, arXiv 2311.13169",
    formula="a * zico + b * log (w . sum g)^2 - c * loss",
    needs=_needs,
    scale="a sum of logarithms and a loss; compare equal batches, weights and losses",
    labels=True,
    check=_check,
    preset=Preset(samples=256, options={"setting": "vision_cold"}),
)
def sigeo(
    evidence: "Evidence",
    *,
    zico_weight: float = 1.0,
    fisher_rao_weight: float = 1.0,
    loss_weight: float = 0.0,
    reading: str = "sum",
    step: bool = False,
    scope: str = "all",
    setting: str = "plain",
) -> Reading:
    """Gradient statistics, Fisher-Rao norm and loss.

    Args:
        evidence: With gradients of four parts.
        zico_weight: Weight of ZiCo.
        fisher_rao_weight: Weight of the logarithm of the Fisher-Rao norm.
        loss_weight: Weight of the loss, which counts against the score.
        reading: Of the Fisher-Rao norm: ``sum``, ``layers`` or ``mean``.
        step: Whether the weights take a step of rate 1 after each part.
        scope: ``all`` layers or the ``head``.
        setting: ``plain``, as the other options say, or the published ``vision``, ``vision_cold`` or ``recsys``.
    """
    if setting != "plain":
        published = {name: value for name, value in SETTINGS[setting].items() if name != "setting"}
        return sigeo(evidence, **published)  # type: ignore[arg-type]
    parts = parts_in_scope(evidence, step=step, scope=scope)
    steadiness, _ = consistency(parts)
    norm = log_norm(parts, reading)
    loss = parts.losses[-1]
    terms = ((zico_weight, steadiness), (fisher_rao_weight, norm), (-loss_weight, loss))
    value = sum(weight * term for weight, term in terms if weight != 0)
    return Reading(value, {"zico": steadiness, "fisher_rao": norm, "loss": loss})
