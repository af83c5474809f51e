"""EPE-NAS (Lopes et al., ICANN 2021, arXiv 2102.08099).

    E_c = sum over all entries of log(|R_c| + k),   score = sum over classes of |E_c|                 (up to 100
    classes) E_c = the same over the number of samples,      score = sum over pairs of |E_c - E_c'| / classes  (more)

R_c is the correlation matrix of the input gradients of the samples of class c, k = 1e-5. Classes are those in the
batch; take a batch of several samples per class. Cost: that of ``jacob_cov``, shared with it; labels are used to group
samples only.

Departures from the authors' code: their caller never passes the number of classes, so the second branch is never taken;
``branch`` chooses it: ``auto`` by the number of outputs (classes) of the network, ``few`` as their released results,
``many``.
"""

from itertools import combinations
from typing import TYPE_CHECKING

from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence

_K = 1e-5
_MANY = 100


@proxy(
    paper="Lopes et al., ICANN 2021, arXiv 2102.08099, equations 3 to 5",
    formula="sum over classes of |sum of log(|R_c| + k)|",
    needs=Need.JACOBIAN | Need.LABELS,
    scale="grows with the batch; compare equal batches only",
    labels=True,
)
def epe_nas(evidence: "Evidence", *, branch: str = "auto") -> Reading:
    """How unrelated the input gradients are within classes.

    Args:
        evidence: With the Jacobian and labels.
        branch: ``auto``, ``few`` or ``many``.

    Raises:
        OptionError: Another branch.
    """
    import torch

    if branch not in ("auto", "few", "many"):
        raise OptionError(f"There is no branch {branch!r} of epe_nas.", "Use auto, few or many.")
    assert evidence.jacobian is not None
    assert evidence.labels is not None
    if evidence.labels.dim() != 1 or evidence.labels.is_floating_point():
        return Reading(float("nan"), not_applicable="it needs one class for each sample")
    many = branch == "many" or (branch == "auto" and evidence.outputs // evidence.samples > _MANY)
    found = []
    for label in torch.unique(evidence.labels):
        rows = evidence.jacobian[evidence.labels == label].double()
        correlation = torch.corrcoef(rows).reshape(len(rows), len(rows))
        entries = float((correlation.abs() + _K).log().sum())
        found.append(entries / len(rows) if many else entries)
    terms = [(a - b) / len(found) for a, b in combinations(found, 2)] if many else found
    return Reading(sum(map(abs, terms)), {"classes": float(len(found))})
