"""TEG-NAS (Chen et al., arXiv 2108.11939): rank sum of trainability, expressivity and generalisation.

TE-NAS with the error of kernel regression added. This is what the paper's evolution ranks by; its reinforcement
learning rewards relative changes instead, which need a history and are no aggregate.
"""

import numpy as np
from numpy.typing import NDArray

from subshot.aggregators._aggregator import Contest, aggregator
from subshot.aggregators.rank_sum import rank_sum


@aggregator(
    paper="Chen et al., arXiv 2108.11939",
    formula="rank of NTK condition + rank of linear regions + rank of NTK regression error",
    scale="from 3 to 3 M; compare within one population",
    reads=("ntk_condition", "linear_regions", "ntk_mse"),
)
def teg(contest: Contest) -> NDArray[np.float64]:
    """Rank sum of the three, (N,)."""
    return rank_sum(contest)
