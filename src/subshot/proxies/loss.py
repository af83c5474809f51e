"""The loss on the batch: nothing at initialisation, and the plainest of scores once weights were warmed up.

    score = -L

The baseline that any proxy of warmed weights has to beat; at initialisation it tells of the output's scale only. Cost:
one forward pass, shared.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="baseline",
    formula="-loss",
    needs=Need.LOSS | Need.LABELS,
    scale="minus the mean loss of a sample; compare equal batches, labels and losses",
    labels=True,
)
def loss(evidence: "Evidence") -> float:
    """Minus the loss.

    Args:
        evidence: With the loss.
    """
    assert evidence.loss is not None
    return -evidence.loss
