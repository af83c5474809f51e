"""``subshot list``: what there is, by name."""

from typing import Annotated

import typer

from subshot.cli._options import Json
from subshot.cli._output import add_row, print_json, result_console, table
from subshot.errors import UnknownNameError

# Rows, whose first value is the name, and column titles.
_Listing = tuple[list[tuple[str, ...]], tuple[str, ...]]


def list_names(
    kind: Annotated[
        str, typer.Argument(help="spaces, proxies, aggregators, strategies, benchmarks, trackers or data.")
    ],
    as_json: Json = False,
) -> None:
    """List the spaces, proxies, aggregators, strategies, benchmarks, trackers or data sets by name."""
    kinds = {
        "spaces": _spaces,
        "proxies": _proxies,
        "aggregators": _aggregators,
        "strategies": _strategies,
        "benchmarks": _benchmarks,
        "trackers": _trackers,
        "data": _data,
    }
    if kind not in kinds:
        raise UnknownNameError.of("kind of things to list", kind, kinds)
    rows, columns = kinds[kind]()
    if as_json:
        print_json({kind: [row[0] for row in rows]})
        return
    made = table(*columns)
    for row in rows:
        add_row(made, *row)
    result_console(as_json=False).print(made)


def _spaces() -> _Listing:
    from subshot.spaces._space import get_space, list_spaces, space_settings

    rows: list[tuple[str, ...]] = []
    for name in list_spaces():
        space = get_space(name)
        settings = ", ".join(f"{key}={value}" for key, value in space_settings(space).items())
        rows.append((name, f"{space.size:.4g}", ", ".join(space.variants), settings))
    return rows, ("space", "architectures", "variants", "settings")


def _proxies() -> _Listing:
    from subshot.proxies._proxy import get_proxy, list_proxies

    rows: list[tuple[str, ...]] = []
    for name in list_proxies():
        info = get_proxy(name)
        options = ", ".join(f"{key}={value}" for key, value in info.defaults.items())
        rows.append((name, info.formula, info.paper, "yes" if info.labels else "no", options))
    return rows, ("proxy", "formula", "paper", "labels", "options")


def _aggregators() -> _Listing:
    from subshot.aggregators import get_aggregator, list_aggregators

    rows: list[tuple[str, ...]] = []
    for name in list_aggregators():
        info = get_aggregator(name)
        rows.append((name, info.formula, info.paper, ", ".join(info.reads) or "any"))
    return rows, ("aggregator", "formula", "paper", "proxies")


def _benchmarks() -> _Listing:
    from subshot.benchmarks._benchmark import get_benchmark, list_benchmarks

    rows: list[tuple[str, ...]] = []
    for name in list_benchmarks():
        entry = get_benchmark(name)
        rows.append((name, entry.title, entry.facts.licence))
    return rows, ("table", "content", "licence")


def _strategies() -> _Listing:
    from subshot.strategies._strategy import STRATEGIES

    rows: list[tuple[str, ...]] = []
    for name in STRATEGIES:
        info = STRATEGIES.get(name)
        rows.append((name, info.paper, ", ".join(f"{key}={value}" for key, value in info.defaults.items())))
    return rows, ("strategy", "paper", "options")


def _trackers() -> _Listing:
    from subshot.trackers._tracker import list_trackers

    return [(name,) for name in list_trackers()], ("tracker",)


def _data() -> _Listing:
    from subshot.data import data_table

    rows: list[tuple[str, ...]] = [(row.name, row.kind, "yes" if row.found else "no") for row in data_table()]
    return rows, ("data set", "kind", "found")
