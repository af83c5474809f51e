"""NAS-Bench-301: 725 DARTS networks with the accuracy its surrogate predicts, not a trained one (arXiv 2008.09777).

With twelve scores of NAS-Bench-Suite-Zero (arXiv 2210.03230) and the seconds that each took.
"""

from subshot.benchmarks._benchmark import BENCHMARKS, Benchmark
from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.benchmarks._how_to_get import how_to_get

_FILE = "nas-bench-301/nb301_nbsuitezero_partial.csv.gz"

BENCHMARKS.register(
    "nasbench301",
    Benchmark(
        "nasbench301",
        "725 DARTS networks with a surrogate's accuracy and twelve published scores",
        (_FILE,),
        TableFacts(
            space="darts",
            arch_column="compact",
            source="the surrogate of NAS-Bench-301 (Zela et al., ICLR 2022), as NASLib passes it on",
            licence="Apache-2.0",
            targets={
                "surrogate_val_accuracy": TargetFacts("accuracy predicted by a surrogate", "%", split="validation")
            },
        ),
        how_to_get(
            [_FILE],
            columns="columns compact and surrogate_val_accuracy",
            origin="https://github.com/automl/NASLib/tree/zerocost",
            archive="zc_nasbench301.json",
            target="cifar10_val_accuracy",
        ),
    ),
)
