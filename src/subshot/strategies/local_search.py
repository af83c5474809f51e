"""Local search (White, Nolen and Savani, "Exploring the Loss Landscape in NAS", UAI 2021, arXiv 2005.02960).

1. Score some random architectures and start from the best.
2. Score all its neighbours, which differ in one decision, and move to the best of them for as long as that helps.
3. At a local optimum start again, until the budget is spent.

Departure: a space here has mutations, not lists of neighbours, so neighbours are drawn until no new one turns up for
long, and at most ``neighbours`` of them. What was scored before isn't scored again, but may be moved to, other than in
the authors' code, which leaves it out.
"""

import numpy as np

from subshot._seeds import stable_rng
from subshot._types import Arch
from subshot.errors import OptionError
from subshot.strategies._draw import distinct
from subshot.strategies._strategy import Algorithm, AlgorithmStrategy, Moves, Strategy, strategy


@strategy(paper="White et al., UAI 2021, arXiv 2005.02960")
def local_search(space: Moves, objective: str, *, seed: int, start: int = 10, neighbours: int = 200) -> Strategy:
    """Climb to the best neighbour until none is better, then start again.

    Args:
        space: Where to search.
        objective: Name of the score to maximise.
        seed: Seed of all random choices.
        start: Random architectures of which the best is the start of a climb.
        neighbours: Neighbours looked at before a step, at most.

    Raises:
        OptionError: An option below 1.
    """
    if start < 1 or neighbours < 1:
        raise OptionError(
            f"local_search was given start={start}, neighbours={neighbours}.", "Both are whole numbers from 1 on."
        )
    return AlgorithmStrategy(_climb(space, stable_rng(seed, "local_search"), start, neighbours), objective)


def _climb(space: Moves, rng: np.random.Generator, start: int, neighbours: int) -> Algorithm:
    known: dict[Arch, float] = {}
    while True:
        group = distinct(lambda: space.sample(rng), start, known=known)
        if not group:
            return  # nothing is left to start from
        known.update(zip(group, (yield group), strict=True))
        here = max(group, key=known.__getitem__)
        climbing = True
        while climbing:
            around = _neighbours(space, here, rng, neighbours)
            new = [arch for arch in around if arch not in known]
            if new:
                known.update(zip(new, (yield new), strict=True))
            best = max(around, key=known.__getitem__)
            climbing = known[best] > known[here]
            here = best if climbing else here


def _neighbours(space: Moves, arch: Arch, rng: np.random.Generator, most: int) -> list[Arch]:
    """Distinct mutants; all of them, but for bad luck of less than one in a thousand each."""
    found: dict[Arch, None] = {}
    misses = 0
    while len(found) < most and misses < 7 * len(found) + 50:
        mutant = space.mutate(arch, rng)
        misses = misses + 1 if mutant in found else 0
        found.setdefault(mutant)
    return list(found)
