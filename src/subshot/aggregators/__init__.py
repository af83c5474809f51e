"""Aggregators turn the scores of several proxies over a set of architectures into one score for each."""

from subshot.aggregators._aggregator import (
    AGGREGATORS,
    Aggregate,
    AggregatorInfo,
    Contest,
    aggregate,
    aggregator,
    get_aggregator,
    list_aggregators,
    scores_by_proxy,
)

__all__ = [
    "AGGREGATORS",
    "Aggregate",
    "AggregatorInfo",
    "Contest",
    "aggregate",
    "aggregator",
    "get_aggregator",
    "list_aggregators",
    "scores_by_proxy",
]
