"""The aggregate of VKDNW (Tybl and Neumann, CVPR 2025): log-rank sum of its entropy, two parts of AZ-NAS, and others.

Read are ``macs``, ``vkdnw``, ``az_expressivity``, ``az_trainability`` and ``jacob_cov``. The authors have published
several forms: for MobileNet spaces progressivity takes the place of the Jacobian, and one form ranks by depth first and
entropy second. This one is that of NAS-Bench-201 and ranks ``vkdnw`` as it is given.
"""

import numpy as np
from numpy.typing import NDArray

from subshot.aggregators._aggregator import Contest, aggregator
from subshot.aggregators.log_rank_sum import log_rank_sum


@aggregator(
    paper="Tybl and Neumann, CVPR 2025, code for NAS-Bench-201",
    formula="sum of log(rank / M) of MACs, VKDNW, expressivity, trainability and Jacobian covariance",
    scale="at most 0; compare within one population",
    reads=("macs", "vkdnw", "az_expressivity", "az_trainability", "jacob_cov"),
)
def vkdnw_aggregate(contest: Contest) -> NDArray[np.float64]:
    """Log-rank sum of the five parts, (N,)."""
    return log_rank_sum(contest)
