"""Any sampler of Optuna as a strategy (Akiba et al., KDD 2019, arXiv 1907.10902), and our strategies as its samplers.

A sampler knows parameters, so an architecture is its genes, each a categorical parameter (see ``_genes.py``). What it
wishes may be no architecture, outside the limits, or known already: then the nearest that can be granted is scored, or
a mutant of it, and the sampler is told of that one instead.

    from optuna.samplers import TPESampler
    from subshot.strategies.optuna import optuna, optuna_sampler

    strategy = optuna(space, "swap", seed=0, sampler=TPESampler(multivariate=True, seed=0))

    study = create_study(sampler=optuna_sampler("regularized_evolution", parameters, seed=0))  # the other way round
"""

from typing import Any

import numpy as np

from subshot._seeds import stable_rng, stable_seed
from subshot._types import Arch
from subshot.errors import OptionError, UnknownNameError
from subshot.strategies._genes import GeneCode
from subshot.strategies._optional import optional
from subshot.strategies._optuna_sampler import optuna_sampler as optuna_sampler
from subshot.strategies._strategy import AlgorithmStrategy, Moves, Objective, ParetoAlgorithm, Strategy, strategy

_SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "nsga2": "NSGAIISampler",
    "nsga3": "NSGAIIISampler",
    "gp": "GPSampler",
}

# Mutants tried in place of an architecture that is known, and draws in search of one of a wished shape.
_PATIENCE = 100


@strategy(paper="Akiba et al., KDD 2019, arXiv 1907.10902, and the chosen sampler's", several=True)
def optuna(space: Moves, objective: Objective, *, seed: int, sampler: Any = "tpe", group: int = 10) -> Strategy:
    """A sampler of Optuna.

    Args:
        space: Where to search.
        objective: Names of the scores to maximise, or one.
        seed: Seed of all random choices; a sampler of one's own has its seed from its maker.
        sampler: ``tpe``, ``random``, ``nsga2``, ``nsga3``, ``gp``, or a sampler of Optuna, which isn't used for
            anything else.
        group: Architectures that the sampler wishes for before it is told of any.

    Raises:
        MissingDependencyError: Optuna, or what a sampler needs, isn't installed.
        UnknownNameError: No sampler has that name.
        OptionError: A group below 1, or a sampler of another kind.
    """
    names = (objective,) if isinstance(objective, str) else tuple(objective)
    if group < 1:
        raise OptionError(f"optuna was given group={group}.", "It is a whole number from 1 on.")
    samplers = optional("optuna.samplers")
    if isinstance(sampler, str):
        if sampler not in _SAMPLERS:
            raise UnknownNameError.of("sampler of the strategy optuna", sampler, _SAMPLERS)
        sampler = getattr(samplers, _SAMPLERS[sampler])(seed=stable_seed(seed, "optuna sampler") % 2**32)
    elif not isinstance(sampler, samplers.BaseSampler):
        raise OptionError(
            f"{sampler!r:.80} was given as a sampler of Optuna.",
            f"Give an object, such as TPESampler(), or a name: {', '.join(_SAMPLERS)}.",
        )
    study = _quiet_study(sampler, len(names))
    return AlgorithmStrategy(_drive(space, study, group, stable_rng(seed, "optuna")), names)


def _quiet_study(sampler: Any, objectives: int) -> Any:
    """A study in memory, without the line that Optuna logs for each."""
    module = optional("optuna")
    level = module.logging.get_verbosity()
    module.logging.set_verbosity(module.logging.WARNING)
    try:
        return module.create_study(sampler=sampler, directions=["maximize"] * objectives)
    finally:
        module.logging.set_verbosity(level)


def _drive(space: Moves, study: Any, group: int, rng: np.random.Generator) -> ParetoAlgorithm:
    module = optional("optuna")
    failed = module.trial.TrialState.FAIL
    code = GeneCode(space)
    choices = {key: module.distributions.CategoricalDistribution(values) for key, values in code.values.items()}
    if len(code.shapes) > 1:
        choices["shape"] = module.distributions.CategoricalDistribution(code.shapes)
    known: set[Arch] = set()
    start: Arch | None = getattr(space, "start", None)
    if start is not None:  # samplers wish by themselves, and would never hear of it
        wish = code.choices(start)
        if all(key in choices and value in choices[key].choices for key, value in wish.items()):
            study.enqueue_trial(wish)
    while True:
        asked = []
        for _ in range(group):
            trial = study.ask()
            wish = _wish(trial, code, choices)
            arch = _new(space, code.grant(wish, _base(space, code, wish, rng)), known, rng)
            known.add(arch)
            asked.append((trial, wish, arch))
        outcomes = yield [arch for _, _, arch in asked]
        for (trial, wish, arch), result in zip(asked, outcomes, strict=True):
            granted = code.choices(arch)
            if granted == wish:
                study.tell(trial, list(result.values) if result.ok else None, state=None if result.ok else failed)
                continue
            attributes = study.get_trials(deepcopy=False)[
                trial.number
            ].system_attrs  # such as the generation it belongs to
            study.tell(trial, state=failed)
            if result.ok and all(value in choices[key].choices for key, value in granted.items()):
                study.add_trial(
                    module.trial.create_trial(
                        values=list(result.values),
                        params=granted,
                        distributions={key: choices[key] for key in granted},
                        system_attrs=attributes,
                    )
                )


def _wish(trial: Any, code: GeneCode, choices: dict[str, Any]) -> dict[str, Any]:
    """The sampler's values of the parameters that there are."""

    def suggest(name: str) -> Any:
        return trial.suggest_categorical(name, choices[name].choices)

    shape = {"shape": suggest("shape")} if "shape" in choices else {}
    return shape | {name: suggest(name) for name in code.names(shape.get("shape", code.shapes[0]))}


def _base(space: Moves, code: GeneCode, wish: dict[str, Any], rng: np.random.Generator) -> Arch:
    """A random architecture of the wished shape, if one turns up."""
    for _ in range(_PATIENCE):
        arch = space.sample(rng)
        if code.choices(arch).get("shape") == wish.get("shape"):
            break
    return arch


def _new(space: Moves, arch: Arch, known: set[Arch], rng: np.random.Generator) -> Arch:
    """The architecture, or one near it that isn't known; each mutant that is known is the next to be mutated."""
    found = arch
    for _ in range(_PATIENCE):
        if found not in known:
            return found
        found = space.mutate(found, rng)
    return arch
