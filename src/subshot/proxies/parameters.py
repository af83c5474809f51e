"""Parameter count: the baseline that many proxies don't beat."""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="baseline",
    formula="number of parameters of the scored network",
    needs=Need.PARAMETERS,
    scale="a count",
)
def parameters(evidence: "Evidence") -> float:
    """Numbers in the parameters of the scored network, batch-norm vectors and biases included."""
    return float(evidence.parameters)
