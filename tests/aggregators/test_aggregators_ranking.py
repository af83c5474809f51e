"""Aggregators on published scores of NAS-Bench-201: figures computed apart from this code, and the baselines."""

import csv
import gzip

import numpy as np
import pytest

from subshot.aggregators import aggregate
from subshot.benchmarks.ranking import spearman


def columns(data_root, name):
    path = data_root / "nas-bench" / "nas-bench-201" / f"{name}.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return {int(row["index"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def published(data_root):
    """Scores of the 9,445 cells whose operations are all live, and their CIFAR-10 test accuracy."""
    scores, truth = columns(data_root, "nb201_zc13_cifar10"), columns(data_root, "nb201_accuracy")
    names = ("synflow", "jacov", "snip", "nwot", "params")
    table = {name: np.array([float(row[name]) for row in scores.values()]) for name in names}
    return table, np.array([float(truth[index]["cifar10_test_200"]) for index in scores])


@pytest.mark.parametrize(
    ("name", "voters", "rho"),
    [("vote", ("synflow", "jacov", "snip"), 0.853), ("rank_sum", ("nwot", "params", "jacov"), 0.900)],
)
def test_rank_correlation(published, name, voters, rho):
    table, truth = published
    found = aggregate(name, {voter: table[voter] for voter in voters})
    assert spearman(found.values, truth) == pytest.approx(rho, abs=0.001)
    assert spearman(found.values, truth) > max(spearman(table[voter], truth) for voter in voters)


def test_shuffled_scores_aggregate_to_nothing(published):
    table, truth = published
    rng = np.random.default_rng(0)
    shuffled = {name: rng.permutation(values) for name, values in table.items()}
    assert abs(spearman(aggregate("vote", shuffled).values, truth)) < 0.04
