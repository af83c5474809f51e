"""TE-NAS (Chen, Gong and Wang, ICLR 2021, arXiv 2102.11535) as a score: rank sum of trainability and expressivity.

Departure: the paper ranks the changes that removing an operation from a supernet makes; here networks are ranked, which
is how later comparisons use it. Both proxies are turned to higher-is-better before (the condition number is negated).
"""

import numpy as np
from numpy.typing import NDArray

from subshot.aggregators._aggregator import Contest, aggregator
from subshot.aggregators.rank_sum import rank_sum


@aggregator(
    paper="Chen, Gong and Wang, ICLR 2021, arXiv 2102.11535",
    formula="rank of NTK condition + rank of linear regions",
    scale="from 2 to 2 M; compare within one population",
    reads=("ntk_condition", "linear_regions"),
)
def te_nas(contest: Contest) -> NDArray[np.float64]:
    """Rank sum of the two, (N,)."""
    return rank_sum(contest)
