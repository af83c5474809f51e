"""The result of a ranking: a row for each proxy, how far seeds agree, and the files of the run folder."""

import csv
import dataclasses
import io
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from subshot._types import Protocol
from subshot.benchmarks._agreement import Agreement
from subshot.benchmarks._table import Table
from subshot.benchmarks.limits import Band
from subshot.benchmarks.ranking import STATISTICS, Ranking
from subshot.errors import StudyError, UnknownNameError
from subshot.studies._files import write_whole

# What a finished ranking leaves in its folder, beside the store; the report's writers add the last two.
RESULTS: Final = ("scores.csv", "rank.json", "report.md", "report.html")

Kind = Literal["proxy", "baseline", "aggregate", "column"]


@dataclass(frozen=True)
class RankRow:
    """How one score ranks the architectures.

    Attributes:
        proxy: Name of the proxy, aggregator or column.
        kind: Which of these it is; ``baseline`` for parameters and MACs.
        ranking: The statistics, top values in the target's own unit; ``None`` below three finite scores.
        non_finite: Architectures without a finite score; the statistics treat them as :class:`Ranking` says.
        reasons: How many of them for which reason.
        ties: Share of the pairs of finite scores that are equal.
        again: Agreement with the same proxy under another seed; ``None`` where it was not measured.
        seconds: What the looks that served it took, summed over architectures; shared with proxies of the same look.
    """

    proxy: str
    kind: Kind
    ranking: Ranking | None
    non_finite: int
    reasons: Mapping[str, int]
    ties: float
    again: Agreement | None = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values: each statistic, and its interval as ``<name>_ci``."""
        values: dict[str, Any] = {"proxy": self.proxy}
        for name in (*STATISTICS, "spearman_all"):
            estimate = None if self.ranking is None else getattr(self.ranking, name)
            known = (estimate.value, estimate.low, estimate.high) if estimate else (math.nan,) * 3
            value, low, high = (one if math.isfinite(one) else None for one in known)
            values |= {name: value, f"{name}_ci": [low, high]}
        return values | {"non_finite": self.non_finite, "ties": self.ties}


@dataclass(frozen=True, eq=False)
class RankReport:
    """Scores of a table's architectures against their true values.

    Attributes:
        rows: One for each proxy, in the order asked for, then the baselines, then the aggregates.
        archs: How many architectures were ranked.
        population: Which, in words.
        texts: Canonical texts of the architectures.
        truth: Their true values, (N,).
        scores: For each row the N scores, not finite where there is none.
        minimize: Whether the best true value is the lowest.
        truth_ties: Share of the pairs of true values that are equal.
        truth_ceiling: Agreement of two training seeds; ``None`` where the table has one value only.
        again: Architectures scored once more with another seed.
        table: The table, with what was left out of it.
        protocol: How scores were measured; ``None`` if all are columns of the table.
        settings: What was ranked and how; see ``protocol`` of :meth:`to_dict`.
        resumed: Evaluations that were in the store already.
        seconds: Wall time, this time.
        run: The run folder, if there is one.
        bands: How the scores do inside limits, in the order asked for.
        others: Reports of the further targets, which the same scores are ranked against.
        set_aside: New names of files of another result that were in the run folder.
    """

    rows: tuple[RankRow, ...]
    archs: int
    population: str
    texts: tuple[str, ...]
    truth: NDArray[np.float64]
    scores: Mapping[str, NDArray[np.float64]]
    minimize: bool
    truth_ties: float
    truth_ceiling: Agreement | None
    again: int
    table: Table
    protocol: Protocol | None
    settings: Mapping[str, Any]
    resumed: int
    seconds: float
    run: Path | None
    bands: tuple[Band, ...] = ()
    others: "tuple[RankReport, ...]" = ()
    set_aside: tuple[str, ...] = ()

    @property
    def targets(self) -> "Mapping[str, RankReport]":
        """The report of each target, this one first."""
        return {report.table.target: report for report in (self, *self.others)}

    def __getitem__(self, proxy: str) -> RankRow:
        """The row of a proxy, by its name.

        Raises:
            UnknownNameError: It wasn't ranked.
        """
        rows = {row.proxy: row for row in self.rows}
        if proxy not in rows:
            raise UnknownNameError.of("ranked score", proxy, rows)
        return rows[proxy]

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values, without the scores; for several targets one object for each under ``targets``."""
        where = {"seconds": round(self.seconds, 3), "run": str(self.run) if self.run else None}
        if self.others:
            return {"targets": {name: one._of_one() for name, one in self.targets.items()}, **where}
        return {**self._of_one(), **where}

    def _of_one(self) -> dict[str, Any]:
        again = {row.proxy: row.again.to_dict() for row in self.rows if row.again is not None}
        return {
            "protocol": {**self.settings, **(self.protocol.to_dict() if self.protocol else {})},
            "archs": self.archs,
            "rows": [row.to_dict() for row in self.rows],
            "noise_ceiling": {
                "truth": self.truth_ceiling.to_dict() if self.truth_ceiling else None,
                "proxies": again or None,
            },
            "bands": [one.to_dict(self.texts) for one in self.bands],
        }


def write_ranked(run: Path, report: RankReport) -> tuple[str, ...]:
    """Write ``scores.csv``, itself a table that can be ranked, and ``rank.json``.

    Scores in a folder serve several questions: other targets, limits, aggregates. The result of another question is
    never overwritten: it is set aside.

    Returns:
        New names of what was set aside.

    Raises:
        StudyError: They can't be written.
    """
    told = report.to_dict()
    moved = () if _says(run / "rank.json", told) else set_aside(run)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["arch", *report.targets, *report.scores])
    truths = (one.truth for one in report.targets.values())
    columns = [values.tolist() for values in (*truths, *report.scores.values())]
    for arch, *values in zip(report.texts, *columns, strict=True):
        writer.writerow([arch, *("" if math.isnan(value) else repr(value) for value in values)])
    found = json.dumps(told, indent=2, allow_nan=False)
    for name, content in (("scores.csv", text.getvalue()), ("rank.json", f"{found}\n")):
        write_whole(run / name, content)
    return moved


def set_aside(run: Path) -> tuple[str, ...]:
    """Rename the result in a run folder, if there is one, and return the new names.

    Raises:
        StudyError: It can't be renamed.
    """
    there = [name for name in RESULTS if (run / name).exists()]
    number = next(n for n in itertools.count(1) if not any((run / f"{name}.old{n}").exists() for name in RESULTS))
    for name in there:
        try:
            (run / name).rename(run / f"{name}.old{number}")
        except OSError as error:
            raise StudyError(
                f"{run / name} can't be moved aside: {error.strerror}.", "Choose another folder."
            ) from error
    return tuple(f"{name}.old{number}" for name in there)


def _says(path: Path, told: Mapping[str, Any]) -> bool:
    """Whether a written result is the one told, but for times and the name of the folder."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    once = {"seconds": 0, "run": ""}
    return isinstance(there, dict) and {**there, **once} == {**json.loads(json.dumps(told)), **once}


def tied_share(values: NDArray[np.float64]) -> float:
    """Share of the pairs of finite values that are equal."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return 0.0
    counts = np.unique(finite, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (len(finite) * (len(finite) - 1)))


def in_own_unit(ranking: Ranking) -> Ranking:
    """Statistics that were computed of negated true values, with the top values turned back."""
    top = {name: getattr(ranking, name) for name in ("top1", "top10_mean")}
    turned = {
        name: dataclasses.replace(one, value=-one.value, low=-one.high, high=-one.low) for name, one in top.items()
    }
    return dataclasses.replace(ranking, **turned)
