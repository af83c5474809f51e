"""The result of a ranking: a row for each proxy, the noise ceilings, and the files of the run folder."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from subshot._types import Protocol
from subshot.benchmarks._agreement import Agreement
from subshot.benchmarks._table import Table
from subshot.benchmarks.limits import Band
from subshot.benchmarks.ranking import STATISTICS, Ranking
from subshot.errors import StudyError, UnknownNameError

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


def write_ranked(run: Path, report: RankReport) -> None:
    """Write ``scores.csv``, itself a table that can be ranked, and ``rank.json``.

    Raises:
        StudyError: They can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["arch", *report.targets, *report.scores])
    truths = (one.truth for one in report.targets.values())
    columns = [values.tolist() for values in (*truths, *report.scores.values())]
    for arch, *values in zip(report.texts, *columns, strict=True):
        writer.writerow([arch, *("" if math.isnan(value) else repr(value) for value in values)])
    found = json.dumps(report.to_dict(), indent=2, allow_nan=False)
    for name, content in (("scores.csv", text.getvalue()), ("rank.json", f"{found}\n")):
        write_whole(run / name, content)


def write_whole(path: Path, content: str) -> None:
    """Replace a file at once, so that a kill leaves the old one or the new one.

    Raises:
        StudyError: It can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.new")
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StudyError(f"{path} can't be written: {error.strerror}.", "Check the folder.") from error


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
