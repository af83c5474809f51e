"""A warm-up: what it cost beside one-shot training, how the loss fell, and how it was done."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from subshot.errors import StudyError
from subshot.report._markup import Content, Html, code, element, facts, joined, paragraph
from subshot.report._page import PAGES, Chapter, PageKind, Section
from subshot.report._words import plain, seconds
from subshot.report.figures import BLUE, GREY, Axis, Figure, Trace, View, numbers, wide
from subshot.report.pages._warm_up_cost import beside_one_shot
from subshot.training._header import read_header

_ENDING = ".safetensors"

# The running mean is over this share of the points, before each.
_WINDOW = 0.1


def found_in(run: Path) -> bool:
    """Whether a folder holds a supernet that was warmed up, or a file is one."""
    return any(True for _ in _headers(run))


def chapters(run: Path) -> Sequence[Chapter]:
    """A chapter for each supernet.

    Raises:
        StudyError: What a file says of itself is damaged.
    """
    told = []
    for path, header in _headers(run):
        try:
            told.append(chapter(path.name, header))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StudyError(f"{path} can't be told: {error!r}.", "Warm up again; it may be damaged.") from error
    return told


PAGES.register("warm-up", PageKind("warm-up", found_in, chapters, place=5))


def _headers(run: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    files = [run] if run.is_file() else sorted(run.glob(f"*{_ENDING}"))
    headers = [(path, read_header(path, "supernet")) for path in files if path.suffix == _ENDING]
    return [(path, header) for path, header in headers if header is not None and header.get("warm_up")]


def chapter(file: str, header: Mapping[str, Any]) -> Chapter:
    """A warm-up, told by the header of its supernet's file.

    Args:
        file: Name of the file.
        header: As :func:`subshot.training._header.read_header` gives it.
    """
    told = header["warm_up"]
    settings = told["settings"]
    everything = settings.get("data samples")
    share = f", {100 * told['samples'] / everything:.3g} % of the data" if everything else ""
    summary = (
        f"{told['steps']:,} steps on {told['samples']:,} samples{share}, in {seconds(told['seconds'])}; training loss "
        f"{told['loss']:.4g} at the end."
    )
    curve = _curve(header.get("curve"))
    sections = [
        Section("Supernet", _supernet(file, header)),
        Section("Cost", beside_one_shot(told)),
        Section("Training loss", figures=curve)
        if curve
        else Section("Training loss", paragraph("The file was written by an older version, which didn't keep it.")),
        Section("How it was warmed up", _how(settings)),
    ]
    return Chapter(f"Warm-up of {header['space']}", paragraph(summary), tuple(sections))


def _supernet(file: str, header: Mapping[str, Any]) -> Html:
    told = header["warm_up"]
    pairs: list[tuple[str, Content]] = [
        ("file", code(file)),
        ("weights", f"warm:{header['digest']}"),
        ("network", str(header["variant"])),
        ("training loss, mean of the last tenth", f"{told['loss']:.4g}"),
        ("made by", f"subshot {header['version']}"),
    ]
    used = joined(["Searches, rankings and scores take its weights with ", code(f"--weights {file}"), "."])
    return joined([facts(pairs), paragraph(used)])


def _curve(curve: Mapping[str, Sequence[float]] | None) -> tuple[Figure, ...]:
    if not curve or not curve["step"]:
        return ()
    step, loss = curve["step"], curve["loss"]
    each = step[0]
    width = max(1, round(_WINDOW * len(loss)))
    smooth = [sum(loss[max(0, end - width) : end]) / (end - max(0, end - width)) for end in range(1, len(loss) + 1)]
    told = f"A point is the mean of about {each:,.0f} steps" if each > 1 else "A point is a step, along its own paths"
    caption = f"{told}; the running mean is that of {width:,} points up to it."
    view = View(
        "loss",
        Axis("step"),
        Axis("training loss", log=wide(loss)),
        (
            Trace("training loss", "step", "loss", size=4, colour=GREY, opacity=0.7),
            Trace("running mean", "step", "smooth", mode="line", colour=BLUE),
        ),
    )
    return (
        Figure(
            name="loss",
            title="Training loss",
            views=(view,),
            columns={"step": numbers(step, 12), "loss": numbers(loss), "smooth": numbers(smooth)},
            fields=(("step", "step"), ("training loss", "loss"), ("running mean", "smooth")),
            caption=caption,
            height=340,
        ),
    )


def _how(settings: Mapping[str, Any]) -> Html:
    """What decided the result; the optimiser's settings below the rest."""
    pairs: list[tuple[str, Content]] = [
        (key.replace("_", " "), shown)
        for key, value in settings.items()
        if key not in ("recipe", "task") and (shown := plain(value))
    ]
    recipe: list[tuple[str, Content]] = [
        (key.replace("_", " "), shown) for key, value in settings["recipe"].items() if (shown := plain(value))
    ]
    return joined([_columns(pairs), element("h3", "Recipe"), _columns(recipe)])


def _columns(pairs: Sequence[tuple[str, Content]]) -> Html:
    return element("div", facts(pairs), attributes={"class": "columns"})
