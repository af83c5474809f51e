"""W-PCA (Wang, ICLR 2025, arXiv 2504.15983): principal components of feed-forward networks, times parameters.

    k_l = number of leading principal components whose share of the variance first exceeds eta
    v_pca = sum over layers of k_l
    score = parameters * v_pca

of the output of the first linear layer of each feed-forward network, before its activation; rows are the tokens of all
samples, centred. Such a layer is recognised by handing (samples, tokens, features) straight to an activation function,
called or a module. Networks without one have no score. No labels. Cost: one forward pass; eigenvalues of one F x F
matrix for each layer, or of tokens x tokens where these are fewer.

Mostly a size: look at it beside the number of parameters, or take v_pca alone (``weighted=false``). k_l is below the
number of tokens, so take a batch with many more tokens than hidden features; the score warns. Padding tokens count.

Departures from the authors' code: it divides by the number of layers, which only matters where depth varies; ``eta`` is
0.99 throughout (0.9 for one of their two kinds of blocks); constant features have k_l = 0 (theirs runs off the end).
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Reading, proxy

if TYPE_CHECKING:
    from torch import Tensor

    from subshot.proxies._evidence import Evidence


def _check(options: Mapping[str, Value]) -> None:
    eta = options["eta"]
    assert isinstance(eta, float)
    if not 0 < eta < 1:
        raise OptionError(f"w_pca was given eta={eta}.", "It is a share of the variance between 0 and 1.")


@proxy(
    paper="Wang, ICLR 2025, arXiv 2504.15983",
    formula="parameters * sum over layers of principal components for a share eta of the variance",
    needs=Need.HIDDEN | Need.PARAMETERS,
    scale="a count times a count; grows with size",
    check=_check,
)
def w_pca(evidence: "Evidence", *, eta: float = 0.99, weighted: bool = True) -> Reading:
    """Principal components of hidden layers, times parameters.

    Args:
        evidence: With spectra of hidden layers.
        eta: Share of the variance that the components have to exceed.
        weighted: Multiply by the number of parameters.
    """
    hidden = evidence.features.hidden
    if not hidden:
        reason = "no linear layer was seen that hands tokens straight to an activation function"
        return Reading(math.nan, not_applicable=reason)
    v_pca = sum(_components(one.spectrum, eta) for one in hidden)
    short = sum(one.rows <= one.width for one in hidden)
    warnings = (
        (f"{short} of {len(hidden)} layers have no more tokens than hidden features; use a larger batch",)
        if short
        else ()
    )
    parts = {"v_pca": v_pca, "parameters": float(evidence.parameters), "layers": float(len(hidden))}
    return Reading(v_pca * evidence.parameters if weighted else v_pca, parts, warnings)


def _components(spectrum: "Tensor", eta: float) -> float:
    """Leading components whose share first exceeds ``eta``, from ascending eigenvalues."""
    leading = spectrum.flip(0).clamp(min=0)
    total = float(leading.sum())
    if not math.isfinite(total):
        return math.nan
    if total == 0:
        return 0.0
    return float(min(int((leading.cumsum(0) / total <= eta).sum()) + 1, len(leading)))
