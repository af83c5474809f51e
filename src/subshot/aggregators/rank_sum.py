"""Sum of ranks: the plainest way to combine proxies whose scales have nothing in common.

    value(i) = sum over proxies of rank(i), 1 for the worst, equals at their mean rank

Every proxy has the same say, and a gain of one place counts the same anywhere in the order.
"""

import numpy as np
from numpy.typing import NDArray

from subshot.aggregators._aggregator import Contest, aggregator


@aggregator(
    paper="general; for two proxies Chen, Gong and Wang, ICLR 2021, arXiv 2102.11535",
    formula="sum of ranks",
    scale="from K to K M for K proxies and M architectures; compare within one population",
)
def rank_sum(contest: Contest) -> NDArray[np.float64]:
    """Sum over proxies of the ranks, (N,)."""
    total: NDArray[np.float64] = contest.ranks().sum(axis=0)
    return total
