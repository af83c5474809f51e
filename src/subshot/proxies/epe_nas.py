"""EPE-NAS (Lopes et al., ICANN 2021, arXiv 2102.08099).

    E_c = sum over all entries of log(|R_c| + k)

    up to 100 classes: score = sum over classes of |E_c|
    more classes:      score = sum over pairs of classes of |E_c / n_c - E_c' / n_c'|, over the number of classes

R_c is the correlation matrix of the input gradients of the n_c samples of class c, k = 1e-5. Classes are those in the
batch; take a batch of several samples per class. Cost: that of ``jacob_cov``, shared with it; labels are used to group
samples only.

With more than 100 classes, those of a single sample are left out, as in the authors' code. Labels must be classes that
the network can put out, counted from 0; one output stands for two classes.

Departures from the authors' code: their caller never passes the number of classes, so the second branch is never taken;
``branch`` chooses it: ``auto`` by the number of outputs (classes) of the network, ``few`` as their released results,
``many``. There theirs counts each pair of classes twice.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence

_K = 1e-5
_MANY = 100


def _check(options: Mapping[str, Value]) -> None:
    if options["branch"] not in ("auto", "few", "many"):
        raise OptionError(f"There is no branch {options['branch']!r} of epe_nas.", "Use auto, few or many.")


@proxy(
    paper="Lopes et al., ICANN 2021, arXiv 2102.08099",
    formula="sum over classes of |sum of log(|R_c| + k)|",
    needs=Need.JACOBIAN | Need.LABELS,
    scale="grows with the batch; compare equal batches only",
    labels=True,
    check=_check,
    preset=Preset(samples=256, options={"branch": "few"}),
)
def epe_nas(evidence: "Evidence", *, branch: str = "auto") -> Reading:
    """How unrelated the input gradients are within classes.

    Args:
        evidence: With the Jacobian and labels.
        branch: ``auto``, ``few`` or ``many``.
    """
    import torch

    jacobian, labels = evidence.jacobian, evidence.labels
    assert jacobian is not None
    assert labels is not None
    if tuple(labels.shape) != (len(jacobian),) or labels.is_floating_point():
        return Reading(float("nan"), not_applicable="it needs one class for each sample")
    if bool((jacobian.amax(dim=1) == jacobian.amin(dim=1)).any()):
        return Reading(float("nan"), not_applicable="the input gradient of some sample is constant")
    classes = max(evidence.outputs // evidence.samples, 2)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        reason = f"labels reach from {low} to {high}, and the network has outputs for classes 0 to {classes - 1}"
        return Reading(float("nan"), not_applicable=reason)
    many = branch == "many" or (branch == "auto" and classes > _MANY)
    found = []
    for label in torch.unique(labels):
        rows = jacobian[labels == label].double()
        if many and len(rows) == 1:  # nothing to correlate
            continue
        correlation = torch.corrcoef(rows).reshape(len(rows), len(rows))
        entries = float((correlation.abs() + _K).log().sum())
        found.append(entries / len(rows) if many else entries)
    if not found:
        return Reading(float("nan"), not_applicable="no class has two samples; use a larger batch")
    terms = [(a - b) / len(found) for a, b in combinations(found, 2)] if many else found
    return Reading(sum(map(abs, terms)), {"classes": float(len(found))})
