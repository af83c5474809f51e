"""NAS-Bench-201 / NATS-Bench topology: 15,625 cells trained on three data sets (arXiv 2001.00326, 2009.00437).

Columns ``DATA_PART_EPOCHS``. ``test_200`` are means of all training runs: use these for claims about test accuracy.
``valid_200`` is one run. The runs of CIFAR-10 are in the table one by one, so it is known how far two of them agree.

The two tables with scores have the thirteen of NAS-Bench-Suite-Zero (arXiv 2210.03230) for the 9,445 cells without dead
operations, under the names of that suite.

Further columns of all three, from their own files where these are here: ``hw_DATA_DEVICE_QUANTITY`` are the latencies
(ms) and energies (mJ) of HW-NAS-Bench (arXiv 2103.10584), ``help_DEVICE`` the latencies (ms) of HELP (arXiv
2106.08630), ``ATTACK@Linf_eps-E`` accuracies under attack (arXiv 2306.06712), ``DATA_zen`` Zen scores of all cells,
``one_shot_acc`` and ``few_shot_acc`` the estimates of a published supernet (arXiv 2006.06863).
"""

from subshot.benchmarks._benchmark import BENCHMARKS, Benchmark
from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.benchmarks._further import Further
from subshot.benchmarks._how_to_get import how_to_get

_ACCURACY = "nas-bench-201/nb201_accuracy.csv.gz"
_PARTS = {"valid": "validation", "test": "test"}

_TARGETS = {
    f"{data}_{part}_{epochs}": TargetFacts(
        metric=f"accuracy after {epochs} epochs",
        unit="%",
        split=split,
        seeds=("cifar10_test_200_seeds",) if (data, part, epochs) == ("cifar10", "test", 200) else (),
    )
    for data in ("cifar10", "cifar100", "imagenet16")
    for epochs in (200, 12)
    for part, split in _PARTS.items()
}

_FACTS = TableFacts(
    space="nasbench201",
    arch_column="arch_str",
    source="NATS-Bench (Dong et al., 2021) and NAS-Bench-201 (Dong and Yang, 2020), as public repositories pass it on",
    licence="MIT (NATS-Bench); BSD-2-Clause and none stated for single columns",
    targets=_TARGETS,
)

# Of the topology space.
_NATS = "https://github.com/D-X-Y/NATS-Bench"
_SUITE = "https://github.com/automl/NASLib/tree/zerocost"

_FURTHER = (
    Further("nas-bench-201/nb201_hw_nas_bench.npz", "hw_", missing=-1),
    Further("nas-bench-201/nb201_help_latency.npz", "help_"),
    Further("nas-bench-201/nb201_robustness_cifar10.csv.gz"),
    Further("nas-bench-201/nb201_zen.csv.gz"),
    Further("nas-bench-201/nb201_supernet_estimates.csv.gz"),
)

BENCHMARKS.register(
    "nasbench201",
    Benchmark(
        "nasbench201",
        "15,625 trained cells, three data sets, 12 and 200 epochs",
        (_ACCURACY,),
        _FACTS,
        how_to_get(
            [_ACCURACY],
            columns="columns index, arch_str and, for example, cifar10_test_200",
            origin=_NATS,
            archive="NATS-tss-v1_0-3ffb9-simple",
            target="cifar10_test_200",
        ),
        key="index",
        further=_FURTHER,
    ),
)

for _data in ("cifar10", "imagenet16"):
    _scores = f"nas-bench-201/nb201_zc13_{_data}.csv.gz"
    BENCHMARKS.register(
        f"nasbench201_scores_{_data}",
        Benchmark(
            f"nasbench201_scores_{_data}",
            f"the 9,445 live cells with thirteen published scores on {_data}",
            (_ACCURACY, _scores),
            _FACTS,
            how_to_get(
                [_ACCURACY, _scores],
                columns="joined by their column index",
                origin=_SUITE,
                archive="zc_nasbench201.json",
                target=f"{_data}_val_accuracy",
            ),
            key="index",
            further=_FURTHER,
        ),
    )
