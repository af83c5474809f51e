"""Draw, change and mix architectures of named choices so that conditions and constraints hold."""

from collections.abc import Sequence

import numpy as np

from subshot.errors import InfeasibleError
from subshot.spaces._choices import INACTIVE, LISTABLE, ChoiceSet, Genes

_TRIES = 10_000
_PATIENCE = 500  # draws before a small space is listed, and mutants drawn before all of them are


def sample(choices: ChoiceSet, rng: np.random.Generator) -> Genes:
    """Draw each active choice uniformly, and anew until the constraints hold.

    Raises:
        InfeasibleError: They never did; it names the constraint that rejects most.
    """
    for tries in range(_TRIES):
        genes = _complete(choices, [None] * len(choices.names), rng)
        if not choices.violated(genes):
            return genes
        if tries == _PATIENCE and choices.bound() <= LISTABLE:
            listed = choices.listed()
            if not listed:
                break
            return listed[int(rng.integers(len(listed)))]
    raise _infeasible(choices)


def mutate(choices: ChoiceSet, genes: Genes, rng: np.random.Generator) -> Genes:
    """Change one active choice; what becomes active is drawn.

    An unordered choice is drawn anew; an ordered one moves by d values with a chance proportional to 1/d.

    Raises:
        InfeasibleError: There is only one architecture.
    """
    movable = [i for i, gene in enumerate(genes) if gene != INACTIVE and len(choices.texts[i]) > 1]
    if movable:
        for _ in range(_PATIENCE):
            position = movable[int(rng.integers(len(movable)))]
            mutant = _changed(choices, genes, position, _other(choices, position, genes[position], rng), rng)
            if not choices.violated(mutant):
                return mutant
        # Constraints leave few neighbours: look at each, then at several changes at once.
        near = [
            mutant
            for position in movable
            for gene in range(len(choices.texts[position]))
            if gene != genes[position] and not choices.violated(mutant := _changed(choices, genes, position, gene, rng))
        ]
        if near:
            return near[int(rng.integers(len(near)))]
        for _ in range(_TRIES):
            mutant = sample(choices, rng)
            if mutant != genes:
                return mutant
    raise InfeasibleError(
        f"{choices.format(genes)[:200]} of {choices.owner} can't be mutated: no other architecture was found.",
        "Give the choices more values, or loosen the constraints.",
    )


def crossover(choices: ChoiceSet, first: Genes, second: Genes, rng: np.random.Generator) -> Genes:
    """Take each choice from either parent with equal chance, from the one where it is active if only one is.

    If the constraints allow no child of many, the child is the first parent.
    """
    for _ in range(_PATIENCE):
        wanted: list[int | None] = []
        for pair, side in zip(zip(first, second, strict=True), rng.integers(2, size=len(first)), strict=True):
            gene = pair[side] if pair[side] != INACTIVE else pair[1 - side]
            wanted.append(None if gene == INACTIVE else gene)
        child = _complete(choices, wanted, rng)
        if not choices.violated(child):
            return child
    return first


def _other(choices: ChoiceSet, position: int, gene: int, rng: np.random.Generator) -> int:
    others = [other for other in range(len(choices.texts[position])) if other != gene]
    if not choices.domains[choices.names[position]].ordered:
        return others[int(rng.integers(len(others)))]
    weights = np.array([1 / abs(other - gene) for other in others])
    return others[int(rng.choice(len(others), p=weights / weights.sum()))]


def _changed(choices: ChoiceSet, genes: Genes, position: int, gene: int, rng: np.random.Generator) -> Genes:
    wanted = [None if old == INACTIVE else old for old in genes]
    wanted[position] = gene
    return _complete(choices, wanted, rng)


def _complete(choices: ChoiceSet, wanted: Sequence[int | None], rng: np.random.Generator) -> Genes:
    """Draw what is active and not given, and leave out what is inactive."""
    genes: list[int] = []
    for position, gene in enumerate(wanted):
        if not choices.active(position, genes):
            genes.append(INACTIVE)
        elif gene is None:
            genes.append(int(rng.integers(len(choices.texts[position]))))
        else:
            genes.append(gene)
    return tuple(genes)


def _infeasible(choices: ChoiceSet) -> InfeasibleError:
    rng = np.random.default_rng(0)
    draws = [_complete(choices, [None] * len(choices.names), rng) for _ in range(1_000)]
    rejected = dict.fromkeys((constraint.name for constraint in choices.constraints), 0)
    for genes in draws:
        for constraint in choices.violated(genes):
            rejected[constraint.name] += 1
    worst = sorted(rejected.items(), key=lambda item: -item[1])
    whole = "No architecture" if choices.bound() <= LISTABLE else f"None of {_TRIES:,} random architectures"
    return InfeasibleError(
        f"{whole} of {choices.owner} meets its constraints.",
        f"Of 1,000 random ones {worst[0][0]} rejects {worst[0][1]:,}"
        f"{''.join(f', {name} {count:,}' for name, count in worst[1:])}: loosen it, or widen the choices.",
    )
