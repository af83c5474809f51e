"""Scores and true values to a report: statistics, seeds compared, and what happens inside limits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from subshot.aggregators import AggregatorInfo, aggregate
from subshot.benchmarks._agreement import agree
from subshot.benchmarks._table import Table
from subshot.benchmarks.limits import Limit, band
from subshot.benchmarks.ranking import rank as statistics
from subshot.studies._ranked import Kind, RankReport, RankRow, in_own_unit, tied_share
from subshot.studies._scored import Scored
from subshot.studies._wanted import Wanted


class Clock(Protocol):
    """Time since the start, and who is told how far the work is."""

    resumed: int

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        ...

    def tell(self, stage: str, done: int, total: int) -> None:
        """How far a stage is."""
        ...


def judge(
    wanted: Wanted,
    scored: Scored,
    infos: Sequence[AggregatorInfo],
    *,
    limits: Sequence[Limit],
    costs: Mapping[str, NDArray[np.float64]],
    run: Path | None,
    clock: Clock,
) -> list[RankReport]:
    """A report for each target; the first has the others.

    Args:
        wanted: The architectures and their true values.
        scored: Their scores.
        infos: Aggregators to compute.
        limits: Where to look too.
        costs: The costs that limits are about.
        run: The run folder, if there is one.
        clock: Told how far the statistics are.
    """
    scores, kinds = dict(scored.scores), dict(scored.kinds)
    for info in infos:
        some = {name: scores[name] for name in (scored.scores if info.reads else scored.aggregated)}
        scores[info.name] = aggregate(info.name, some).values
        kinds[info.name] = "aggregate"
    total = len(scores) * len(wanted.tables) + len(limits) * len(wanted.tables)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        clock.tell("rank", done, total)

    clock.tell("rank", 0, total)
    reports = []
    for table in wanted.tables:
        minimize, truth = wanted.minimize(table), table.truth[wanted.chosen.rows]
        rows = []
        for name, values in scores.items():
            rows.append(_row(name, values, truth, kinds[name], scored, minimize=minimize, seed=wanted.seed))
            step()
        bands = []
        for limit in limits:
            bands.append(band(limit, costs[limit.cost], scores, truth, minimize=minimize, seed=wanted.seed))
            step()
        seeds = None if table.seeds is None else table.seeds[wanted.chosen.rows]
        reports.append(
            RankReport(
                rows=tuple(rows),
                archs=len(wanted.archs),
                population=wanted.chosen.label,
                texts=tuple(wanted.texts),
                truth=truth,
                scores=scores,
                minimize=minimize,
                truth_ties=tied_share(truth),
                truth_ceiling=None if seeds is None else agree(seeds[:, 0], seeds[:, 1], seed=wanted.seed),
                again=scored.repeated,
                table=table,
                protocol=scored.protocol,
                settings=_settings(wanted, scored, infos, table),
                resumed=clock.resumed,
                seconds=clock.seconds,
                run=run,
                bands=tuple(bands),
            )
        )
    return reports


def _row(
    name: str,
    values: NDArray[np.float64],
    truth: NDArray[np.float64],
    kind: Kind,
    scored: Scored,
    *,
    minimize: bool,
    seed: int,
) -> RankRow:
    """Statistics of one score."""
    finite = int(np.isfinite(values).sum())
    ranking = statistics(values, -truth if minimize else truth, seed=seed) if finite >= 3 else None
    if ranking is not None and minimize:
        ranking = in_own_unit(ranking)
    return RankRow(
        name,
        kind,
        ranking,
        len(values) - finite,
        {reason: count for reason, count in scored.reasons.get(name, {}).items() if count},
        tied_share(values),
        scored.again.get(name),
        scored.seconds.get(name, 0.0),
    )


def _settings(wanted: Wanted, scored: Scored, infos: Sequence[AggregatorInfo], table: Table) -> dict[str, object]:
    return {
        **wanted.settings(table),
        **scored.settings,
        "aggregates": [info.name for info in infos],
        "seed": wanted.seed,
    }
