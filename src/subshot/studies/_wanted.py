"""What a ranking is asked to do: the architectures, their true values, and the limits to look inside."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot._choice import Choice
from subshot.benchmarks._populations import Chosen
from subshot.benchmarks._table import Table
from subshot.benchmarks.limits import Limit, quantile_limits
from subshot.errors import OptionError
from subshot.spaces._space import Measurable, Space, resolve_variant, space_settings

# Costs that a space counts itself, by the field of its sizes; they win over columns of the same name.
COUNTED = {"params": "parameters", "macs": "macs"}


class Wanted:
    """The architectures to rank and their true values.

    Attributes:
        space: Whose architectures they are.
        tables: The table, once for each target; all have the same rows.
        chosen: Which of these are ranked.
        archs: The architectures.
        texts: Their canonical texts.
        archs_digest: Digest of the texts.
        seed: Seed of everything random.
    """

    def __init__(
        self, space: Space, tables: Sequence[Table], chosen: Chosen, *, minimize: bool | None, seed: int
    ) -> None:
        self.space, self.tables, self.chosen, self.seed = space, tables, chosen, seed
        self._minimize = minimize
        table = tables[0]
        self.archs = [table.archs[row] for row in chosen.rows]
        self.texts = [table.texts[row] for row in chosen.rows]
        self.archs_digest = digest(self.texts)

    def minimize(self, table: Table) -> bool:
        """Whether low true values of a table are good."""
        return table.target_facts.direction == "minimize" if self._minimize is None else self._minimize

    def settings(self, table: Table) -> dict[str, Any]:
        """What is ranked, in JSON values."""
        return {
            "space": str(Choice(self.space.name, space_settings(self.space))),
            "table": table.name,
            "table_digest": table.digest,
            "target": table.target,
            "metric": table.target_facts.metric,
            "unit": table.target_facts.unit,
            "split": table.target_facts.split,
            "direction": "minimize" if self.minimize(table) else "maximize",
            "population": self.chosen.label,
            "archs_digest": self.archs_digest,
            "rows_without_value": table.empty,
            "rows_repeated": table.repeated,
            "archs_not_in_table": self.chosen.absent,
            **({"targets": [one.target for one in self.tables]} if len(self.tables) > 1 else {}),
        }

    def folder(self, out: Any, settings: Mapping[str, Any]) -> Path | None:
        """The run folder; the same scores and targets have the same, whatever else is asked of them."""
        if callable(out):
            targets = ", ".join(table.target for table in self.tables)
            ranked = [self.tables[0].digest, targets, self.archs_digest]
            return Path(out(digest({"ranked": ranked, "scores": settings})))
        return None if out is None else Path(out)

    def costs(self, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Costs of the architectures by name: parameters and MACs of the network that is trained, or columns.

        Raises:
            OptionError: The space counts no parameters and MACs, and the table has no such column.
        """
        table, space = self.tables[0], self.space
        counted = [name for name in names if name in COUNTED and name not in table.costs]
        found = {name: table.costs[name][self.chosen.rows] for name in names if name in table.costs}
        if counted and isinstance(space, Measurable):
            trained = resolve_variant(space, None)
            sizes = [space.measure(arch, variant=trained) for arch in self.archs]
            found |= {name: np.array([getattr(size, COUNTED[name]) for size in sizes], float) for name in counted}
        return found


def cost_columns(space: Space, names: Sequence[str]) -> list[str]:
    """The costs among ``names`` that are columns of a table, as the space doesn't count them itself."""
    return [name for name in dict.fromkeys(names) if not (isinstance(space, Measurable) and name in COUNTED)]


def read_bands(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Costs and numbers of bands: ``params:4``.

    Raises:
        OptionError: Another form, or fewer than two bands.
    """
    found = []
    for text in texts:
        cost, _, count = text.rpartition(":")
        if not cost or not count.strip().isdecimal() or int(count) < 2:
            raise OptionError(f"{text!r} asks for no bands.", "Write params:4, or a column of the table and a number.")
        found.append((cost.strip(), int(count)))
    return found


def find_limits(
    within: Sequence[Limit], bands: Sequence[tuple[str, int]], costs: Mapping[str, NDArray[np.float64]]
) -> list[Limit]:
    """The limits asked for, then those of the bands; each has an architecture inside.

    Raises:
        OptionError: Nothing is inside one of them.
    """
    limits = [*within]
    for cost, count in bands:
        limits += quantile_limits(cost, costs[cost], count)
    for limit in limits:
        limit.check(costs[limit.cost])
    return limits


def digest(values: object) -> str:
    """Twelve hex digits that stand for JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
