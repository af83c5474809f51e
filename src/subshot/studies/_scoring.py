"""Evaluate a fixed list of architectures, each committed at once, so that a killed run goes on where it was."""

from collections.abc import Callable, Sequence

from subshot._types import Arch, Evaluation
from subshot.errors import StudyError
from subshot.studies._executors import Executor
from subshot.studies._store import Row, Store


def evaluate_all(
    archs: Sequence[Arch],
    texts: Sequence[str],
    *,
    store: Store,
    executor: Executor,
    first_trial: int = 0,
    on_evaluation: Callable[[bool], None],
) -> list[Evaluation]:
    """Evaluations of ``archs`` in their order; those in the store are read back.

    Args:
        archs: What to evaluate.
        texts: Their canonical texts.
        store: Where evaluations are kept, by position.
        executor: Runs the evaluator.
        first_trial: The number in the store of the first of them.
        on_evaluation: Told after each whether it was in the store already.

    Raises:
        StudyError: The store holds another architecture in one of the places, or can't be written.
    """
    stored = store.rows()
    found: dict[int, Evaluation] = {}
    missing: list[int] = []
    for position, text in enumerate(texts):
        row = stored.get(first_trial + position)
        if row is None:
            missing.append(position)
        elif row.arch != text:
            raise StudyError(
                f"Number {row.trial} of {store.path} is {row.arch}, and {text} is to be scored there.",
                "The file was changed or written by other code; start anew with --fresh.",
            )
        else:
            found[position] = row.scores
            on_evaluation(True)
    for done, evaluation in executor.run([archs[position] for position in missing]):
        position = missing[done]
        row = store.add(Row(first_trial + position, texts[position], evaluation, {}))
        found[position] = row.scores
        on_evaluation(False)
    return [found[position] for position in range(len(archs))]
