"""``subshot status``: how far the work in a run folder is, and what continues it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from subshot.cli._options import Json
from subshot.cli._output import number, print_json, result_console


def status(
    run: Annotated[Path, typer.Argument(help="Run folder of a search, a ranking or a training.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Tell what a run folder holds, how far it is, the best so far, and which command continues it.

    Nothing is changed, and the run may be going on in another process.
    """
    from subshot.studies.status import read_status

    found = read_status(run)
    if as_json:
        print_json(found.to_dict())
        return
    console = result_console(as_json=False)
    tell = {"search": _search, "rank": _rank, "warm_up": _warm_up, "train": _train}
    lines = [line for name, part in found.parts.items() for line in tell[name](part)]
    lines += [f"Files: {', '.join(found.files)}."] if found.files else []
    lines += [f"Next: {found.continued_by}"] if found.continued_by else [found.note] if found.note else []
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _search(part: Mapping[str, Any]) -> list[str]:
    wanted = f" of {part['budget']:,}" if part["budget"] else ""
    failed = f", {part['failed']:,} of them without a score" if part["failed"] else ""
    lines = [
        f"Search of {part['space']} by {part['strategy']}: {part['state']}, "
        f"{part['evaluations']:,}{wanted} architectures{failed}{_ago(part)}."
    ]
    best = part["best"]
    if best is not None:
        costs = "".join(f", {name} {number(value)}" for name, value in best["costs"].items())
        lines.append(f"  Best {part['objective']} {number(best['score'])}{costs}: {best['arch']}")
    return lines


def _rank(part: Mapping[str, Any]) -> list[str]:
    wanted = f" for {part['archs']:,} architectures" if part["archs"] else ""
    scores = f"{part['evaluations']:,} looks{wanted}"
    return [f"Ranking of {part['space']} by {', '.join(part['proxies'])}: {part['state']}, {scores}{_ago(part)}."]


def _warm_up(part: Mapping[str, Any]) -> list[str]:
    steps = "" if part["steps"] is None else f", {part['step']:,} of {part['steps']:,} steps"
    return [f"Warm-up: {part['state']}{steps}{_ago(part)}."]


def _train(part: Mapping[str, Any]) -> list[str]:
    if part["state"] == "done":
        told = f"{part['metric']} {number(part['value'], 4)} on the {part['split']} part"
        return [f"Training: done, {told}, {part['epochs']:,} epochs{_ago(part)}."]
    lines = [f"Training: unfinished{_ago(part)}."]
    for one in part["networks"]:
        lines.append(
            f"  {one['role']}: {one['epochs']:,} of {one['wanted']:,} epochs, loss {number(one['loss'], 4)}, "
            f"validation {number(one['validation'], 4)}"
        )
    return lines


def _ago(part: Mapping[str, Any]) -> str:
    """How long ago something was written."""
    seconds = part["seconds_since"]
    if seconds is None:
        return ""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f", last written {seconds / size:.0f} {unit} ago"
    return f", last written {seconds:.0f} s ago"
