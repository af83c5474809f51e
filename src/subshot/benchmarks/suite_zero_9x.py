"""Three spaces on three data sets their benchmarks don't have, from NAS-Bench-Suite-Zero (arXiv 2210.03230).

About two hundred architectures of each space, trained on NinaPro, SVHN and spherical CIFAR-100, with thirteen scores
for each data set in columns ``DATA_SCORE``. On NAS-Bench-201 no score, parameters included, correlates with anything
for NinaPro and spherical CIFAR-100: doubt these two. ``darts_9x`` has networks of NAS-Bench-301's sampling, really
trained.
"""

from collections.abc import Sequence
from functools import partial

from subshot.benchmarks._benchmark import BENCHMARKS, Benchmark
from subshot.benchmarks._columns import Columns
from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.benchmarks._how_to_get import how_to_get
from subshot.benchmarks._reshape import marked, side_by_side, where

_FILE = "nas-bench-suite-zero-9x/nbsz_9x.csv.gz"
_DATA = ("ninapro", "svhn", "scifar100")

# Space: what the file calls it, how its texts are marked as NASLib's, architectures.
_SPACES = {
    "nasbench201": ("nasbench201", "naslib:", 199),
    "darts": ("nasbench301", "naslib:", 199),
    "transnas_micro": ("transbench101_micro", "naslib_graph:", 192),
}


def _rows(files: Sequence[Columns], *, space: str, mark: str) -> Columns:
    rows = marked(where(files[0], space=space), "arch", mark)
    return side_by_side(rows, key="arch", by="dataset", names={data: data for data in _DATA})


for _space, (_own, _mark, _count) in _SPACES.items():
    BENCHMARKS.register(
        f"{_space}_9x",
        Benchmark(
            f"{_space}_9x",
            f"{_count} networks of {_space} on NinaPro, SVHN and spherical CIFAR-100, thirteen published scores",
            (_FILE,),
            TableFacts(
                space=_space,
                arch_column="arch",
                source="NAS-Bench-Suite-Zero (Krishnakumar et al., 2022), as NASLib passes it on",
                licence="Apache-2.0",
                targets={f"{data}_val": TargetFacts("accuracy", "%", split="validation") for data in _DATA},
            ),
            how_to_get(
                [_FILE],
                columns="columns space, dataset, arch, val and scores",
                origin="https://github.com/automl/NASLib/tree/zerocost",
                space=_space,
            ),
            prepare=partial(_rows, space=_own, mark=_mark),
        ),
    )
