"""The sandwich rule: a step trains the largest and the smallest path and some in between (slimmable networks).

Largest and smallest by multiply-accumulate operations, slot by slot, over the edges of an architecture that the space
draws anew in each step. Among operations of equal cost the first is taken; one that does nothing counts as smallest
only where there is no other, since a path of nothing trains nothing. Gradients are summed. Departure: the smaller paths
learn from the labels, not from the largest path's outputs.
"""

from collections.abc import Callable

import numpy as np

from subshot.errors import OptionError
from subshot.supernets.samplers._sampler import Paths, SampledPath, path_sampler


@path_sampler(paper="Yu and Huang: Universally Slimmable Networks, ICCV 2019, arXiv 1903.05134")
def sandwich(supernet: Paths, step: int, rng: np.random.Generator, *, between: int = 2) -> list[SampledPath]:
    """``2 + between`` paths.

    Args:
        supernet: The supernet.
        step: Number of the step.
        rng: Randomness of the step.
        between: Random paths beside the two.

    Raises:
        OptionError: ``between`` is below 0.
    """
    if between < 0:
        raise OptionError(f"between was given as {between}.", "It is a whole number from 0 on.")
    slots = [name for name, chosen in supernet.sample_path(rng).items() if chosen]
    ends: list[SampledPath] = [{name: (_extreme(supernet, name, choose),) for name in slots} for choose in (max, min)]
    return [*ends, *(supernet.sample_path(rng) for _ in range(between))]


def _extreme(supernet: Paths, slot: str, choose: Callable[..., int]) -> int:
    numbers = supernet.options[slot]
    working = [number for number in numbers if supernet.executes(slot, number)] or list(numbers)
    return choose(working, key=lambda number: supernet.operation_macs(slot, number))
