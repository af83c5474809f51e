"""SynFlow (Tanaka et al., NeurIPS 2020, arXiv 2006.05467) as a score of networks (arXiv 2101.08134).

    score = log sum of |w| * dR/d|w|,   R = sum of outputs for an input of ones

Parameters and buffers of the network's state are made absolute and batch norm is passed through; buffers outside the
state, such as masks, stay as they are. The sum itself is a product over layers that reaches 1e60 and more on deep
networks; its logarithm is handed out, which orders networks the same way (ours), and the sum stands in the parts as far
as double precision holds it. Where layers aren't positively homogeneous (GELU, layer norm, softmax) the number exists
and the theory doesn't. Cost: one forward and one backward pass over a single sample.

``batch_norm=true`` is the reference code's synflow_bn: batch norm stays, by the protocol's mode. With statistics of one
constant image it is fragile, and it is here for comparison only.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.proxies._proxy import Need, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


def _needs(options: Mapping[str, Value]) -> Need:
    return Need.ABSOLUTE_NORM if options["batch_norm"] else Need.ABSOLUTE


@proxy(
    paper="Tanaka et al., NeurIPS 2020, arXiv 2006.05467; as a score: arXiv 2101.08134",
    formula="log sum of |w| * dR/d|w|",
    needs=_needs,
    scale="a logarithm; the sum grows exponentially with depth",
)
def synflow(evidence: "Evidence", *, batch_norm: bool = False) -> Reading:
    """Logarithm of the sum over weights of absolute weight times gradient of the flow.

    Args:
        evidence: With SynFlow's pass.
        batch_norm: Leave batch norm in its place.
    """
    layers = evidence.absolute_norm if batch_norm else evidence.absolute
    assert layers is not None
    total = sum(float((layer.weight * layer.gradient).abs().sum()) for layer in layers if layer.gradient is not None)
    if not total > 0:
        return Reading(-math.inf if total == 0 else math.nan, {"sum": total})
    return Reading(math.log(total), {"sum": total})
