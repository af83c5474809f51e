"""AZ-NAS (Lee and Ham, CVPR 2024, arXiv 2403.19232): log-rank sum of three looks at the blocks and the MACs.

The parts are the proxies of these names. The form for vision transformers has no progressivity: use ``log_rank_sum``
on the other three. A part that is not finite goes to the bottom, as the paper's own minus infinity does.

Departures: complexity is MACs, where the paper takes a benchmark's FLOPs; a part that is plus infinity goes to the
bottom too; an architecture without any finite part has no score.
"""

import numpy as np
from numpy.typing import NDArray

from subshot.aggregators._aggregator import Contest, aggregator
from subshot.aggregators.log_rank_sum import log_rank_sum


@aggregator(
    paper="Lee and Ham, CVPR 2024, arXiv 2403.19232",
    formula="sum of log(rank / M) of expressivity, progressivity, trainability and MACs",
    scale="at most 0; compare within one population",
    reads=("az_expressivity", "az_progressivity", "az_trainability", "macs"),
)
def az_nas(contest: Contest) -> NDArray[np.float64]:
    """Log-rank sum of the four parts, (N,)."""
    return log_rank_sum(contest)
