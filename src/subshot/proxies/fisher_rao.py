"""The Fisher-Rao norm of the weights (Liang et al., AISTATS 2019, arXiv 1711.01530), as SiGeo reads it.

    sum:    score = log (w . sum over b of g_b)^2
    layers: score = log (sum over layers of |w_l . sum over b of g_b,l|)^2
    mean:   score = log mean over b of (w . g_b)^2,   the norm w^T F w with F the mean of g_b g_b^T

g_b are the gradients of the loss on four parts of the batch, w the weights of convolutions and linear layers. A layer
that batch norm follows has w . g = 0 at one point, for its loss doesn't change with the length of w; what is left there
are the other layers. With ``step=true`` all parameters take a step of plain gradient descent with rate 1 after each
part, as SiGeo's code for benchmarks does, and w is what they end at; such a layer then adds
-(|sum of g_b|^2 + sum of |g_b|^2) / 2, so the term is the length of gradients in disguise. Cost: that of ``zico``.

``scope=head`` takes the last convolution or linear layer of the module tree alone, which is what remains of SiGeo's
score for recommenders with its published commands.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence
    from subshot.proxies._parts import Parts

READINGS = ("sum", "layers", "mean")
SCOPES = ("all", "head")
# The authors' constant inside the logarithm of the product; its square goes with the mean of squares.
_TINY = 1e-5


def step_needs(options: Mapping[str, Value]) -> Need:
    """Gradients on quarters of the batch, with steps between them by the option ``step``."""
    return (Need.QUARTERS_STEPPED if options["step"] else Need.QUARTERS) | Need.LABELS


def check_reading(options: Mapping[str, Value]) -> None:
    """Refuse readings and scopes that there are none of.

    Raises:
        OptionError: Unknown.
    """
    for name, allowed in (("reading", READINGS), ("scope", SCOPES)):
        if options[name] not in allowed:
            raise OptionError(f"There is no {name} {options[name]!r}.", f"Use {', '.join(allowed)}.")


def parts_in_scope(evidence: "Evidence", *, step: bool, scope: str) -> "Parts":
    """The gradients of the four parts, of all layers or of the last one that has any."""
    found = evidence.quarters_stepped if step else evidence.quarters
    assert found is not None
    if scope == "all":
        return found
    last = max((i for i, one in enumerate(found.gradients) if one is not None), default=None)
    head = slice(0, 0) if last is None else slice(last, last + 1)
    return dataclasses.replace(found, weights=found.weights[head], gradients=found.gradients[head])


def log_norm(parts: "Parts", reading: str) -> float:
    """The logarithm of the norm; sums in double precision."""
    products = [
        (weight.double() * gradients.double()).flatten(1).sum(dim=1)  # (parts,)
        for weight, gradients in zip(parts.weights, parts.gradients, strict=True)
        if gradients is not None
    ]
    if reading == "mean":
        along = sum(products)
        mean = 0.0 if isinstance(along, int) else float(along.square().mean())
        return math.log(mean + _TINY**2)
    sums = [float(one.sum()) for one in products]
    product = sum(map(abs, sums)) if reading == "layers" else abs(sum(sums))
    return 2 * math.log(product + _TINY)


@proxy(
    paper="Liang et al., AISTATS 2019, arXiv 1711.01530; Zheng et al., KDD 2024, arXiv 2311.13169",
    formula="log (w . sum g)^2",
    needs=step_needs,
    scale="a logarithm; compare equal batches and losses",
    labels=True,
    check=check_reading,
)
def fisher_rao(evidence: "Evidence", *, reading: str = "sum", step: bool = False, scope: str = "all") -> Reading:
    """How much the loss changes along the weights.

    Args:
        evidence: With gradients of four parts.
        reading: ``sum``, ``layers`` or ``mean``.
        step: Whether the weights take a step after each part.
        scope: ``all`` layers or the ``head``.
    """
    parts = parts_in_scope(evidence, step=step, scope=scope)
    if not parts.weights:
        return Reading(math.nan, not_applicable="the loss depends on no weight of a convolution or linear layer")
    return Reading(log_norm(parts, reading))
