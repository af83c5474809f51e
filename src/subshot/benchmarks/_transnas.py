"""What the tables of both spaces of TransNAS-Bench-101 (arXiv 2105.11871) share.

Four of the seven tasks have values here; the others have no column, so nothing can be ranked against them. Each task
was trained with a head of its own. A ranking scores the one network of the space it is given, classification head
unless told otherwise, for all targets, and says where a target's networks had another head.
"""

from collections.abc import Sequence
from functools import partial

from subshot.benchmarks._benchmark import BENCHMARKS, Benchmark
from subshot.benchmarks._columns import Columns
from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.benchmarks._how_to_get import how_to_get
from subshot.benchmarks._reshape import blanked, side_by_side

_ORIGIN = "https://github.com/yawen-d/TransNASBench and https://github.com/automl/NASLib"

# Scores that could not be computed, in the published files.
_FAILED = -1e8

_CLASSIFIERS = ("head=class_scene", "head=class_object")
# Task to metric, unit and head.
_TASKS = {
    "class_scene": ("accuracy", "%", _CLASSIFIERS),
    "class_object": ("accuracy", "%", _CLASSIFIERS),
    "segmentsemantic": ("pixel accuracy", "%", ("head=segmentsemantic",)),
    "autoencoder": ("structural similarity", "", ("head=autoencoder",)),
}


def _targets(column: str, epoch: str) -> dict[str, TargetFacts]:
    return {
        f"{task}_{column}": TargetFacts(f"{metric} {epoch}", unit, split="validation", networks=networks)
        for task, (metric, unit, networks) in _TASKS.items()
    }


def _scores_of_tasks(files: Sequence[Columns]) -> Columns:
    tasks = {task: task for task in _TASKS}
    return blanked(side_by_side(files[0], key="arch", by="task", names=tasks), _FAILED)


def _whole(files: Sequence[Columns]) -> Columns:
    return blanked(files[0], _FAILED)


def register(kind: str, count: int, scored: str) -> None:
    """Register the table of a space and the one of its published scores.

    Args:
        kind: ``micro`` or ``macro``.
        count: Architectures of the first.
        scored: Architectures of the second, in words.
    """
    name, whole = f"transnas_{kind}", f"transnas-bench-101/tnb101_{kind}.csv.gz"
    some = f"transnas-bench-101/tnb101_{kind}_nbsuitezero_partial.csv.gz"
    facts = partial(TableFacts, space=name, arch_column="arch", licence="MIT (benchmark), Apache-2.0 (NASLib)")
    source = "TransNAS-Bench-101 (Duan et al., CVPR 2021), as NASLib passes it on"
    BENCHMARKS.register(
        name,
        Benchmark(
            name,
            f"{count:,} networks trained for four tasks of scenes",
            (whole,),
            facts(source=source, targets=_targets("val", "after the last epoch")),
            how_to_get([whole], columns="columns arch and, for example, class_scene_val", origin=_ORIGIN, space=name),
            prepare=_whole,
        ),
    )
    BENCHMARKS.register(
        f"{name}_scores",
        Benchmark(
            f"{name}_scores",
            f"{scored} of these networks with published scores, TASK_SCORE",
            (some,),
            facts(
                source=f"{source}; scores of NAS-Bench-Suite-Zero (Krishnakumar et al., 2022)",
                targets=_targets("val_best_epoch", "of the best epoch"),
            ),
            how_to_get([some], columns="columns arch, task and val_best_epoch", origin=_ORIGIN, space=name),
            prepare=_scores_of_tasks,
        ),
    )
