"""Vote (Abdelfattah et al., ICLR 2021, arXiv 2101.08134): of two architectures, most proxies prefer one.

    value(i) = share of the population that i beats by majority, a drawn vote counting half

Departures: the paper votes on pairs and reports how many of them it orders correctly, which is no rank correlation;
the share of pairs won (Copeland's rule) makes a score of it that can be ranked. An architecture's comparison with
itself is a draw and counts as such, so that a member of a population has the same value inside it and against it. The
paper's voters are synflow, jacob_cov and snip; any are taken here, and an odd number draws less.

Majorities can run in circles; those within one share a value unless others tell them apart.
"""

import numpy as np
from numpy.typing import NDArray

from subshot.aggregators._aggregator import Contest, aggregator

# Comparisons held in memory at a time.
_BLOCK = 2**22


@aggregator(
    paper="Abdelfattah et al., ICLR 2021, arXiv 2101.08134",
    formula="share of pairwise comparisons won by majority, draws half",
    scale="between 0 and 1; compare within one population",
)
def vote(contest: Contest) -> NDArray[np.float64]:
    """Share of the population that each candidate beats, (N,)."""
    step = max(1, _BLOCK // contest.size)
    blocks = range(0, contest.candidates.shape[1], step)
    return np.concatenate([_shares(contest.candidates[:, at : at + step], contest.reference) for at in blocks])


def _shares(candidates: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    balance = np.zeros((candidates.shape[1], reference.shape[1]), dtype=np.int32)  # votes for minus votes against
    for own, others in zip(candidates, reference, strict=True):
        balance += own[:, None] > others
        balance -= own[:, None] < others
    shares: NDArray[np.float64] = (np.sign(balance).mean(axis=1) + 1) / 2
    return shares
