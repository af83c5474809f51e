"""A training: what the winner reached, beside a baseline, and how loss and metric went."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from subshot.errors import StudyError
from subshot.report import drawings
from subshot.report._markup import Cell, Content, Html, code, element, facts, joined, paragraph, table
from subshot.report._page import PAGES, Chapter, PageKind, Section
from subshot.report._words import plain, seconds
from subshot.report.figures import BLUE, GREEN, GREY, Axis, Column, Figure, Trace, View, numbers
from subshot.report.terminal import magnitude

_FILE = "train.json"
_COLOURS = {"winner": GREEN, "baseline": BLUE}


def found_in(run: Path) -> bool:
    """Whether a folder holds a finished training."""
    return (run / _FILE).is_file()


def chapters(run: Path) -> Sequence[Chapter]:
    """The one chapter of a run folder.

    Raises:
        StudyError: The file can't be read.
    """
    path = run / _FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return [chapter(told)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} can't be read: {error}.", "Train again; the checkpoints are kept.") from error


PAGES.register("train", PageKind("train", found_in, chapters, place=10))


def chapter(told: Mapping[str, Any]) -> Chapter:
    """A training, told by what ``train.json`` holds."""
    networks = told["networks"]
    trials = [one for one in networks if one["role"] == "trial"]
    full = [one for one in networks if one["role"] != "trial"]
    metric, split = told["metric"], told["split"]
    summary = f"{_metric(metric)} {_number(told['value'])} on the {split} part, after {told['epochs']} epochs."
    sections = [
        Section("Trained network", _winner(told, full)),
        Section("Networks compared", _table(full, "By the same recipe, data, seed and number of epochs")),
        Section("Training curves", figures=_curves(full, metric)),
        Section("Trials", _table(trials, f"The best of {len(trials)} candidates was trained")) if trials else None,
        Section("How it was trained", _how(told, full[0])),
    ]
    title = f"Training of {told['settings'].get('space', 'the winner')}"
    return Chapter(title, paragraph(summary), tuple(one for one in sections if one))


def _winner(told: Mapping[str, Any], full: Sequence[Mapping[str, Any]]) -> Html:
    winner = full[0]
    pairs: list[tuple[str, Content]] = [
        (f"{told['metric']} on the {told['split']} part", _number(told["value"])),
        ("on the validation part", _number(winner["value"])),
        ("weights of epoch", f"{winner['best_epoch']} of {winner['epochs']}"),
        ("parameters", magnitude(winner["params"])),
        ("weights", code(Path(told["weights"]).name)),
    ]
    if winner["stopped"]:
        pairs.append(("ended early", "nothing got better any more"))
    drawn = drawings.with_text(str(told["settings"].get("space", "")), winner["text"])
    return element("div", element("div", drawn), facts(pairs), attributes={"class": "beside"})


def _table(networks: Sequence[Mapping[str, Any]], label: str) -> Html:
    rows: list[list[Content | Cell]] = [
        [
            one["role"],
            _cell(one["value"]),
            _cell(one["test"]),
            Cell(magnitude(one["params"]), float(one["params"])),
            Cell(f"{one['epochs']:,}", one["epochs"]),
            Cell(seconds(one["seconds"]), float(one["seconds"])),
            joined([code(one["text"]), f" {one['failed']}" if one["failed"] else ""]),
        ]
        for one in networks
    ]
    head = ["network", "validation", "test", "parameters", "epochs", "time", "architecture"]
    return joined([paragraph(f"{label}."), table(head, rows, label=label, texts=[0, 6])])


def _cell(value: float | None) -> Cell:
    return Cell(_number(value), value)


def _curves(networks: Sequence[Mapping[str, Any]], metric: str) -> tuple[Figure, ...]:
    """Metric and losses by epoch, one line for each network and part."""
    shown = [one for one in networks if one["losses"]]
    if not shown:
        return ()
    columns: dict[str, list[Any]] = {"epoch": [], "network": [], "metric": [], "watched": [], "trained": []}
    rows: dict[str, tuple[int, ...]] = {}
    for place, one in enumerate(shown):
        taken = sum(other["role"] == one["role"] for other in shown[:place])
        name = f"{one['role']} {taken + 1}" if taken else one["role"]
        first, count = len(columns["epoch"]), one["epochs"]
        columns["epoch"] += [float(epoch) for epoch in range(1, count + 1)]
        columns["network"] += [name] * count
        columns["metric"] += one["validation"]
        columns["watched"] += one["validation_losses"]
        columns["trained"] += one["losses"]
        rows[name] = tuple(range(first, first + count))
    final: dict[str, Column] = {"epoch": columns["epoch"], "network": columns["network"]}
    final |= {name: numbers(columns[name]) for name in ("metric", "watched", "trained")}
    colours = {role: _COLOURS.get(role, GREY) for role in rows}
    judged = tuple(Trace(role, "epoch", "metric", mode="line", colour=colours[role], rows=rows[role]) for role in rows)
    lost = tuple(
        Trace(f"{role}, {name}", "epoch", column, mode="line", colour=colours[role], rows=rows[role], dashed=dashed)
        for role in rows
        for column, name, dashed in (("watched", "validation", False), ("trained", "training", True))
    )
    views = (
        View(metric, Axis("epoch"), Axis(f"{metric} on the validation part"), judged),
        View("loss", Axis("epoch"), Axis("loss"), lost),
    )
    fields = (("network", "network"), ("epoch", "epoch"), (metric, "metric"), ("validation loss", "watched"))
    caption = "Training losses are those of augmented samples, with what the recipe adds to them."
    return (
        Figure(
            name="training",
            title="Training curves",
            views=views,
            columns=final,
            fields=(*fields, ("training loss", "trained")),
            caption=caption,
        ),
    )


def _how(told: Mapping[str, Any], winner: Mapping[str, Any]) -> Html:
    settings = {key: value for key, value in told["settings"].items() if value is not None and key != "recipe"}
    pairs: list[tuple[str, Content]] = [(key.replace("_", " "), plain(value)) for key, value in settings.items()]
    recipe: list[tuple[str, Content]] = [
        (key.replace("_", " "), plain(value)) for key, value in winner["recipe"].items()
    ]
    return joined([_columns(pairs), element("h3", "Recipe"), _columns(recipe)])


def _columns(pairs: Sequence[tuple[str, Content]]) -> Html:
    return element("div", facts(pairs), attributes={"class": "columns"})


def _metric(name: str) -> str:
    return name[:1].upper() + name[1:]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
