"""Rank proxies against trained architectures: any proxy, any table, the full protocol, baselines and noise ceilings."""

import hashlib
import json
import operator
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from subshot import __version__
from subshot._choice import Choice, split_top_level
from subshot._seeds import stable_rng
from subshot._types import Arch, Evaluation, Protocol
from subshot.aggregators import AggregatorInfo, aggregate, get_aggregator
from subshot.benchmarks._agreement import Agreement, agree
from subshot.benchmarks._benchmark import TableSource, find_table
from subshot.benchmarks._populations import Chosen, choose
from subshot.benchmarks._table import Table
from subshot.benchmarks.ranking import rank as statistics
from subshot.errors import DataError, OptionError
from subshot.proxies._proxy import BoundProxy, bind
from subshot.spaces._space import (
    Measurable,
    Space,
    folder_size,
    get_space,
    network_settings,
    resolve_variant,
    space_settings,
)
from subshot.studies._calibrate import calibrate
from subshot.studies._check import check_protocol
from subshot.studies._evaluator import ProxyEvaluator
from subshot.studies._executors import make_executor
from subshot.studies._ranked import Kind, RankReport, RankRow, in_own_unit, tied_share, write_ranked
from subshot.studies._scoring import evaluate_all
from subshot.studies._store import Store, move_aside

if TYPE_CHECKING:
    from subshot.data import DataLike, TakenBatch

# A score that beats neither of them knows nothing but size.
BASELINES = ("parameters", "macs")


@dataclass(frozen=True)
class RankProgress:
    """How far a ranking is.

    Attributes:
        stage: ``score``: networks are looked at. ``rank``: intervals are computed, proxy by proxy.
        done: Networks or proxies.
        total: How many there will be.
        seconds: Since the ranking began, this time.
        resumed: Networks that were in the store already.
    """

    stage: str
    done: int
    total: int
    seconds: float
    resumed: int


def rank(
    space: str | Choice | Space | None = None,
    *,
    table: "str | os.PathLike[str]",
    target: str | None = None,
    proxies: str | Sequence[str | Choice | BoundProxy] | None = None,
    aggregates: str | Sequence[str] = (),
    scores: str | Sequence[str] = (),
    archs: "str | int | os.PathLike[str] | Sequence[Arch]" = "all",
    arch_column: str | None = None,
    minimize: bool | None = None,
    data: "DataLike" = "mnist_sample",
    variant: str | None = None,
    batch_size: int = 16,
    samples: str = "random",
    unreal: str = "none",
    image_size: tuple[int, int] | None = None,
    repeats: int = 1,
    init: str = "default",
    bn_mode: str = "batch",
    again: int = 50,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 1,
    executor: str = "auto",
    out: "str | os.PathLike[str] | Callable[[str], Path] | None" = None,
    fresh: bool = False,
    on_progress: Callable[[RankProgress], None] | None = None,
) -> RankReport:
    """Compare the order that proxies give to architectures with the order of their true values.

    The baselines ``parameters`` and ``macs`` of the scored network are in every ranking.

    Args:
        space: A space, or the name of one, with settings where wanted; the table's if it names one.
        table: A registered table, or the path of a ``.csv``, ``.csv.gz`` or ``.parquet`` file.
        target: The column of true values; may be left out where the table has one only.
        proxies: What to compare; ``swap`` if neither proxies nor scores are given.
        aggregates: Aggregators of the proxies; one that reads certain proxies adds them.
        scores: Columns of the table that are scores already, higher is better. No networks are built then.
        archs: ``all`` rows, a population of the space (``live``), a number of random rows (``1000``), also of a
            population (``live:1000``), a file with one architecture a line, or architectures.
        arch_column: The column of architectures; by default ``arch``, or the only one that the space can read.
        minimize: Whether a low true value is good; what is known about the target if not given.
        data: Where the batch comes from, as for a search.
        variant: Which network of the space is scored; the space's scoring variant if not given.
        batch_size: Samples in the batch, which is the same for every network.
        samples: ``random`` samples by the seed, or the ``first`` in file order.
        unreal: What to replace the batch by.
        image_size: Height and width of the input; the data's own if not given.
        repeats: Initialisations averaged for a score.
        init: Initialisation: ``default``, ``normal`` or ``kaiming``.
        bn_mode: Batch norm by ``batch`` statistics, ``running`` statistics, or ``off``.
        again: Networks, chosen at random, to score once more with the next seed, batch and weights: how far a proxy
            agrees with itself. All of them if there are fewer. Tensors given as data are the same batch both times.
        seed: Seed of the batch, every initialisation, random architectures and the intervals.
        device: Where networks run.
        workers: Processes; the result doesn't depend on it.
        executor: ``serial``, ``processes``, or ``auto``: processes for more than one worker.
        out: Run folder; an unfinished run in it continues, and its scores serve another target of the same
            architectures. Without one, nothing is written. A function is given the digest of the settings and returns
            the folder.
        fresh: Start anew although the folder holds a run, which is moved aside.
        on_progress: Called after every network and every proxy's statistics.

    Raises:
        SubshotError: Something given is unknown, out of range, or can't be used; the message says what to do.
    """
    started = time.perf_counter()
    columns = _names(scores)
    if columns and proxies is not None:
        raise OptionError("Proxies and stored scores were both given.", "Rank one after the other.")
    if again < 0:
        raise OptionError(f"again={again} was given.", "It is a number of networks, 0 for none.")
    seed = operator.index(seed)
    source = find_table(table)
    space = _space(space, source)
    read = source.read(space, target=target, scores=columns, arch_column=arch_column)
    chosen = choose(read, space, archs, seed=seed)
    if len(chosen.rows) < 3:
        raise DataError(f"{len(chosen.rows)} architectures were chosen.", "A ranking needs at least three.")
    infos = [get_aggregator(name) for name in _names(aggregates)]
    clock = _Clock(started, on_progress)
    wanted = _Wanted(space, read, chosen, minimize=minimize, seed=seed)
    if columns:
        run = wanted.folder(out, {"scores": columns})
        found = _stored(wanted, columns, infos, variant=variant)
    else:
        from subshot.data import take_batch

        if init == "keep":
            raise OptionError("Initialisation 'keep' was given.", "A network built for scoring has no weights to keep.")
        variant = resolve_variant(space, variant or space.scoring_variant)

        def take(seed: int) -> "TakenBatch":
            return take_batch(
                data,
                batch_size,
                samples=samples,
                seed=seed,
                image_size=image_size,
                folder_size=folder_size(space),
                unreal=unreal,
            )

        protocol = Protocol(
            repeats=repeats,
            variant=variant,
            network=network_settings(space, variant),
            initialisation=init,
            batch_norm=bn_mode,
            device=device,
            version=__version__,
        )
        measured = _Measured(wanted, take, protocol, proxies="swap" if proxies is None else proxies, infos=infos)
        run = wanted.folder(out, measured.settings)
        found = measured.run(
            run, again=min(again, len(chosen.rows)), workers=workers, executor=executor, fresh=fresh, clock=clock
        )
    return _report(wanted, found, infos, run=run, clock=clock)


