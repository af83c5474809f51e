"""The loop of a search: ask, evaluate what is neither stored nor seen, commit, tell in order."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from subshot._types import Evaluation, Trial
from subshot.costs._meter import Meter
from subshot.errors import StudyError
from subshot.spaces._space import Space
from subshot.strategies._objectives import with_costs
from subshot.strategies._strategy import Strategy, fitness
from subshot.studies._executors import Executor
from subshot.studies._result import Found
from subshot.studies._store import Row, Store

# Trials asked for at a time. Independent of the number of workers, so that results are too.
_ASK = 1_000

# Groups of trials in a row without a new architecture after which a search that only repeats itself ends.
_STAGNATION = 200


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        evaluations: Distinct architectures evaluated or read from the store.
        budget: How many will be.
        best: The best so far.
        seconds: Since the search began, this time.
        resumed: How many of the evaluations were in the store already.
    """

    evaluations: int
    budget: int
    best: Found | None
    seconds: float
    resumed: int


class Driver:
    """Drives one search; a kill between any two lines loses nothing that was committed.

    Args:
        space: Where texts of architectures come from.
        meter: Costs of the network that would be trained.
        strategy: Asked and told.
        objective: The score that names the best.
        budget: Distinct architectures.
        started: When the search began, by :func:`time.perf_counter`.
        on_progress: Called after each evaluation.

    Attributes:
        rows: All trials in their order.
        first_of: The trial that each architecture was first seen in, by text.
        resumed: Evaluations that were in the store already.
        explanation: Why the search ended early, if it did.
    """

    def __init__(
        self,
        space: Space,
        meter: Meter,
        strategy: Strategy,
        objective: str,
        budget: int,
        started: float,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.rows: list[Row] = []
        self.first_of: dict[str, int] = {}
        self.resumed = 0
        self.explanation = ""
        self._space = space
        self._meter = meter
        self._strategy = strategy
        self._objective = objective
        self._budget = budget
        self._started = started
        self._on_progress = on_progress
        self._by_trial: dict[int, Row] = {}
        self._committed: dict[int, Row] = {}
        self._best: Found | None = None
        self._evaluated = 0

    def run(self, store: Store, executor: Executor) -> Literal["done", "interrupted"]:
        """Until the budget is spent, the strategy has nothing left, or the user interrupts."""
        stored = store.rows()
        # A smaller budget than an earlier run's shows that run, and never overwrites its result with less.
        self._budget = max(self._budget, sum(row.same_as is None for row in stored.values()))
        repeats = 0
        try:
            while len(self.first_of) < self._budget and not self.explanation:
                known = len(self.first_of)
                trials = self._within_budget(self._strategy.ask(_ASK))
                if not trials:
                    self._explain("the strategy has nothing left to try")
                    break
                for row in self._evaluate(trials, stored, store, executor):
                    self.rows.append(row)
                    self._by_trial[row.trial] = row
                    self._strategy.tell(row.trial, with_costs(row.scores, row.costs))
                repeats = repeats + 1 if len(self.first_of) == known else 0
                if repeats == _STAGNATION:
                    self._explain(f"the strategy only repeats itself, {repeats} groups of trials in a row")
        except KeyboardInterrupt:
            told = {row.trial for row in self.rows}
            self.rows += [row for trial, row in sorted(self._committed.items()) if trial not in told]
            return "interrupted"
        return "done"

    def _explain(self, reason: str) -> None:
        whole = ", and no architecture of the space is left" if len(self.first_of) >= self._space.size else ""
        self.explanation = f"Ended after {len(self.first_of):,} of {self._budget:,} architectures: {reason}{whole}."

    def _within_budget(self, trials: Sequence[Trial]) -> list[Trial]:
        new: set[str] = set()
        kept = []
        for trial in trials:
            text = self._space.format(trial.arch)
            if text not in self.first_of and text not in new:
                if len(self.first_of) + len(new) == self._budget:
                    break
                new.add(text)
            kept.append(trial)
        return kept

    def _evaluate(
        self, trials: Sequence[Trial], stored: Mapping[int, Row], store: Store, executor: Executor
    ) -> list[Row]:
        """Rows of ``trials`` in their order, all of them committed."""
        rows = self._committed = {}
        new: list[Trial] = []
        for trial in trials:
            text = self._space.format(trial.arch)
            row = stored.get(trial.id)
            if row is not None and row.arch != text:
                raise StudyError(
                    f"Trial {trial.id} of {store.path} is {row.arch}, but the strategy asks for {text}.",
                    "The file was changed or written by other code; start anew with --fresh.",
                )
            first = self.first_of.setdefault(text, trial.id)
            if row is not None:
                rows[trial.id] = row
                if first == trial.id:
                    self.resumed += 1
                    self._note(row)
            elif first == trial.id:
                new.append(trial)
        for position, evaluation in executor.run([trial.arch for trial in new]):
            row = store.add(self._row(new[position], evaluation))
            rows[row.trial] = row
            self._note(row)
        for trial in trials:
            if trial.id not in rows:
                first = self.first_of[self._space.format(trial.arch)]
                source = rows.get(first) or self._by_trial[first]
                rows[trial.id] = store.add(replace(source, trial=trial.id, same_as=first))
        return [rows[trial.id] for trial in trials]

    def _row(self, trial: Trial, evaluation: Evaluation) -> Row:
        return Row(trial.id, self._space.format(trial.arch), evaluation, self._meter.costs(trial.arch))

    def _note(self, row: Row) -> None:
        self._evaluated += 1
        value = fitness(row.scores, self._objective)
        if row.scores[self._objective].ok and (self._best is None or value > self._best.score.value):
            self._best = Found(row.arch, row.scores[self._objective], row.costs)
        if self._on_progress is not None:
            seconds = time.perf_counter() - self._started
            self._on_progress(Progress(self._evaluated, self._budget, self._best, seconds, self.resumed))
