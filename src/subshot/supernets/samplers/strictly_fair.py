"""Strict fairness: a step trains every operation of a slot exactly once (FairNAS).

With K operations in each slot a step is K passes over one batch. Each slot's operations are put in an order of their
own, and pass k executes the k-th of each; the gradients are summed and the weights moved once. The edges that run are
those of an architecture that the space draws: all of them in spaces where every slot runs, two into each node in DARTS,
whose edges are then treated fairly on average only. A frozen slot runs its operation in every pass.
"""

import numpy as np

from subshot.errors import OptionError
from subshot.supernets.samplers._sampler import Paths, SampledPath, path_sampler


@path_sampler(paper="Chu, Zhang, Xu: FairNAS, ICCV 2021, arXiv 1907.01845")
def strictly_fair(supernet: Paths, step: int, rng: np.random.Generator) -> list[SampledPath]:
    """K paths.

    Args:
        supernet: Its slots must have the same number of operations.
        step: Number of the step.
        rng: Randomness of the step.

    Raises:
        OptionError: Slots have different numbers of operations.
    """
    options = supernet.options
    slots = [name for name, chosen in supernet.sample_path(rng).items() if chosen]
    counts = {len(options[name]) for name in slots} - {1}
    if len(counts) > 1:
        raise OptionError(
            f"Slots have {' or '.join(map(str, sorted(counts)))} operations, so no step can execute each exactly once.",
            "Use the sampler uniform.",
        )
    passes = max(counts, default=1)
    orders = {
        name: rng.permutation(options[name]).tolist() if len(options[name]) > 1 else list(options[name]) * passes
        for name in slots
    }
    return [{name: (order[index],) for name, order in orders.items()} for index in range(passes)]