class _Clock:
    """Time since the start, and how far the work is."""

    def __init__(self, started: float, on_progress: Callable[[RankProgress], None] | None) -> None:
        self.started = started
        self.resumed = 0
        self._scored = 0
        self._on_progress = on_progress

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def scored(self, stored: bool, total: int) -> None:
        self._scored += 1
        self.resumed += stored
        self.tell("score", self._scored, total)

    def tell(self, stage: str, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(RankProgress(stage, done, total, self.seconds, self.resumed))


class _Wanted:
    """The architectures to rank and their true values."""

    def __init__(self, space: Space, table: Table, chosen: Chosen, *, minimize: bool | None, seed: int) -> None:
        self.space, self.table, self.chosen, self.seed = space, table, chosen, seed
        self.minimize = table.target_facts.direction == "minimize" if minimize is None else minimize
        self.archs = [table.archs[row] for row in chosen.rows]
        self.texts = [table.texts[row] for row in chosen.rows]
        self.truth = table.truth[chosen.rows]
        self.archs_digest = _digest(self.texts)

    @property
    def settings(self) -> dict[str, Any]:
        """What is ranked, in JSON values."""
        return {
            "space": str(Choice(self.space.name, space_settings(self.space))),
            "table": self.table.name,
            "table_digest": self.table.digest,
            "target": self.table.target,
            "metric": self.table.target_facts.metric,
            "unit": self.table.target_facts.unit,
            "split": self.table.target_facts.split,
            "direction": "minimize" if self.minimize else "maximize",
            "population": self.chosen.label,
            "archs_digest": self.archs_digest,
            "rows_without_value": self.table.empty,
            "rows_repeated": self.table.repeated,
            "archs_not_in_table": self.chosen.absent,
        }

    def folder(self, out: Any, settings: Mapping[str, Any]) -> Path | None:
        """The run folder; the same settings have the same."""
        if callable(out):
            ranked = [self.table.digest, self.table.target, self.archs_digest]
            return Path(out(_digest({"ranked": ranked, "scores": settings})))
        return None if out is None else Path(out)


@dataclass(frozen=True)
class _Found:
    """Scores of the architectures, and what is known about them."""

    scores: Mapping[str, NDArray[np.float64]]
    kinds: Mapping[str, Kind]
    aggregated: Sequence[str]  # what an aggregator of any proxies takes
    settings: Mapping[str, Any]
    reasons: Mapping[str, Mapping[str, int]]
    seconds: Mapping[str, float]
    again: Mapping[str, Agreement]
    repeated: int
    protocol: Protocol | None


def _stored(wanted: _Wanted, columns: Sequence[str], infos: Sequence[AggregatorInfo], *, variant: str | None) -> _Found:
    """Scores that are columns of the table, and the baselines, which are counted where that needs no network."""
    _check_aggregates(infos, columns)
    space = wanted.space
    scores = {name: wanted.table.scores[name][wanted.chosen.rows] for name in columns}
    kinds: dict[str, Kind] = dict.fromkeys(columns, "column")
    variant = resolve_variant(space, variant)
    sizes = []
    if isinstance(space, Measurable):
        sizes = [space.measure(arch, variant=variant) for arch in wanted.archs]
    for name, attribute in zip(BASELINES, ("parameters", "macs"), strict=True):
        if name not in scores and sizes:
            scores[name] = np.array([getattr(size, attribute) for size in sizes], dtype=np.float64)
            kinds[name] = "baseline"
    reasons = {name: {"the table has no value": int((~np.isfinite(values)).sum())} for name, values in scores.items()}
    settings = {"scores": "columns of the table", "baselines_of": f"{variant} network"}
    return _Found(scores, kinds, columns, settings, reasons, {}, {}, 0, None)


class _Measured:
    """Scores of networks that are built."""

    def __init__(
        self,
        wanted: _Wanted,
        take: "Callable[[int], TakenBatch]",
        protocol: Protocol,
        *,
        proxies: str | Sequence[str | Choice | BoundProxy],
        infos: Sequence[AggregatorInfo],
    ) -> None:
        named = bind(proxies)
        if not named:
            raise OptionError("No proxy was given.", "Name one or more.")
        known = {one.info.name for one in named}
        extra = [name for info in infos for name in info.reads if name not in known]
        self._wanted, self._take, self._base, self._infos = wanted, take, protocol, infos
        self._named = [one.name for one in named]
        self._bound = bind([*named, *extra, *BASELINES])
        _check_aggregates(infos, [one.name for one in self._bound])
        self._batch, self.protocol = self._under(wanted.seed)
        check_protocol(self.protocol)
        self._proxies = self._calibrated(self._batch, self.protocol)
        self.settings: dict[str, Any] = {
            "kind": "ranking",
            "space": str(Choice(wanted.space.name, space_settings(wanted.space))),
            "proxies": {one.name: dict(one.options) for one in self._proxies},
            "archs": {"count": len(wanted.archs), "digest": wanted.archs_digest},
            "classes": self._batch.task.outputs,
            "protocol": self.protocol.to_dict(),
        }

    def run(self, run: Path | None, *, again: int, workers: int, executor: str, fresh: bool, clock: _Clock) -> _Found:
        """Score the architectures, then some of them with the next seed."""
        wanted = self._wanted
        total = len(wanted.archs) + again

        def tell(stored: bool) -> None:
            clock.scored(stored, total)

        second = stable_rng(wanted.seed, "again").permutation(len(wanted.archs))[:again].tolist()
        repeats: list[Evaluation] = []
        mapper = make_executor(self._evaluator(wanted.seed), workers, kind=executor)
        if fresh and run is not None:  # nothing is refused after this
            move_aside(run)
        with Store(run / "study.db" if run is not None else Path(":memory:"), self.settings) as store:
            with mapper:
                first = evaluate_all(wanted.archs, wanted.texts, store=store, executor=mapper, on_evaluation=tell)
            if second:
                with make_executor(self._evaluator(wanted.seed + 1), workers, kind=executor) as mapper:
                    repeats = evaluate_all(
                        [wanted.archs[position] for position in second],
                        [wanted.texts[position] for position in second],
                        store=store,
                        executor=mapper,
                        first_trial=len(wanted.archs),
                        on_evaluation=tell,
                    )
        return self._found(first, second, repeats)

    def _found(self, first: Sequence[Evaluation], second: Sequence[int], repeats: Sequence[Evaluation]) -> _Found:
        names = [one.name for one in self._proxies]
        scores = {name: _values(first, name) for name in names}
        compared = [name for name in names if name not in BASELINES and second]
        pairs = {name: agree(scores[name][second], _values(repeats, name), seed=self._wanted.seed) for name in compared}
        return _Found(
            scores=scores,
            kinds={name: "baseline" if name in BASELINES else "proxy" for name in names},
            aggregated=self._named,
            settings={"scores": "measured", "proxies": self.settings["proxies"], "again": len(second)},
            reasons={name: _reasons(first, name) for name in names},
            seconds={name: sum(one[name].cost.seconds for one in first) for name in names},
            again={name: pair for name, pair in pairs.items() if pair is not None},
            repeated=len(second),
            protocol=self.protocol,
        )

    def _under(self, seed: int) -> "tuple[TakenBatch, Protocol]":
        """The batch of a seed, and the protocol with it."""
        batch = self._take(seed)
        protocol = replace(
            self._base,
            data=batch.name,
            data_digest=batch.digest,
            samples=batch.samples,
            batch_size=len(batch.inputs),
            input_shape=tuple(batch.inputs.shape[1:]),
            seed=seed,
        )
        return batch, protocol

    def _calibrated(self, batch: "TakenBatch", protocol: Protocol) -> tuple[BoundProxy, ...]:
        return tuple(calibrate(one, self._wanted.space, batch.task, protocol) for one in self._bound)

    def _evaluator(self, seed: int) -> ProxyEvaluator:
        if seed == self._wanted.seed:
            batch, protocol, proxies = self._batch, self.protocol, self._proxies
        else:
            batch, protocol = self._under(seed)
            proxies = self._calibrated(batch, protocol)
        return ProxyEvaluator(self._wanted.space, batch.task, batch.inputs, proxies, protocol, batch.labels)


def _report(
    wanted: _Wanted, found: _Found, infos: Sequence[AggregatorInfo], *, run: Path | None, clock: _Clock
) -> RankReport:
    """Statistics of all scores."""
    scores, kinds = dict(found.scores), dict(found.kinds)
    for info in infos:
        some = {name: scores[name] for name in (found.scores if info.reads else found.aggregated)}
        scores[info.name] = aggregate(info.name, some).values
        kinds[info.name] = "aggregate"
    truth = -wanted.truth if wanted.minimize else wanted.truth
    rows = []
    for done, (name, values) in enumerate(scores.items()):
        clock.tell("rank", done, len(scores))
        finite = int(np.isfinite(values).sum())
        ranking = statistics(values, truth, seed=wanted.seed) if finite >= 3 else None
        if ranking is not None and wanted.minimize:
            ranking = in_own_unit(ranking)
        missing = len(values) - finite
        rows.append(
            RankRow(
                name,
                kinds[name],
                ranking,
                missing,
                {reason: count for reason, count in found.reasons.get(name, {}).items() if count},
                tied_share(values),
                found.again.get(name),
                found.seconds.get(name, 0.0),
            )
        )
    clock.tell("rank", len(scores), len(scores))
    seeds = None if wanted.table.seeds is None else wanted.table.seeds[wanted.chosen.rows]
    report = RankReport(
        rows=tuple(rows),
        archs=len(wanted.archs),
        population=wanted.chosen.label,
        texts=tuple(wanted.texts),
        truth=wanted.truth,
        scores=scores,
        minimize=wanted.minimize,
        truth_ties=tied_share(wanted.truth),
        truth_ceiling=None if seeds is None else agree(seeds[:, 0], seeds[:, 1], seed=wanted.seed),
        again=found.repeated,
        table=wanted.table,
        protocol=found.protocol,
        settings={
            **wanted.settings,
            **found.settings,
            "aggregates": [info.name for info in infos],
            "seed": wanted.seed,
        },
        resumed=clock.resumed,
        seconds=clock.seconds,
        run=run,
    )
    if run is not None:
        write_ranked(run, report)
    return report


def _space(space: str | Choice | Space | None, source: TableSource) -> Space:
    if space is not None:
        return get_space(space)
    if not source.facts.space:
        raise OptionError(f"The table {source.name} doesn't say of which space it is.", "Name the space.")
    return get_space(source.facts.space)


def _names(given: str | Sequence[str]) -> list[str]:
    """Names in order, each once; a text may hold several, by commas outside brackets."""
    texts = [given] if isinstance(given, str) else list(given)
    return list(dict.fromkeys(name for text in texts for name in split_top_level(text)))


def _check_aggregates(infos: Sequence[AggregatorInfo], names: Sequence[str]) -> None:
    """Refuse what would fail after everything has been scored.

    Raises:
        SubshotError: An aggregator that lacks what it reads, or has it twice; or one with the name of a score.
    """
    for info in infos:
        if info.name in names:
            raise OptionError(f"{info.name} is an aggregator and a score.", "Leave one of them out.")
        aggregate(info.name, {name: [0.0, 1.0] for name in names})


def _values(evaluations: Sequence[Evaluation], name: str) -> NDArray[np.float64]:
    return np.array([one[name].value for one in evaluations], dtype=np.float64)


def _reasons(evaluations: Sequence[Evaluation], name: str) -> dict[str, int]:
    """How many evaluations have no finite score, by status and reason."""
    failed = [one[name] for one in evaluations if not one[name].ok]
    return dict(Counter(f"{one.status}: {one.reason}" if one.reason else str(one.status) for one in failed))


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
