"""The scores of a ranking: columns of the table, or what networks that are built give."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from subshot._choice import Choice
from subshot._seeds import stable_rng
from subshot._types import Evaluation, Protocol
from subshot.aggregators import AggregatorInfo, aggregate
from subshot.benchmarks._agreement import Agreement, agree
from subshot.errors import OptionError, StudyError
from subshot.proxies._proxy import BoundProxy, bind
from subshot.spaces._space import Measurable, resolve_variant, space_settings
from subshot.studies._calibrate import calibrate
from subshot.studies._check import check_protocol
from subshot.studies._evaluator import ProxyEvaluator
from subshot.studies._executors import make_executor
from subshot.studies._ranked import Kind, set_aside
from subshot.studies._scoring import evaluate_all
from subshot.studies._store import Store, move_aside
from subshot.studies._wanted import Wanted
from subshot.studies._warm import Lender, lender_of

if TYPE_CHECKING:
    from subshot.data import TakenBatch

# A score that beats neither of them knows nothing but size.
BASELINES = ("parameters", "macs")


@dataclass(frozen=True)
class Scored:
    """Scores of the architectures, and what is known about them.

    Attributes:
        scores: One number for each architecture, by name.
        kinds: What each is.
        aggregated: What an aggregator of any proxies takes.
        settings: How they were measured, in JSON values.
        reasons: Architectures without a finite score, by name and reason.
        seconds: What the looks behind a score took.
        again: Agreement of a score with itself under another seed.
        repeated: Architectures that were scored again.
        protocol: How networks were looked at; ``None`` if none were.
    """

    scores: Mapping[str, NDArray[np.float64]]
    kinds: Mapping[str, Kind]
    aggregated: Sequence[str]
    settings: Mapping[str, Any]
    reasons: Mapping[str, Mapping[str, int]]
    seconds: Mapping[str, float]
    again: Mapping[str, Agreement]
    repeated: int
    protocol: Protocol | None


def stored_scores(
    wanted: Wanted, columns: Sequence[str], infos: Sequence[AggregatorInfo], *, variant: str | None
) -> Scored:
    """Scores that are columns of the table, and the baselines, which are counted where that needs no network.

    Raises:
        SubshotError: An aggregator that can't combine them, or an unknown variant.
    """
    check_aggregates(infos, columns)
    space, table = wanted.space, wanted.tables[0]
    scores = {name: table.scores[name][wanted.chosen.rows] for name in columns}
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
    return Scored(scores, kinds, columns, settings, reasons, {}, {}, 0, None)


class Measurement:
    """Scores of networks that are built, once for all targets.

    Args:
        wanted: The architectures.
        take: The batch of a seed.
        protocol: How to look, but for what the batch says.
        proxies: What to compute.
        infos: Aggregators; the proxies that one reads are computed too.
        supernet: The file of one that lends the networks their weights.

    Raises:
        SubshotError: Something given is unknown or can't be used.
    """

    def __init__(
        self,
        wanted: Wanted,
        take: "Callable[[int], TakenBatch]",
        protocol: Protocol,
        *,
        proxies: str | Sequence[str | Choice | BoundProxy],
        infos: Sequence[AggregatorInfo],
        supernet: Path | None = None,
    ) -> None:
        named = bind(proxies)
        if not named:
            raise OptionError("No proxy was given.", "Name one or more.")
        known = {one.info.name for one in named}
        extra = [name for info in infos for name in info.reads if name not in known]
        self._wanted, self._take, self._base, self._infos = wanted, take, protocol, infos
        self._named = [one.name for one in named]
        self._bound = bind([*named, *extra, *BASELINES])
        check_aggregates(infos, [one.name for one in self._bound])
        self._batch, self.protocol = self._under(wanted.seed)
        self._lender: Lender | None = None
        if supernet is not None:
            self._lender, _ = lender_of(supernet, wanted.space, self._batch.task, protocol.variant)
            self._base = replace(self._base, weights=self._lender.weights)
            self.protocol = replace(self.protocol, weights=self._lender.weights)
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

    def run(
        self,
        run: Path | None,
        *,
        again: int,
        workers: int,
        executor: str,
        fresh: bool,
        on_evaluation: Callable[[bool, int], None],
    ) -> Scored:
        """Score the architectures, then some of them with the next seed.

        Args:
            run: Where evaluations are kept; ``None`` for nowhere.
            again: How many to score with the next seed.
            workers: Processes.
            executor: ``serial``, ``processes`` or ``auto``.
            fresh: Move what is kept aside, with the result.
            on_evaluation: Told after each whether it was kept, and how many there will be.

        Raises:
            SubshotError: The folder or the executor can't be used.
        """
        wanted = self._wanted
        total = len(wanted.archs) + again

        def tell(stored: bool) -> None:
            on_evaluation(stored, total)

        second = stable_rng(wanted.seed, "again").permutation(len(wanted.archs))[:again].tolist()
        repeats: list[Evaluation] = []
        mapper = make_executor(self._evaluator(wanted.seed), workers, kind=executor)
        if fresh and run is not None:  # nothing is refused after this
            move_aside(run)
            set_aside(run)
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
        return self._scored(first, second, repeats)

    def _scored(self, first: Sequence[Evaluation], second: Sequence[int], repeats: Sequence[Evaluation]) -> Scored:
        names = [one.name for one in self._proxies]
        scores = {name: _values(first, name) for name in names}
        compared = [name for name in names if name not in BASELINES and second]
        pairs = {name: agree(scores[name][second], _values(repeats, name), seed=self._wanted.seed) for name in compared}
        return Scored(
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
        space, lender = self._wanted.space, self._lender
        return ProxyEvaluator(space, batch.task, batch.inputs, proxies, protocol, batch.labels, lender)


def claim_folder(run: Path, *, fresh: bool) -> None:
    """Refuse a folder whose scores are others', for a ranking of stored scores, which keeps none itself.

    Args:
        run: The folder.
        fresh: Move what is in it aside instead.

    Raises:
        StudyError: It holds a study; or, with ``fresh``, that can't be moved.
    """
    if fresh:
        move_aside(run)
        set_aside(run)
    elif (run / "study.db").exists():
        raise StudyError(
            f"{run} holds the scores of another run, study.db, and this ranking of columns measures none.",
            "Choose another folder, or start anew in this one with --fresh.",
        )


def check_aggregates(infos: Sequence[AggregatorInfo], names: Sequence[str]) -> None:
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
