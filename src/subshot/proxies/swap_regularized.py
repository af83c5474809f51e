"""Regularised SWAP-Score (Peng et al., ICLR 2024, arXiv 2403.04161, definitions 3.4 and 3.5).

    Psi' = Psi * exp(-(Theta - mu)^2 / sigma)

Theta is the parameter count of the scored network. mu places a bump over sizes, sigma is its width; sigma is not
squared and there is no factor 2, so it is measured in the square of Theta's unit. The authors count Theta in thousands
of parameters of their tiny scoring network, not of the network that is trained. A badly placed mu ruins the ranking,
so there is no
default: give both, or let a space supply them. Cost: one forward pass, shared with SWAP.

The automatic choice (ours) uses sampled *sizes* and no accuracy: mu is the 95th percentile of Theta and sigma four
times the squared distance from the 5th to the 95th percentile, which lowers the score of the smallest networks by
about a fifth and leaves the large ones alone. Values tuned on accuracies must be marked ``fitted``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Preset, Reading, proxy
from subshot.proxies.swap import swap

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence

UNITS = {"one": 1, "k": 1_000, "M": 1_000_000}


def sizes_to_options(parameters: Sequence[int], options: Mapping[str, Value] | None = None) -> Mapping[str, Value]:
    """Mu and sigma from parameter counts of networks sampled from a space; no accuracies are used.

    Args:
        parameters: Parameter counts, at least two.
        options: Options that were given; mu and sigma come in their ``unit``, thousands if there is none.
    """
    unit = UNITS.get(str((options or {}).get("unit", "k")), UNITS["k"])
    low, high = np.quantile(np.asarray(parameters, dtype=np.float64) / unit, [0.05, 0.95])
    return {"mu": float(high), "sigma": float(max(4 * (high - low) ** 2, np.finfo(np.float64).tiny))}


def _check(options: Mapping[str, Value]) -> None:
    unit, mu, sigma = options["unit"], options["mu"], options["sigma"]
    if unit not in UNITS:
        raise OptionError(f"There is no unit {unit!r} of size.", f"Use one of {', '.join(UNITS)}.")
    for key, value in (("mu", mu), ("sigma", sigma)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise OptionError(f"{key} is {value!r}.", "It must be a number.")
    if isinstance(mu, float) and not math.isfinite(mu):
        raise OptionError(f"mu is {mu}.", "It must be finite.")
    if isinstance(sigma, (int, float)) and not sigma > 0:
        raise OptionError(f"sigma is {sigma}.", "It must be positive.")


@proxy(
    paper="Peng et al., ICLR 2024, arXiv 2403.04161, definition 3.5",
    formula="swap * exp(-(Theta - mu)^2 / sigma)",
    needs=Need.PATTERNS | Need.PARAMETERS,
    scale="at most the SWAP score; compare equal batch size, mu and sigma only",
    calibrate=sizes_to_options,
    check=_check,
    preset=Preset(samples=16, initialisation="normal", repeats=32),
)
def swap_regularized(
    evidence: "Evidence",
    *,
    mu: float | None = None,
    sigma: float | None = None,
    unit: str = "k",
    fitted: bool = False,
) -> Reading:
    """SWAP-Score damped away from a wanted size.

    Args:
        evidence: With pattern counts.
        mu: Wanted size in ``unit``.
        sigma: Width, in ``unit`` squared.
        unit: What mu is counted in: ``one``, ``k`` (thousand) or ``M`` (million) parameters of the scored network.
        fitted: mu and sigma were tuned on accuracies; the score says so.
    """
    if mu is None or sigma is None:
        return Reading(
            float("nan"),
            not_applicable="mu and sigma are not given and there is no space to take sizes from; "
            "write swap_regularized(mu=..., sigma=..., unit=k)",
        )
    plain = swap(evidence)
    theta = evidence.parameters / UNITS[unit]
    damping = math.exp(-((theta - mu) ** 2) / sigma)
    parts = {**plain.parts, "swap": plain.value, "theta": theta, "mu": mu, "sigma": sigma, "damping": damping}
    warnings = plain.warnings + (("mu and sigma were fitted to accuracies",) if fitted else ())
    return Reading(plain.value * damping, parts, warnings, plain.not_applicable)
