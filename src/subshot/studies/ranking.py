"""Rank proxies against trained architectures: any proxy, any table, the full protocol, baselines and seeds compared."""

import inspect
import operator
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from subshot import __version__
from subshot._choice import Choice, split_top_level
from subshot._types import Arch, Protocol
from subshot.aggregators import get_aggregator
from subshot.benchmarks._benchmark import TableSource, find_table
from subshot.benchmarks._populations import choose
from subshot.benchmarks.limits import Limit
from subshot.errors import DataError, OptionError
from subshot.proxies._proxy import BoundProxy
from subshot.spaces._space import Space, folder_size, get_space, network_settings, resolve_variant
from subshot.studies._judged import judge
from subshot.studies._ranked import RankReport, write_ranked
from subshot.studies._scored import Measurement, claim_folder, stored_scores
from subshot.studies._start import Start
from subshot.studies._wanted import Wanted, cost_columns, find_limits, read_bands
from subshot.studies._warm import refuse_redraws

if TYPE_CHECKING:
    from subshot.data import DataLike, TakenBatch


# Settings of the look at networks, which stored scores don't take.
LOOK = (
    "data", "batch_size", "samples", "unreal", "image_size", "repeats", "init", "bn_mode", "weights", "again", "device",
    "workers", "executor",
)  # fmt: skip


