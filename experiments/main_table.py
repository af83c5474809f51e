"""Every proxy against every target: how it orders trained networks, and how good its first choices are.

300 random live NAS-Bench-201 cells (the official network of 16 channels and 5 cells per stage) against their test
accuracies after 200 epochs on CIFAR-10, CIFAR-100 and ImageNet16-120, and 300 random DARTS networks (16 channels,
5 layers) against CIFAR-10 accuracy. One look per network and target under the shared protocol, with images of the target's
data set; for ImageNet16-120, which may not be passed on, 120 classes of Tiny ImageNet at 16 x 16 stand in. Proxies of many
passes run on the first cells only. Finished networks are kept, so a stopped run continues.

    python experiments/main_table.py --workers 2
"""

import argparse
import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from _scores import HERE, data_root, protocol_for, scores

from subshot._types import Arch
from subshot.aggregators import aggregate, get_aggregator, list_aggregators
from subshot.benchmarks.ranking import STATISTICS, Ranking, rank
from subshot.data import take_batch
from subshot.proxies._proxy import list_proxies
from subshot.spaces._space import Space
from subshot.spaces.darts import Darts
from subshot.spaces.nasbench201 import NasBench201, is_live

# One backward pass for each class or sample: only on the first networks.
SLOW = {"vkdnw": 100}
# Without a space to take sizes from these are not one network's.
LEFT_OUT = {"swap_regularized", "w_pca"}
# What the aggregators combine that take any set: the voters of Zero-Cost Proxies, and three strong ones of different kinds.
GENERIC = {"vote": ("synflow", "jacob_cov", "snip")}
CHOSEN = ("nwot", "jacob_cov", "parameters")


@dataclass(frozen=True)
class Target:
    """Networks, their true accuracies, and the images to score them with."""

    name: str
    space: Space
    archs: Sequence[Arch]
    truth: np.ndarray
    variant: str
    data: str


