"""The evolutionary search of SWAP-NAS (Peng et al., ICLR 2024, arXiv 2403.04161, algorithm 1).

1. Score a random population.
2. Each cycle, draw a sample of the population. The parent is its best member or, with probability ``crossover``, the
   better of two children of its best and second best.
3. Score ``mutations`` mutants of the parent; the best joins the population and the worst member leaves.

Unlike ageing evolution the worst leaves, not the oldest. No search code was published, and the paper's settings could
not be verified: the defaults here are ours. Where the paper is silent: a parent's mutants are distinct, and an
architecture never stands in the population twice (the best mutant that is new joins; if none is, the population stays).

With several objectives, which the paper doesn't have, best and worst are those of NSGA-II's crowded comparison: the
earlier front, then the more room around it (Deb et al., IEEE TEVC 6(2), 2002). Everything that no other
dominates is kept in an archive, whether or not it stays in the population.
"""

from collections.abc import Mapping

import numpy as np

from subshot._seeds import stable_rng
from subshot._types import Arch
from subshot.errors import OptionError
from subshot.spaces._space import Crossable
from subshot.strategies._draw import distinct
from subshot.strategies._objectives import Outcome
from subshot.strategies._pareto import Worth, worths
from subshot.strategies._strategy import AlgorithmStrategy, Moves, Objective, ParetoAlgorithm, Strategy, strategy


@strategy(paper="Peng et al., ICLR 2024, arXiv 2403.04161, algorithm 1", several=True)
def swap_evolution(
    space: Moves,
    objective: Objective,
    *,
    seed: int,
    population: int = 50,
    sample: int = 10,
    mutations: int = 10,
    crossover: float = 0.5,
) -> Strategy:
    """Evolution in which the worst member leaves.

    Args:
        space: Where to search; where it has no crossover, every parent is a sample's best.
        objective: Name of the score to maximise, or several.
        seed: Seed of all random choices.
        population: Members.
        sample: Members drawn in a cycle; at least 2, at most ``population``.
        mutations: Mutants scored in a cycle.
        crossover: Probability that the parent is a child of the best two.

    Raises:
        OptionError: An option outside its range.
    """
    if not (population >= sample >= 2 and mutations >= 1 and 0 <= crossover <= 1):
        raise OptionError(
            f"swap_evolution was given population={population}, sample={sample}, mutations={mutations}, "
            f"crossover={crossover}.",
            "It needs population >= sample >= 2, mutations >= 1 and crossover between 0 and 1.",
        )
    algorithm = _evolve(space, stable_rng(seed, "swap_evolution"), population, sample, mutations, crossover)
    return AlgorithmStrategy(algorithm, (objective,) if isinstance(objective, str) else objective)


def _evolve(
    space: Moves, rng: np.random.Generator, population: int, sample: int, mutations: int, crossover: float
) -> ParetoAlgorithm:
    start = distinct(lambda: space.sample(rng), population)
    members = dict(zip(start, (yield start), strict=True))
    while True:
        worth = _worth(members)
        drawn = _draw(list(members), min(sample, len(members)), rng)
        drawn.sort(key=worth.__getitem__, reverse=True)
        parent = drawn[0]
        if isinstance(space, Crossable) and len(drawn) > 1 and rng.random() < crossover:
            first, second = drawn[:2]
            children = [space.crossover(first, second, rng) for _ in range(2)]
            parent = _best(children, members | dict(zip(children, (yield children), strict=True)))
        mutants = distinct(lambda parent=parent: space.mutate(parent, rng), mutations)  # type: ignore[misc]
        scored = dict(zip(mutants, (yield mutants), strict=True))
        new = [arch for arch in mutants if arch not in members]
        if new:
            child = _best(new, members | {arch: scored[arch] for arch in new})
            members[child] = scored[child]
            # The earliest among equally bad members leaves; dictionaries keep their order.
            worth = _worth(members)
            del members[min(members, key=worth.__getitem__)]


def _worth(members: Mapping[Arch, Outcome]) -> dict[Arch, Worth]:
    return dict(zip(members, worths(list(members.values())), strict=True))


def _draw(members: list[Arch], n: int, rng: np.random.Generator) -> list[Arch]:
    return [members[int(i)] for i in rng.choice(len(members), size=n, replace=False)]


def _best(archs: list[Arch], among: Mapping[Arch, Outcome]) -> Arch:
    """The best of some, the first among equals; how much room one has depends on all others."""
    worth = _worth(among)
    return max(archs, key=worth.__getitem__)
