"""SiGeo (Zheng et al., KDD 2024, arXiv 2311.13169): the score whose terms a warm-up makes meaningful.

    score = zico_weight * ZiCo + fisher_rao_weight * log FR - loss_weight * L,   FR = (sum of w * sum over b of g_b)^2

g_b are the gradients of the loss on four parts of the batch at the same weights w, ZiCo is the proxy of that name on
them, L the loss of the last part. FR is the Fisher-Rao norm w^T F w with F from the summed gradients. All three terms
stand in the parts, so that other weights need no other look. With both other weights 0 it is ZiCo. The published
weights are 1, 50, 1 after a warm-up and 1, 1, 0 without one; the latter are the defaults. Cost: that of ``zico``.

Departures from the authors' code, of which there are two that differ: they step between the parts (SGD with rate 1 on
the benchmarks, Adagrad on recommenders), so that w is not the point where most gradients were taken; weights that batch
norm makes scale-free have w * g = 0 at one point, and their term there is the squared length of gradients in disguise.
Here nothing moves. The code for benchmarks sums |w_l * g_l| over layers before the square (``layerwise=true``).
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Preset, Reading, proxy
from subshot.proxies.zico import consistency

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence

# The authors' constant inside the logarithm.
_TINY = 1e-5


def _check(options: Mapping[str, Value]) -> None:
    for name in ("zico_weight", "fisher_rao_weight", "loss_weight"):
        value = options[name]
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise OptionError(f"{name} is {value!r}.", "It must be a finite number.")


@proxy(
    paper="Zheng et al., KDD 2024, arXiv 2311.13169",
    formula="a * zico + b * log (w . sum g)^2 - c * loss",
    needs=Need.QUARTERS | Need.LABELS,
    scale="a sum of logarithms and a loss; compare equal batches, weights and losses",
    labels=True,
    check=_check,
    preset=Preset(samples=256, options={"layerwise": True}),
)
def sigeo(
    evidence: "Evidence",
    *,
    zico_weight: float = 1.0,
    fisher_rao_weight: float = 1.0,
    loss_weight: float = 0.0,
    layerwise: bool = False,
) -> Reading:
    """Gradient statistics, Fisher-Rao norm and loss.

    Args:
        evidence: With gradients of four parts.
        zico_weight: Weight of ZiCo.
        fisher_rao_weight: Weight of the logarithm of the Fisher-Rao norm.
        loss_weight: Weight of the loss, which counts against the score.
        layerwise: Sum the absolute products of layers before the square.
    """
    found = evidence.quarters
    assert found is not None
    steadiness, _ = consistency(found)
    products = [
        float((weight.double() * gradients.double().sum(dim=0)).sum())
        for weight, gradients in zip(found.weights, found.gradients, strict=True)
        if gradients is not None
    ]
    product = sum(map(abs, products)) if layerwise else abs(sum(products))
    norm = 2 * math.log(product + _TINY)
    loss = found.losses[-1]
    terms = ((zico_weight, steadiness), (fisher_rao_weight, norm), (-loss_weight, loss))
    value = sum(weight * term for weight, term in terms if weight != 0)
    return Reading(value, {"zico": steadiness, "fisher_rao": norm, "loss": loss})