def cells(count: int) -> tuple[list[Arch], list[dict[str, str]]]:
    """Random live cells and their rows of the table."""
    with gzip.open(data_root() / "nas-bench" / "nas-bench-201" / "nb201_accuracy.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    space = NasBench201()
    picked: list[tuple[Arch, dict[str, str]]] = []
    for index in np.random.default_rng(77).permutation(len(rows)):
        arch = space.parse(rows[index]["arch_str"])
        if is_live(arch):
            picked.append((arch, rows[index]))
        if len(picked) == count:
            break
    return [arch for arch, _ in picked], [row for _, row in picked]


def targets(count: int) -> list[Target]:
    """The four targets."""
    archs, rows = cells(count)
    found = [
        Target(name, NasBench201(), archs, np.array([float(row[column]) for row in rows]), "official", data)
        for name, column, data in (
            ("NAS-Bench-201 CIFAR-10", "cifar10_test_200", "cifar10"),
            ("NAS-Bench-201 CIFAR-100", "cifar100_test_200", "cifar100"),
            ("NAS-Bench-201 ImageNet16-120", "imagenet16_test_200", "tinyimagenet16_120"),
        )
    ]
    with gzip.open(data_root() / "nas-bench" / "darts-cifar10-1000" / "darts_1000.csv.gz", "rt") as file:
        table = list(csv.DictReader(file))
    picked = [table[i] for i in np.sort(np.random.default_rng(78).choice(len(table), count, replace=False))]
    darts = Darts(channels=16, layers=5)
    genotypes = [darts.parse(row["genotype"]) for row in picked]
    truth = np.array([float(row["cifar10_val_acc"]) for row in picked])
    return [*found, Target("DARTS-1000", darts, genotypes, truth, "cifar", "cifar10")]


def measure(target: Target, *, batch_size: int, workers: int, slow: bool) -> tuple[dict[str, np.ndarray], str]:
    """Scores by proxy, NaN where a slow proxy has not been computed, and the protocol."""
    images = take_batch(target.data, batch_size, samples="random", seed=0, image_size=None)
    protocol = protocol_for(target.space, images, variant=target.variant)
    fast = [name for name in list_proxies() if name not in LEFT_OUT | SLOW.keys()]
    label = "main-" + target.name.replace(" ", "-").lower()
    arguments = {"workers": workers}
    found = scores(label, target.space, target.archs, images, protocol, proxies=",".join(fast), **arguments)
    for name, count in SLOW.items():
        if not slow:
            continue
        some = scores(label, target.space, target.archs[:count], images, protocol, proxies=name, **arguments)
        values = np.full(len(target.archs), np.nan)
        values[: len(some[name])] = some[name]
        found[name] = values
    return {name: found[name] for name in sorted({*fast, *(SLOW if slow else ())})}, str(protocol)


def line(name: str, ranking: Ranking) -> str:
    """One row of the table."""
    shown = [str(ranking.spearman), str(ranking.kendall)]
    # Kendall's tau among a handful of networks says nothing.
    few = {"kendall_top10": 0.1, "kendall_top5": 0.05}
    small = [one for one, share in few.items() if share * ranking.archs < 14.5]
    shown += ["-" if one in small else f"{getattr(ranking, one).value:.2f}" for one in STATISTICS[2:5]]
    shown += [
        f"{ranking.top1.value:.2f}",
        f"{ranking.top10_mean.value:.2f} [{ranking.top10_mean.low:.2f}, {ranking.top10_mean.high:.2f}]",
    ]
    return f"| {name} | {' | '.join(shown)} | {ranking.archs} | {ranking.non_finite} |"


def table(target: Target, found: dict[str, np.ndarray]) -> list[str]:
    """Proxies by falling correlation, the baselines first, aggregates last."""
    lines = [
        "| proxy | Spearman | Kendall | in best 10 % | in best 5 % | precision 5 % | first | mean of ten | networks | without a score |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    ranked: list[tuple[float, str]] = []
    orderless = []
    for name, values in found.items():
        some = slice(0, SLOW.get(name, len(values)))
        finite = values[some][np.isfinite(values[some])]
        if len(finite) < 3 or len(np.unique(finite)) == 1:  # a constant has no rank correlation to sort by
            why = "not defined here" if len(finite) < 3 else f"{finite[0]:g} for every network: no order"
            absent = len(values[some]) - len(finite)
            orderless.append(f"| {name} | {why} | | | | | | | {len(finite)} | {absent} |")
            continue
        result = rank(values[some], target.truth[some])
        text = line(f"{name} (baseline)" if name in ("parameters", "macs") else name, result)
        ranked.append((np.inf if name in ("parameters", "macs") else result.spearman.value, text))
    lines += [*(text for _, text in sorted(ranked, key=lambda one: -one[0])), *orderless]
    for name in list_aggregators():
        reads = get_aggregator(name).reads or GENERIC.get(name, CHOSEN)
        if not set(reads) <= found.keys():
            continue
        some = slice(0, min(SLOW.get(one, len(target.archs)) for one in reads))
        combined = aggregate(name, {one: found[one][some] for one in reads}).values
        lines.append(line(f"{name} of {', '.join(reads)}", rank(combined, target.truth[some])))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--only", default="", help="only targets whose name holds this text, in a table of its own")
    parser.add_argument(
        "--fast", default="none", help="targets whose name holds one of these texts go without a pass for each class"
    )
    arguments = parser.parse_args()
    part = "_" + arguments.only.replace(" ", "_").lower() if arguments.only else ""  # never over the whole table
    lines = ["# Proxies against trained accuracy", ""]
    for target in [one for one in targets(arguments.networks) if arguments.only in one.name]:
        slow = not any(text in target.name for text in arguments.fast.split(","))
        found, protocol = measure(target, batch_size=arguments.batch_size, workers=arguments.workers, slow=slow)
        best = f"Best accuracy among them: {target.truth.max():.2f}, median {np.median(target.truth):.2f}."
        lines += [f"## {target.name}", "", f"Protocol: {protocol}. {best}", "", *table(target, found), ""]
        (HERE / "results" / f"main_table{part}.md").write_text("\n".join(lines))
        print("\n".join(lines[-len(found) - 8 :]), flush=True)


if __name__ == "__main__":
    main()
