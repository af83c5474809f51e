"""Zen-Score (Lin et al., ICCV 2021, arXiv 2102.01063).

    score = log E ||F(x) - F(x + 0.01 e)||_1 + sum over batch norms of log sqrt(mean over channels of variance)

F is the last feature map, x and e are Gaussian noise, all convolution and linear weights are N(0, 1). The last feature
map is what the global pooling in front of the head is given: the last pooling of whole images whose result doesn't go
back into maps, as that of a squeeze-and-excitation gate does; a network without one has no score. A pooling is
recognised where one call does it: adaptive or average pooling, ``mean`` or ``amax`` of (S, C, H, W). Written by hand in
several steps (``x.mean(3).mean(2)``, ``x.flatten(2).mean(2)``) or as a sum it isn't, and there is no score either.
The second sum puts back what batch norm scales away. No data and no labels. Cost: two forward passes of its own, since
it draws its own weights; the protocol's initialisation and images don't matter, its batch size does little.

``variance``: ``batch`` takes the variance of the first pass, as the formula says; ``running`` what the authors' code
reads, the running variance after both passes from its start value 1 at momentum 0.1, which damps the sum and which the
published scores hold. Departures from the authors' code: they score networks without residual links; here the network
is as it is, which on NAS-Bench-201 is what the published scores did too. Norms of inputs that are all zero are left out
of the sum: they scale nothing. A constant feature map gives NaN with its reason.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


def _check(options: Mapping[str, Value]) -> None:
    if options["variance"] not in ("batch", "running"):
        raise OptionError(f"There is no variance {options['variance']!r} of zen.", "Use batch or running.")


@proxy(
    paper="Lin et al., ICCV 2021, arXiv 2102.01063",
    formula="log E ||F(x) - F(x + 0.01 e)|| + sum of log sqrt(variance)",
    needs=Need.NOISE,
    scale="a logarithm that grows with depth",
    check=_check,
    preset=Preset(samples=64, options={"variance": "running"}),
)
def zen(evidence: "Evidence", *, variance: str = "batch") -> Reading:
    """Expressivity under Gaussian weights and inputs.

    Args:
        evidence: With the noise pair.
        variance: ``batch`` or ``running``.
    """
    pair = evidence.noise
    assert pair is not None
    if pair.difference is None:
        reason = (
            "no global pooling in front of a head was recognised (one call of adaptive or average pooling, mean or "
            "amax), so there is no last feature map"
        )
        return Reading(math.nan, not_applicable=reason)
    if pair.difference == 0:
        return Reading(math.nan, not_applicable="the feature map before pooling doesn't depend on the input")
    seen = [one for one in pair.variances if one is not None]
    # Two updates with momentum 0.1 from 1: 0.9 * (0.9 + 0.1 a) + 0.1 b.
    values = [0.81 + 0.09 * a + 0.1 * b if variance == "running" else a for a, b in seen]
    # A norm whose input is constantly zero, behind an edge that carries nothing, scales nothing.
    norms = sum(0.5 * math.log(value) for value in values if value != 0)
    difference = math.log(pair.difference) if math.isfinite(pair.difference) else pair.difference
    return Reading(difference + norms, {"difference": pair.difference, "norms": norms})
