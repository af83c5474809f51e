"""NAS-Bench-101: the cells whose published accuracy could be had, 321 of 423,624 (arXiv 1902.09635).

292 cells have one to three of the benchmark's runs, drawn at random, and eleven scores of NAS-Bench-Suite-Zero (arXiv
2210.03230). 29 more have all three runs, and only these have a test accuracy. Where a cell was drawn in several
writings, the first is kept with its scores. The scores come from an early version of that suite, whose jacov, epe_nas,
plain and grasp look wrong.
"""

from collections.abc import Sequence
from dataclasses import replace

from subshot.benchmarks._benchmark import BENCHMARKS, Benchmark
from subshot.benchmarks._columns import Columns
from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.benchmarks._how_to_get import how_to_get
from subshot.benchmarks._reshape import averaged, renamed, stacked

_SCORED = "nas-bench-101/nb101_nbsuitezero_partial.csv.gz"
_ORIGINAL = "nas-bench-101/nb101_30_original.csv.gz"


def _cells(files: Sequence[Columns]) -> Columns:
    scored, original = files
    key = "nb101_hash"
    scored = renamed(scored, arch="encoding")
    scored = averaged(scored, key=key, names={"val_accuracy": "val_108"}, distinct=True)
    original = renamed(_percent(original, "final_val_acc", "final_test_acc"), arch="graph_json")
    original = averaged(original, key=key, names={"final_val_acc": "val_108", "final_test_acc": "test_108"})
    return stacked(scored, original, key=key)


def _percent(columns: Columns, *names: str) -> Columns:
    changed = {name: [repr(100 * float(cell)) for cell in columns.cells[name]] for name in names}
    return replace(columns, cells={**columns.cells, **changed})


BENCHMARKS.register(
    "nasbench101",
    Benchmark(
        "nasbench101",
        "321 cells trained on CIFAR-10, 292 of them with eleven published scores",
        (_SCORED, _ORIGINAL),
        TableFacts(
            space="nasbench101",
            arch_column="arch",
            source="NAS-Bench-101 (Ying et al., ICML 2019), the parts that NASLib passes on",
            licence="Apache-2.0",
            targets={
                f"{split}_108": TargetFacts("accuracy after 108 epochs", "%", split=word, seeds=(f"{split}_108_runs",))
                for split, word in (("val", "validation"), ("test", "test"))
            },
        ),
        how_to_get(
            [_SCORED, _ORIGINAL],
            columns="parts of the benchmark with the column nb101_hash",
            origin="https://github.com/google-research/nasbench",
            archive="nasbench_only108.tfrecord",
            target="cifar10_test_108",
        ),
        prepare=_cells,
    ),
)
