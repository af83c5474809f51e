"""Order what a search has evaluated by an aggregate of all its proxies, instead of by the first one."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from subshot._types import Score
from subshot.aggregators import aggregate, scores_by_proxy
from subshot.errors import OptionError
from subshot.studies._store import Row


def check_aggregator(name: str, proxies: Sequence[str], *, objectives: int) -> None:
    """Refuse what could not be aggregated at the end, before anything is evaluated.

    Args:
        name: An aggregator.
        proxies: Of the search.
        objectives: How many are improved together.

    Raises:
        UnknownNameError: No aggregator has that name.
        DataError: It reads proxies that the search doesn't have.
        OptionError: One proxy only, a proxy of the same name, or several objectives, which have a front instead.
    """
    aggregate(name, {proxy: np.zeros(1) for proxy in proxies})
    if objectives > 1:
        raise OptionError("Both objectives and an aggregate were given.", "A front has no single order: give one.")
    if len(proxies) < 2 or name in proxies:
        raise OptionError(
            f"{name} was to aggregate {', '.join(proxies)}.", "Give two proxies or more: --proxy near,swap."
        )


def aggregated(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows with the aggregate as one more score; it is relative to the distinct architectures among them.

    An architecture that lacks a finite score of a proxy that is read has no aggregate either, and is never chosen.

    Args:
        rows: Trials of a search.
        name: An aggregator, and the new score's name.
    """
    distinct = [row for row in rows if row.same_as is None]
    if not distinct:
        return list(rows)
    found = aggregate(name, scores_by_proxy([row.scores for row in distinct]))
    of = dict(zip((row.arch for row in distinct), found.values.tolist(), strict=True))
    return [replace(row, scores={**row.scores, name: _score(row, of[row.arch], tuple(found.ranks))}) for row in rows]


def _score(row: Row, value: float, read: Sequence[str]) -> Score:
    first = next(iter(row.scores.values()))  # all scores of a row share the passes, and what they cost
    lacking = [proxy for proxy in read if not row.scores[proxy].ok]
    if len(lacking) == len(read) and row.scores[lacking[0]].status in ("failed", "not_applicable"):
        return row.scores[lacking[0]]  # it is the network, which has the reason
    if lacking:
        return Score.of(math.nan, reason=f"no finite {' or '.join(lacking)}", cost=first.cost)
    return Score.of(value, cost=first.cost)
