"""Sum of logarithms of relative ranks, after AZ-NAS (Lee and Ham, CVPR 2024, arXiv 2403.19232).

    value(i) = sum over proxies of log(rank(i) / M), M architectures, rank 1 for the worst

A low rank by one proxy costs more than high ranks by the others bring in, so the winners have no weak side. At most 0;
with a frozen population a candidate better than every member exceeds 0 by log(1 + 1 / 2M) for each proxy.
"""

import numpy as np
from numpy.typing import NDArray

from subshot.aggregators._aggregator import Contest, aggregator


@aggregator(
    paper="Lee and Ham, CVPR 2024, arXiv 2403.19232, as the way to combine any proxies",
    formula="sum of log(rank / M)",
    scale="at most 0; compare within one population",
)
def log_rank_sum(contest: Contest) -> NDArray[np.float64]:
    """Sum over proxies of the logarithm of the relative rank, (N,)."""
    total: NDArray[np.float64] = np.log(contest.ranks() / contest.size).sum(axis=0)
    return total