@dataclass(frozen=True)
class RankProgress:
    """How far a ranking is.

    Attributes:
        stage: ``score``: networks are looked at. ``rank``: intervals are computed.
        done: Networks, or statistics.
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
    target: str | Sequence[str] | None = None,
    proxies: str | Sequence[str | Choice | BoundProxy] | None = None,
    aggregates: str | Sequence[str] = (),
    scores: str | Sequence[str] = (),
    archs: "str | int | os.PathLike[str] | Sequence[Arch]" = "all",
    arch_column: str | None = None,
    minimize: bool | None = None,
    within: str | Limit | Sequence[str | Limit] = (),
    bands: str | Sequence[str] = (),
    data: "DataLike" = "mnist_sample",
    variant: str | None = None,
    batch_size: int = 16,
    samples: str = "random",
    unreal: str = "none",
    image_size: tuple[int, int] | None = None,
    repeats: int = 1,
    init: str = "default",
    bn_mode: str = "batch",
    weights: "str | os.PathLike[str] | None" = None,
    again: int = 50,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 1,
    executor: str = "auto",
    out: "str | os.PathLike[str] | Callable[[str], Path] | None" = None,
    fresh: bool = False,
    on_start: Callable[[Start], None] | None = None,
    on_progress: Callable[[RankProgress], None] | None = None,
) -> RankReport:
    """Compare the order that proxies give to architectures with the order of their true values.

    The baselines ``parameters`` and ``macs`` of the scored network are in every ranking. With several targets each
    network is still looked at once, and the report of the first target has those of the others.

    Args:
        space: A space, or the name of one, with settings where wanted; the table's if it names one.
        table: A registered table, or the path of a ``.csv``, ``.csv.gz`` or ``.parquet`` file.
        target: The column of true values, several columns, or ``all`` known ones; may be left out where the table has
            one only. With several, architectures without a value of one of them are left out for all.
        proxies: What to compare; ``swap`` if neither proxies nor scores are given.
        aggregates: Aggregators of the proxies; one that reads certain proxies adds them.
        scores: Columns of the table that are scores already, higher is better. No networks are built then, and settings
            that only matter where some are, ``data`` to ``weights`` and ``again`` to ``executor`` but for ``seed``, are
            refused.
        archs: ``all`` rows, a population of the space (``live``), a number of random rows (``1000``), also of a
            population (``live:1000``), a file with one architecture a line, or architectures.
        arch_column: The column of architectures; by default ``arch``, or the only one that the space can read.
        minimize: Whether a low true value is good; what is known about the target if not given.
        within: Limits to look inside too: ``params:0.3M-0.6M``, ``macs<=50M``, or a column of the table in place of
            ``params``. Parameters and MACs are those of the network that is trained.
        bands: The same for adjoining bands with about equally many architectures each: ``params:4``.
        data: Where the batch comes from, as for a search.
        variant: Which network of the space is scored; the space's scoring variant if not given.
        batch_size: Samples in the batch, which is the same for every network.
        samples: ``random`` samples by the seed, or the ``first`` in file order.
        unreal: What to replace the batch by.
        image_size: Height and width of the input; the data's own if not given.
        repeats: Initialisations averaged for a score.
        init: Initialisation: ``default``, ``normal`` or ``kaiming``.
        bn_mode: Batch norm by ``batch`` statistics, ``running`` statistics, or ``off``.
        weights: A supernet's file, which ``subshot warm-up`` wrote: networks are scored with the weights it lends.
        again: Networks, chosen at random, to score once more with the next seed, batch and weights: how far a proxy
            agrees with itself. All of them if there are fewer. Tensors given as data are the same batch both times.
        seed: Seed of the batch, every initialisation, random architectures and the intervals.
        device: Where networks run.
        workers: Processes; the result doesn't depend on it.
        executor: ``serial``, ``processes``, or ``auto``: processes for more than one worker.
        out: Run folder; an unfinished run in it continues, and its scores serve another target of the same
            architectures. Without one, nothing is written. A function is given the digest of scores and targets and
            returns the folder. Another result in the folder, say inside other limits, is set aside under a new name.
        fresh: Start anew although the folder holds a run, which is moved aside.
        on_start: Called once, when nothing but the folder can refuse any more.
        on_progress: Called after every network and every proxy's statistics.

    Raises:
        SubshotError: Something given is unknown, out of range, or can't be used; the message says what to do.
    """
    started = time.perf_counter()
    columns = _names(scores)
    if columns and proxies is not None:
        raise OptionError("Proxies and stored scores were both given.", "Rank one after the other.")
    if columns:
        look = (
            data, batch_size, samples, unreal, image_size, repeats, init, bn_mode, weights, again, device, workers,
            executor,
        )  # fmt: skip
        refuse_look([name for name, value in zip(LOOK, look, strict=True) if _is_set(name, value)])
    if again < 0:
        raise OptionError(f"again={again} was given.", "It is a number of networks, 0 for none.")
    seed = operator.index(seed)
    limits = _limits(within)
    parts = read_bands([bands] if isinstance(bands, str) else bands)
    cost_names = list(dict.fromkeys([*(limit.cost for limit in limits), *(cost for cost, _ in parts)]))
    source = find_table(table)
    space = _space(space, source)
    tables = source.read_targets(
        space, targets=target, scores=columns, costs=cost_columns(space, cost_names), arch_column=arch_column
    )
    chosen = choose(tables[0], space, archs, seed=seed)
    if len(chosen.rows) < 3:
        raise DataError(f"{len(chosen.rows)} architectures were chosen.", "A ranking needs at least three.")
    infos = [get_aggregator(name) for name in _names(aggregates)]
    clock = _Clock(started, on_progress)
    wanted = Wanted(space, tables, chosen, minimize=minimize, seed=seed)
    costs = wanted.costs(cost_names)
    limits = find_limits(limits, parts, costs)
    if columns:
        scored = stored_scores(wanted, columns, infos, variant=variant)
        run = wanted.folder(out, {"scores": columns})
        if on_start is not None:
            on_start(Start("rank", run, {"scores": columns}))
        if run is not None:
            claim_folder(run, fresh=fresh)
    else:
        from subshot.data import take_batch

        if init == "keep":
            raise OptionError("Initialisation 'keep' was given.", "A network built for scoring has no weights to keep.")
        if weights is not None:
            refuse_redraws(init=init, repeats=repeats, both=False)
        variant = resolve_variant(space, variant or (None if weights is not None else space.scoring_variant))

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
            initialisation=init if weights is None else "keep",
            batch_norm=bn_mode,
            device=device,
            version=__version__,
        )
        measurement = Measurement(
            wanted,
            take,
            protocol,
            proxies="swap" if proxies is None else proxies,
            infos=infos,
            supernet=None if weights is None else Path(weights),
        )
        run = wanted.folder(out, measurement.settings)
        if on_start is not None:
            on_start(Start("rank", run, measurement.settings))
        scored = measurement.run(
            run,
            again=min(again, len(chosen.rows)),
            workers=workers,
            executor=executor,
            fresh=fresh,
            on_evaluation=clock.scored,
        )
    first, *others = judge(wanted, scored, infos, limits=limits, costs=costs, run=run, clock=clock)
    report = replace(first, others=tuple(others), seconds=clock.seconds)
    return report if run is None else replace(report, set_aside=write_ranked(run, report))


def refuse_look(names: Sequence[str]) -> None:
    """Refuse settings of the look at networks beside stored scores, for which there is no look.

    Raises:
        OptionError: There are some.
    """
    if names:
        raise OptionError(
            f"Stored scores were given, and {', '.join(names)} too, which would have no effect: no network is built.",
            f"Leave {'it' if len(names) == 1 else 'them'} out, or name proxies instead of scores.",
        )


def _is_set(name: str, value: object) -> bool:
    """Whether a parameter of :func:`rank` has another value than its default."""
    default = inspect.signature(rank).parameters[name].default
    return type(value) is not type(default) or bool(value != default)


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


def _limits(given: str | Limit | Sequence[str | Limit]) -> list[Limit]:
    several = [given] if isinstance(given, (str, Limit)) else given
    return [one if isinstance(one, Limit) else Limit.parse(one) for one in several]
