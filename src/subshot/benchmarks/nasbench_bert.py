"""NAS-Bench-BERT: 491 encoders of the FlexiBERT space, pre-trained and tuned on GLUE (arXiv 2306.00288).

Pre-training stopped after 100,000 steps. ``glue_avg`` is the mean of the eight tasks. Fifteen metrics of the authors,
on trained and untrained networks alike, are in the table under their own names.
"""

from collections.abc import Sequence
from dataclasses import replace

from subshot.benchmarks._benchmark import BENCHMARKS, Benchmark
from subshot.benchmarks._columns import Columns
from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.benchmarks._how_to_get import how_to_get
from subshot.benchmarks._reshape import averaged

_FILE = "nas-bench-bert/nbbert.csv.gz"

_METRICS = {
    "avg": "mean of eight scores",
    "cola": "Matthews correlation",
    "mnli": "accuracy",
    "mrpc": "score",
    "qnli": "accuracy",
    "qqp": "score",
    "rte": "accuracy",
    "sst": "accuracy",
    "sts": "correlation",
}

_TASKS = {f"glue_{task}": metric for task, metric in _METRICS.items()}


def _rows(files: Sequence[Columns]) -> Columns:
    """The configuration doesn't hold the hidden size, which has a column of its own."""
    cells = files[0].cells
    pairs = zip(cells["hidden_size"], cells["nas_config_json"], strict=True)
    archs = [f'{{"hidden_size":{size},"nas_config":{config}}}' for size, config in pairs]
    return averaged(
        replace(files[0], cells={"arch": archs, **cells}), key="arch", names={target: target for target in _TASKS}
    )


BENCHMARKS.register(
    "nasbench_bert",
    Benchmark(
        "nasbench_bert",
        "491 text encoders with their GLUE scores and fifteen published metrics",
        (_FILE,),
        TableFacts(
            space="flexibert",
            arch_column="arch",
            source="NAS-Bench-BERT (Serianni and Kalita, ACL 2023)",
            licence="CC BY 4.0",
            targets={
                target: TargetFacts(f"GLUE {metric}", "%", split="validation", seeds=(f"{target}_runs",))
                for target, metric in _TASKS.items()
            },
        ),
        prepare=_rows,
        how_to_get=how_to_get(
            [_FILE],
            columns="columns nas_config_json, hidden_size and, for example, glue_avg",
            origin="https://github.com/aaronserianni/training-free-nas",
            space="flexibert",
        ),
    ),
)
