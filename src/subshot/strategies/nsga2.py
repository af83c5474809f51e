"""NSGA-II: evolution towards a Pareto front (Deb, Pratap, Agarwal and Meyarivan, IEEE TEVC 6(2), 2002).

1. Score a random population and sort it into fronts; within a front, a member with more room around it is better.
2. Choose parents by binary tournaments, cross them, mutate the children, and score as many as there are members.
3. Of members and children together, the best stay: front by front, of the last front those with most room.

Departures: decisions of an architecture are discrete, so crossover and mutation are those of the space; a child that
stands in the population already, or twice among the children, is drawn again, as later implementations do.
"""

from collections.abc import Sequence

import numpy as np

from subshot._seeds import stable_rng
from subshot._types import Arch
from subshot.errors import OptionError
from subshot.spaces._space import Crossable
from subshot.strategies._draw import distinct
from subshot.strategies._pareto import Worth, worths
from subshot.strategies._strategy import AlgorithmStrategy, Moves, Objective, ParetoAlgorithm, Strategy, strategy

# Draws per wanted child before taking what there is.
_PATIENCE = 20


@strategy(paper="Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002", several=True)
def nsga2(
    space: Moves,
    objective: Objective,
    *,
    seed: int,
    population: int = 50,
    crossover: float = 0.9,
    mutation: float = 0.9,
    slack: str | None = None,
) -> Strategy:
    """Evolution by fronts and room.

    Args:
        space: Where to search; where it has no crossover, a child is a mutant of one parent.
        objective: Names of the scores to maximise; one is a special case.
        seed: Seed of all random choices.
        population: Members, and children of a generation.
        crossover: Probability that a child has two parents.
        mutation: Probability that such a child is mutated too.
        slack: Name of a score that is negative by as much as a demand is missed, say a latency that was measured; the
            smaller violation wins, and nothing that misses it is ever best. Limits on known costs need none.

    Raises:
        OptionError: An option outside its range.
    """
    if not (population >= 2 and 0 <= crossover <= 1 and 0 <= mutation <= 1):
        raise OptionError(
            f"nsga2 was given population={population}, crossover={crossover}, mutation={mutation}.",
            "It needs population >= 2, and crossover and mutation between 0 and 1.",
        )
    algorithm = _evolve(space, stable_rng(seed, "nsga2"), population, crossover, mutation)
    return AlgorithmStrategy(algorithm, (objective,) if isinstance(objective, str) else objective, slack=slack)


def _evolve(
    space: Moves, rng: np.random.Generator, population: int, crossover: float, mutation: float
) -> ParetoAlgorithm:
    start = distinct(lambda: space.sample(rng), population)
    members = dict(zip(start, (yield start), strict=True))
    while True:
        worth = dict(zip(members, worths(list(members.values())), strict=True))

        def breed(ranked: Sequence[tuple[Arch, Worth]] = tuple(worth.items())) -> Arch:
            return _child(space, ranked, rng, crossover, mutation)

        # Where the whole space stands in the population, the children are old ones.
        children = distinct(breed, population, known=members, patience=_PATIENCE) or [breed()]
        members.update(zip(children, (yield children), strict=True))
        worth = dict(zip(members, worths(list(members.values())), strict=True))
        stay = sorted(members, key=worth.__getitem__, reverse=True)[:population]
        members = {arch: members[arch] for arch in stay}


def _child(
    space: Moves,
    ranked: Sequence[tuple[Arch, Worth]],
    rng: np.random.Generator,
    crossover: float,
    mutation: float,
) -> Arch:
    first = _tournament(ranked, rng)
    if isinstance(space, Crossable) and rng.random() < crossover:
        child = space.crossover(first, _tournament(ranked, rng), rng)
        return space.mutate(child, rng) if rng.random() < mutation else child
    return space.mutate(first, rng)


def _tournament(ranked: Sequence[tuple[Arch, Worth]], rng: np.random.Generator) -> Arch:
    """The better of two members drawn at random, the first among equals."""
    one, other = (ranked[int(i)] for i in rng.integers(len(ranked), size=2))
    return other[0] if other[1] > one[1] else one[0]
