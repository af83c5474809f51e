"""DARTS-1000: a thousand random networks of the DARTS space, trained for 200 epochs on CIFAR-10 (arXiv 2403.04161).

The networks were trained small, so accuracies lie far below those usual for DARTS: use their order only. In all of them
the normal and the reduction cell are the same.
"""

from subshot.benchmarks._benchmark import BENCHMARKS, Benchmark
from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.benchmarks._how_to_get import how_to_get

_FILE = "darts-cifar10-1000/darts_1000.csv.gz"

BENCHMARKS.register(
    "darts1000",
    Benchmark(
        "darts1000",
        "1,000 random DARTS networks trained on CIFAR-10",
        (_FILE,),
        TableFacts(
            space="darts",
            arch_column="genotype",
            source="the repository of SWAP-NAS (Peng et al., ICLR 2024)",
            licence="none stated",
            targets={"cifar10_val_acc": TargetFacts("accuracy after 200 epochs", "%", split="validation")},
        ),
        how_to_get(
            [_FILE],
            columns="columns genotype and cifar10_val_acc",
            origin="https://github.com/pym1024/SWAP",
            space="darts",
        ),
    ),
)
