"""Walk through a space towards lower cost, one mutation at a time."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from subshot._types import Arch


class Mutable(Protocol):
    """What a walk needs of a space."""

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Change one decision."""
        ...


def descend(
    space: Mutable,
    start: Arch,
    cost: Callable[[Arch], float],
    rng: np.random.Generator,
    *,
    goal: float = -np.inf,
    patience: int = 200,
) -> Arch:
    """Take every mutation that lowers the cost until it is at most ``goal`` or ``patience`` in a row don't help.

    Sizes are sums over decisions, so there are no false bottoms to speak of.

    Args:
        space: Yields mutants.
        start: Where to begin.
        cost: What to lower.
        rng: Randomness of the mutations.
        goal: Cost that is low enough.
        patience: Mutants in a row that don't lower the cost before giving up.
    """
    arch, lowest, misses = start, cost(start), 0
    while lowest > goal and misses < patience:
        mutant = space.mutate(arch, rng)
        value = cost(mutant)
        misses += 1
        if value < lowest:
            arch, lowest, misses = mutant, value, 0
    return arch
