"""What is known about a table beside its numbers: metric, unit and direction of each target, source and licence.

A table of ours has them in a small TOML file of the same name beside it; every entry is optional::

    space = "nasbench201"
    arch_column = "cell"
    source = "where the numbers are from"
    licence = "MIT"

    [targets.cifar10_test]
    metric = "accuracy"
    unit = "%"
    direction = "maximize"
    split = "test"
    seeds = ["cifar10_test_seed1", "cifar10_test_seed2"]
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from subshot.errors import DataError, OptionError, UnknownNameError

DIRECTIONS = ("maximize", "minimize")


@dataclass(frozen=True)
class TargetFacts:
    """One target of a table.

    Attributes:
        metric: What was measured, for example ``accuracy``.
        unit: Its unit, for example ``%``.
        direction: ``maximize`` or ``minimize``.
        split: The part of the data it was measured on.
        seeds: Columns of single training runs, or one column that joins the runs of an architecture by bars.
        networks: Settings of the space whose networks were trained, where it has several kinds: ``head=autoencoder``.
            Any one of them is the same network but for its outputs.
    """

    metric: str = ""
    unit: str = ""
    direction: str = "maximize"
    split: str = ""
    seeds: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableFacts:
    """What is known about a table.

    Attributes:
        space: Name of the space its architectures are of.
        arch_column: The column that holds them.
        source: Where the numbers are from.
        licence: Terms of use.
        targets: Columns that a score can be ranked against, by name; a table may have others.
    """

    space: str = ""
    arch_column: str = ""
    source: str = ""
    licence: str = ""
    targets: Mapping[str, TargetFacts] = field(default_factory=dict)


def read_facts(path: Path) -> TableFacts:
    """Read the TOML file beside a table; nothing is known where there is none.

    Raises:
        DataError: The file is no TOML, or an entry has the wrong type.
        UnknownNameError: An entry with another name.
        OptionError: A direction that is none.
    """
    if not path.is_file():
        return TableFacts()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path} can't be read: {error}.", "Mend it, or take it away: it is optional.") from error
    targets = values.pop("targets", {})
    if not isinstance(targets, dict) or not all(isinstance(one, dict) for one in targets.values()):
        raise DataError(f"'targets' in {path} is no table of tables.", "Write [targets.COLUMN] above a target's facts.")
    _check_texts(path, values, allowed={one.name for one in fields(TableFacts)} - {"targets"})
    return TableFacts(**values, targets={name: _target(path, name, one) for name, one in targets.items()})


def _target(path: Path, name: str, values: dict[str, Any]) -> TargetFacts:
    seeds = values.pop("seeds", [])
    seeds = [seeds] if isinstance(seeds, str) else seeds
    if not isinstance(seeds, list) or not all(isinstance(one, str) for one in seeds):
        raise DataError(f"'seeds' of target {name!r} in {path} names no columns.", 'Write seeds = ["a", "b"].')
    _check_texts(path, values, allowed={one.name for one in fields(TargetFacts)} - {"seeds", "networks"})
    facts = TargetFacts(**values, seeds=tuple(seeds))
    if facts.direction not in DIRECTIONS:
        raise OptionError(
            f"Target {name!r} in {path} has the direction {facts.direction!r}.", f"Write {' or '.join(DIRECTIONS)}."
        )
    return facts


def _check_texts(path: Path, values: Mapping[str, Any], *, allowed: set[str]) -> None:
    for key, value in values.items():
        if key not in allowed:
            raise UnknownNameError.of(f"entry in {path}", key, allowed)
        if not isinstance(value, str):
            raise DataError(f"{key!r} in {path} is {value!r}.", "Write a text in quotes.")
