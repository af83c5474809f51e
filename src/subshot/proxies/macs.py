"""Multiply-accumulate operations: the other baseline.

Convolutions and matrix products of one sample, without biases, norms, poolings and element-wise operations: half of
what ``torch.utils.flop_counter`` counts.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="baseline",
    formula="multiply-accumulate operations of one sample",
    needs=Need.MACS,
    scale="a count",
)
def macs(evidence: "Evidence") -> float:
    """Multiply-accumulate operations of one sample through the scored network."""
    assert evidence.macs is not None
    return float(evidence.macs)
