"""A finished ranking, read from the files of its folder: what was told of each target, and the scores themselves."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot.errors import StudyError
from subshot.studies._reading import read_stored

BASELINES = ("parameters", "macs")
# Statistics that are true values, in the target's own unit.
VALUES = ("top1", "top10_mean")


@dataclass(frozen=True, eq=False)
class Ranked:
    """Scores against one target.

    Attributes:
        told: What ``rank.json`` says of it: settings, rows, ceilings, bands.
        archs: Canonical texts, N.
        truth: True values, (N,).
        scores: By name, (N,), NaN where there is none.
        reasons: By name, how many have no score for which reason.
        seconds: Wall time of the ranking, when it was last run.
        looked: Seconds of looking at networks, over all of them; ``None`` for stored scores.
    """

    told: Mapping[str, Any]
    archs: tuple[str, ...]
    truth: NDArray[np.float64]
    scores: Mapping[str, NDArray[np.float64]]
    reasons: Mapping[str, Mapping[str, int]]
    seconds: float
    looked: float | None

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The statistics of each score, in the order asked for."""
        found: Sequence[Mapping[str, Any]] = self.told["rows"]
        return found

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was ranked, and how scores were measured."""
        found: Mapping[str, Any] = self.told["protocol"]
        return found

    @property
    def minimize(self) -> bool:
        """Whether low true values are good."""
        return bool(self.settings.get("direction") == "minimize")

    @property
    def best(self) -> float:
        """The best true value."""
        return float(self.truth.min() if self.minimize else self.truth.max())

    @property
    def unit(self) -> str:
        """The unit of true values, after a space; empty if it is not known."""
        return f" {self.settings['unit']}" if self.settings.get("unit") else ""

    @property
    def target(self) -> str:
        """The target with its unit."""
        return f"{self.settings['target']}{f' ({self.unit.strip()})' if self.unit else ''}"

    @property
    def truth_ceiling(self) -> Mapping[str, Any] | None:
        """Agreement of two training seeds."""
        found: Mapping[str, Any] | None = self.told["noise_ceiling"].get("truth")
        return found

    @property
    def again(self) -> Mapping[str, Mapping[str, Any]]:
        """Agreement of scores with themselves under another seed, by name."""
        return self.told["noise_ceiling"].get("proxies") or {}

    def kind(self, name: str) -> str:
        """Whether a score is a ``proxy``, a ``baseline``, an ``aggregate`` or a ``column``."""
        if name in self.settings.get("aggregates", ()):
            return "aggregate"
        if name in BASELINES:
            return "baseline"
        return "proxy" if self.settings.get("scores") == "measured" else "column"

    def by(self, statistic: str) -> list[Mapping[str, Any]]:
        """Rows, best first by a statistic; those without it last."""
        sign = 1 if self.minimize and statistic in VALUES else -1
        return sorted(self.rows, key=lambda row: (row[statistic] is None, sign * (row[statistic] or 0.0)))


def read_ranked(run: Path) -> list[Ranked]:
    """A finished ranking from its folder, for each of its targets.

    Raises:
        StudyError: A file is missing, damaged, or belongs to another run.
    """
    try:
        told = json.loads((run / "rank.json").read_text(encoding="utf-8"))
        targets = told.get("targets") or {told["protocol"]["target"]: told}
        with (run / "scores.csv").open(newline="", encoding="utf-8") as file:
            head, *lines = csv.reader(file)
        columns = [np.array([float(cell or "nan") for cell in column]) for column in list(zip(*lines, strict=True))[1:]]
        # By place: a score may be called like a target.
        truths, scores = columns[: len(targets)], columns[len(targets) :]
        named = dict(zip(head[1 + len(targets) :], scores, strict=True))
        names = [row["proxy"] for one in targets.values() for row in one["rows"]]
        if head[1 : 1 + len(targets)] != list(targets) or not set(names) <= set(named):
            raise ValueError("scores.csv and rank.json are of different runs")
        archs = tuple(line[0] for line in lines)
        if any(one["archs"] != len(archs) for one in targets.values()):
            raise ValueError("scores.csv and rank.json are of different architectures")
        seconds = float(told["seconds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"The ranking in {run} can't be read: {error}.", "Rank again with the same settings; scores are kept."
        ) from error
    reasons, looked = _looks(run, len(archs)) if (run / "study.db").is_file() else ({}, None)
    return [
        Ranked(one, archs, truth, named, reasons, seconds, looked)
        for one, truth in zip(targets.values(), truths, strict=True)
    ]


def _looks(run: Path, archs: int) -> tuple[dict[str, dict[str, int]], float]:
    """Why scores are missing, and the time that looking took, from the evaluations themselves."""
    counts: dict[str, Counter[str]] = {}
    looked = 0.0
    for row in read_stored(run).rows:
        if row.trial >= archs:  # those that were scored once more with another seed
            continue
        looked += max((score.cost.seconds for score in row.scores.values()), default=0.0)
        for name, score in row.scores.items():
            if not score.ok:
                reason = f"{score.status}: {score.reason}" if score.reason else score.status
                counts.setdefault(name, Counter())[reason] += 1
    return {name: dict(found) for name, found in counts.items()}, looked
