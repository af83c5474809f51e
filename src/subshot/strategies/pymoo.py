"""Any evolutionary algorithm of pymoo as a strategy (Blank and Deb, IEEE Access 2020, arXiv 2002.04504).

Architectures stay what they are: pymoo handles them as single variables, and sampling, crossover and mutation are those
of the space. Algorithms made of such operators work (NSGA-II and III, SPEA2, SMS-EMOA, genetic ones ...); those
that compute with vectors of numbers (CMA-ES, differential evolution, particle swarms) don't.

By name with this package's operators, or an algorithm of one's own::

    from pymoo.algorithms.moo.nsga3 import NSGA3
    from subshot.strategies.pymoo import operators, pymoo

    algorithm = NSGA3(directions, pop_size=40, **operators(space))
    strategy = pymoo(space, ("swap", "-macs"), seed=0, algorithm=algorithm)
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from subshot._seeds import stable_seed
from subshot._types import Arch
from subshot.errors import OptionError, UnknownNameError
from subshot.spaces._space import Crossable
from subshot.strategies._objectives import Outcome
from subshot.strategies._optional import optional
from subshot.strategies._strategy import AlgorithmStrategy, Moves, Objective, ParetoAlgorithm, Strategy, strategy

# Module and class of what can be called by name.
_ALGORITHMS = {
    "ga": ("pymoo.algorithms.soo.nonconvex.ga", "GA"),
    "nsga2": ("pymoo.algorithms.moo.nsga2", "NSGA2"),
    "spea2": ("pymoo.algorithms.moo.spea2", "SPEA2"),
    "sms_emoa": ("pymoo.algorithms.moo.sms", "SMSEMOA"),
}

# pymoo adds violations up, so none may be infinite.
_WORST = 1e30


@strategy(paper="Blank and Deb, IEEE Access 8, 2020, arXiv 2002.04504, and the chosen algorithm's", several=True)
def pymoo(
    space: Moves,
    objective: Objective,
    *,
    seed: int,
    algorithm: Any = "nsga2",
    population: int = 50,
    slack: str | None = None,
) -> Strategy:
    """An algorithm of pymoo.

    Args:
        space: Where to search.
        objective: Names of the scores to maximise, or one.
        seed: Seed of all random choices.
        algorithm: ``ga`` (one objective), ``nsga2``, ``spea2``, ``sms_emoa``, or an algorithm of pymoo
            whose operators are those of :func:`operators`; it is copied.
        population: Members, for an algorithm chosen by name.
        slack: Name of a score that is negative by as much as a demand is missed.

    Raises:
        MissingDependencyError: pymoo isn't installed.
        UnknownNameError: No algorithm has that name.
        OptionError: A population below 2, or an algorithm of another kind.
    """
    names = (objective,) if isinstance(objective, str) else tuple(objective)
    base = optional("pymoo.core.algorithm").Algorithm
    if isinstance(algorithm, str):
        if algorithm not in _ALGORITHMS:
            raise UnknownNameError.of("algorithm of the strategy pymoo", algorithm, _ALGORITHMS)
        if population < 2:
            raise OptionError(f"pymoo was given population={population}.", "It needs at least 2 members.")
        module, kind = _ALGORITHMS[algorithm]
        chosen = getattr(optional(module), kind)(pop_size=population, **operators(space))
    elif isinstance(algorithm, base):
        chosen = copy.deepcopy(algorithm)
    else:
        raise OptionError(
            f"{algorithm!r:.80} was given as an algorithm of pymoo.",
            f"Give an object, such as NSGA2(...), or a name: {', '.join(_ALGORITHMS)}.",
        )
    return AlgorithmStrategy(_drive(chosen, len(names), stable_seed(seed, "pymoo")), names, slack=slack)


def operators(space: Moves) -> dict[str, Any]:
    """How pymoo draws, crosses, mutates and compares architectures: arguments of its algorithms.

    Args:
        space: Whose moves; where it has no crossover, children are mutants of one parent.

    Raises:
        MissingDependencyError: pymoo isn't installed.
    """
    sampling: Any = optional("pymoo.core.sampling").Sampling
    crossing: Any = optional("pymoo.core.crossover").Crossover
    mutating: Any = optional("pymoo.core.mutation").Mutation
    comparing: Any = optional("pymoo.core.duplicate").HashDuplicateElimination
    crossable = isinstance(space, Crossable)

    # pymoo hands operators the generator of its run; nothing here is random by itself.
    class ArchSampling(sampling):  # type: ignore[misc]
        def _do(self, problem: Any, n_samples: int, *args: Any, random_state: Any = None, **kwargs: Any) -> np.ndarray:
            return _column([space.sample(random_state) for _ in range(n_samples)])

    class ArchMutation(mutating):  # type: ignore[misc]
        def _do(self, problem: Any, x: np.ndarray, *args: Any, random_state: Any = None, **kwargs: Any) -> np.ndarray:
            return _column([space.mutate(arch, random_state) for arch in x[:, 0]])

    class ArchCrossover(crossing):  # type: ignore[misc]
        def _do(self, problem: Any, x: np.ndarray, *args: Any, random_state: Any = None, **kwargs: Any) -> np.ndarray:
            pairs = list(zip(*x[:, :, 0], strict=True))
            if isinstance(space, Crossable):
                pairs = [
                    (space.crossover(one, other, random_state), space.crossover(other, one, random_state))
                    for one, other in pairs
                ]
            return np.stack([_column(children) for children in zip(*pairs, strict=True)])

    return {
        "sampling": ArchSampling(),
        "crossover": ArchCrossover(2, 2, prob=0.9),
        "mutation": ArchMutation(prob=0.9 if crossable else 1.0),
        "eliminate_duplicates": comparing(lambda one: one.X[0] if hasattr(one, "X") else hash(one)),
    }


def _column(archs: Sequence[Arch]) -> np.ndarray:
    """(architectures, 1) of objects."""
    column = np.empty((len(archs), 1), dtype=object)
    column[:, 0] = archs
    return column


def _drive(algorithm: Any, objectives: int, seed: int) -> ParetoAlgorithm:
    told: list[Outcome] = []
    algorithm.setup(
        _problem(objectives, lambda: told),
        seed=seed % 2**32,
        termination=optional("pymoo.core.termination").NoTermination(),
    )
    while True:
        asked = algorithm.ask()
        if asked is None or len(asked) == 0:
            return  # nothing new in a hundred rounds of mating
        told = yield [one.X[0] for one in asked]
        algorithm.evaluator.eval(algorithm.problem, asked, algorithm=algorithm)
        algorithm.tell(asked)


def _problem(objectives: int, told: Callable[[], Sequence[Outcome]]) -> Any:
    """A problem of pymoo whose values are what the strategy was told of the architectures last asked for."""
    base: Any = optional("pymoo.core.problem").Problem

    class ArchProblem(base):  # type: ignore[misc]
        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            # It minimises. The values of one that failed are never looked at: its violation decides.
            out["F"] = np.array(
                [[-v for v in one.values] if np.isfinite(one.values).all() else [0.0] * objectives for one in told()]
            )
            out["G"] = np.array([[min(one.violation, _WORST)] for one in told()])

    return ArchProblem(n_var=1, n_obj=objectives, n_ieq_constr=1, vtype=object)
