"""Which proxies tell networks of equal cost apart? Size alone can't help there.

The networks and scores of `main_table.py` in groups of about 25 with nearly the same number of parameters (of NAS-Bench-201's
cells many have exactly the same, and as many MACs). For each proxy: the mean over groups of Spearman's correlation with
accuracy, and by how much the network that the proxy likes best in a group beats the group's mean, in points of accuracy; with
95 % intervals from drawing groups anew. The last but one column is how often that first choice is better than the mean.
NAS-Bench-201's cells are judged after the benchmark's short training of 12 epochs too.

    python experiments/equal_cost.py --without fisher_rao,loss

leaves out proxies that are newer than the scores that `main_table.py` has kept, which are then read and not taken anew.
"""

import argparse
import dataclasses

import numpy as np
from _scores import HERE
from main_table import CHOSEN, GENERIC, LEFT_OUT, SLOW, Target, cells, measure, targets

from subshot.aggregators import aggregate, get_aggregator, list_aggregators
from subshot.benchmarks.ranking import spearman

GROUP = 25

# Rank sums of two to four of swap, near, meco, synflow, zico, l2_norm, zen and jacob_cov were all tried on the four targets, and
# some with az_progressivity and l_swag on all seven; these are the best of them, and what they are made of for comparison. Such
# a choice flatters itself a little: its test is on other networks (see `examples`).
SETS = (
    ("near", "az_progressivity", "synflow"),
    ("meco", "az_progressivity", "synflow"),
    ("near", "az_progressivity"),
    ("near", "synflow"),
    ("swap", "near", "synflow"),
    ("zico", "meco", "near", "swap"),
)

# The same cells after a short training.
SHORT = {"CIFAR-10": "cifar10_test_12", "CIFAR-100": "cifar100_test_12", "ImageNet16-120": "imagenet16_test_12"}


def groups(parameters: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Positions of neighbours by size; ties in an order of their own, not that of the table."""
    jitter = np.random.default_rng(seed).random(len(parameters))
    return np.array_split(np.lexsort((jitter, parameters)), max(1, len(parameters) // GROUP))


def within(values: np.ndarray, truth: np.ndarray, members: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """For each group Spearman's correlation (0 where a proxy has no order), and the gain of the first choice."""
    correlations, gains = [], []
    for group in members:
        mine, true = values[group], truth[group]
        finite = np.isfinite(mine)
        ordered = finite.sum() > 2 and len(np.unique(mine[finite])) > 1
        correlations.append(spearman(mine[finite], true[finite]) if ordered else 0.0)
        best = mine == mine[finite].max() if finite.any() else np.ones(len(mine), dtype=bool)
        gains.append(true[best].mean() - true.mean())  # several first choices: their mean
    return np.array(correlations), np.array(gains)


def interval(values: np.ndarray, seed: int = 0) -> str:
    """Mean and the middle 95 % of means of groups drawn anew."""
    drawn = np.random.default_rng(seed).choice(values, (2_000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


def table(target: Target, found: dict[str, np.ndarray]) -> tuple[list[str], dict[str, float]]:
    """Proxies and aggregates by falling gain, and each one's share of the possible gain."""
    members = groups(found["parameters"])
    everything = dict(found)
    for name in list_aggregators():
        reads = get_aggregator(name).reads or GENERIC.get(name, CHOSEN)
        if set(reads) <= found.keys() and not set(reads) & SLOW.keys():
            everything[f"{name} of {', '.join(reads)}"] = aggregate(name, {one: found[one] for one in reads}).values
    for reads in SETS:
        everything[f"rank_sum of {', '.join(reads)}"] = aggregate("rank_sum", {one: found[one] for one in reads}).values
    rows = []
    best = np.mean([target.truth[group].max() - target.truth[group].mean() for group in members])
    shares = {}
    for name, values in everything.items():
        if name in SLOW or name.startswith("part:"):
            continue
        correlations, gains = within(values, target.truth, members)
        shown = (interval(correlations), interval(gains), f"{(gains > 0).mean():.0%}", str(len(members)))
        rows.append((gains.mean(), f"| {name} | {' | '.join(shown)} |"))
        shares[name] = float(gains.mean() / best)
    lines = [
        f"The best network of a group beats its mean by {best:.2f} points.",
        "",
        "| proxy | Spearman in a group | gain of the first choice | better than the mean | groups |",
        "| --- | --- | --- | --- | --- |",
        *(text for _, text in sorted(rows, key=lambda one: -one[0])),
    ]
    return lines, shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument("--without", default="", help="proxies that are left out, by commas")
    arguments = parser.parse_args()
    LEFT_OUT.update(arguments.without.split(","))
    rows = cells(arguments.networks)[1]
    sections: list[str] = []
    shares: dict[str, list[float]] = {}
    for target in targets(arguments.networks):
        found, protocol = measure(target, batch_size=32, workers=arguments.workers, slow=False)
        trainings = {target.name: target}
        for data, column in SHORT.items():
            if target.name.endswith(f" {data}"):
                truth = np.array([float(row[column]) for row in rows])
                trainings[f"{target.name}, 12 epochs"] = dataclasses.replace(target, truth=truth)
        for name, one in trainings.items():
            lines, gains = table(one, found)
            sections += [f"## {name}", "", f"Protocol: {protocol}.", "", *lines, ""]
            for proxy, share in gains.items():
                shares.setdefault(proxy, []).append(share)
    ordered = sorted(shares.items(), key=lambda one: -np.mean(one[1]))
    summary = [
        "Share of the possible gain that the first choice has: 1 is the best network of each group, 0 the mean of the group. Over "
        "the targets below, in their order.",
        "",
        "| proxy | mean | lowest | each target |",
        "| --- | --- | --- | --- |",
        *(f"| {name} | {np.mean(v):.2f} | {min(v):.2f} | {', '.join(f'{x:.2f}' for x in v)} |" for name, v in ordered),
    ]
    text = "\n".join(["# Networks of equal size", "", *summary, "", *sections])
    (HERE / "results" / "equal_cost.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
