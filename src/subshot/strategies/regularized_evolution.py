"""Regularised (ageing) evolution (Real, Aggarwal, Huang and Le, AAAI 2019, arXiv 1802.01548, algorithm 1).

1. Score a random population.
2. Each cycle, draw a sample of the population with replacement; a mutant of its best is scored and joins.
3. The oldest member leaves, however good it is.

The paper ran cycles on hundreds of workers at once and didn't wait for results. Here a few cycles share a population
(``children``), so that results don't depend on workers; one child is the algorithm without any. A mutation is the
space's own and always changes something, where the paper's is the identity in one of twenty cases.
"""

from collections import deque

import numpy as np

from subshot._seeds import stable_rng
from subshot._types import Arch
from subshot.errors import OptionError
from subshot.strategies._strategy import Algorithm, AlgorithmStrategy, Moves, Strategy, strategy


@strategy(paper="Real et al., AAAI 2019, arXiv 1802.01548, algorithm 1")
def regularized_evolution(
    space: Moves,
    objective: str,
    *,
    seed: int,
    population: int = 100,
    sample: int = 25,
    children: int = 10,
) -> Strategy:
    """Evolution in which the oldest member leaves.

    Args:
        space: Where to search.
        objective: Name of the score to maximise.
        seed: Seed of all random choices.
        population: Members.
        sample: Members drawn in a cycle, of which the best becomes the parent.
        children: Cycles whose mutants are scored together; at most ``population``.

    Raises:
        OptionError: An option outside its range.
    """
    if not (population >= children >= 1 and sample >= 1):
        raise OptionError(
            f"regularized_evolution was given population={population}, sample={sample}, children={children}.",
            "It needs population >= children >= 1 and sample >= 1.",
        )
    rng = stable_rng(seed, "regularized_evolution")
    return AlgorithmStrategy(_evolve(space, rng, population, sample, children), objective)


def _evolve(space: Moves, rng: np.random.Generator, population: int, sample: int, children: int) -> Algorithm:
    start = [space.sample(rng) for _ in range(population)]
    members = deque(zip(start, (yield start), strict=True), maxlen=population)
    while True:
        mutants = [space.mutate(_parent(members, rng, sample), rng) for _ in range(children)]
        # A full deque drops its oldest for each that joins.
        members.extend(zip(mutants, (yield mutants), strict=True))


def _parent(members: deque[tuple[Arch, float]], rng: np.random.Generator, sample: int) -> Arch:
    """The best of a sample, the first drawn among equals."""
    drawn = [members[int(i)] for i in rng.integers(len(members), size=sample)]
    return max(drawn, key=lambda member: member[1])[0]
