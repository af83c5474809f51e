"""Jacobian covariance, Neural Architecture Search without Training in its first version (arXiv 2006.04647v1).

    score = -sum over eigenvalues v of log(v + k) + 1 / (v + k),   k = 1e-5

v are the eigenvalues of the correlation matrix of the rows d(sum of all outputs)/dx_i. With batch norm by batch
statistics a row also holds the effect of its sample on the others' outputs, as in the authors' code. The highest
value, about -S, means that no two samples are related; a null direction costs 1e5, so the score is chiefly a count of
them. No labels. Cost: one forward and one backward pass to the input.

Departures from the authors' code: a symmetric eigensolver in double precision, with eigenvalues held at zero or above
(theirs is a general one, which may return complex numbers); with a constant row, which has no correlation, the proxy
is not applicable.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence

# The authors' constant.
_K = 1e-5


@proxy(
    paper="Mellor et al., arXiv 2006.04647v1",
    formula="-sum of log(v + k) + 1/(v + k) over eigenvalues v of the Jacobian's correlation",
    needs=Need.JACOBIAN,
    scale="at most about -S; compare equal batch sizes only",
    preset=Preset(samples=64),
)
def jacob_cov(evidence: "Evidence") -> Reading:
    """How unrelated the samples' input gradients are."""
    import torch

    rows = evidence.jacobian
    assert rows is not None
    if bool((rows.amax(dim=1) == rows.amin(dim=1)).any()):
        return Reading(float("nan"), not_applicable="the input gradient of some sample is constant")
    correlation = torch.corrcoef(rows.double()).reshape(len(rows), len(rows))
    if not bool(torch.isfinite(correlation).all()):
        return Reading(float("nan"))
    eigenvalues = torch.linalg.eigvalsh(correlation).clamp(min=0) + _K
    return Reading(-float((eigenvalues.log() + 1 / eigenvalues).sum()))
