"""Random search: the strategy every other one has to beat."""

from subshot._seeds import stable_rng
from subshot._types import Arch
from subshot.strategies._strategy import Algorithm, AlgorithmStrategy, Moves, Objective, Strategy, strategy

# Draws in a row that give nothing new before the space counts as exhausted.
_PATIENCE = 1000

# Samples don't depend on results, so groups are large and no worker ever waits.
_GROUP = 64


@strategy(paper="baseline; Li and Talwalkar, UAI 2019, arXiv 1902.07638, show how strong it is", several=True)
def random(space: Moves, objective: Objective, *, seed: int) -> Strategy:
    """Sample architectures without repetition until none is left.

    Args:
        space: Where to sample.
        objective: Name of the score to maximise, or several; they decide what is best, not what is sampled.
        seed: Seed of the samples.
    """
    return AlgorithmStrategy(_sample(space, seed), objective)


def _sample(space: Moves, seed: int) -> Algorithm:
    rng = stable_rng(seed, "random")
    seen: set[Arch] = set()
    group: list[Arch] = []
    misses = 0
    while misses < _PATIENCE:
        arch = space.sample(rng)
        if arch in seen:
            misses += 1
            continue
        misses = 0
        seen.add(arch)
        group.append(arch)
        if len(group) == _GROUP:
            yield group
            group = []
    yield group
