"""A ranking: every statistic with its interval beside the baselines, inside limits, and scores against true values."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from subshot.report._markup import Content, Html, listing, paragraph
from subshot.report._page import PAGES, Chapter, PageKind, Section
from subshot.report.pages._rank_figures import cloud, forest
from subshot.report.pages._rank_tables import LEGEND, bands, notes, protocol, statistics
from subshot.report.pages._ranking import Ranked, read_ranked

_AGREEMENT = ("spearman", "kendall", "kendall_top10", "kendall_top5")
_TOP = ("top10_mean", "top1", "precision_top5")


def found_in(run: Path) -> bool:
    """Whether a folder holds a finished ranking."""
    return (run / "rank.json").is_file() and (run / "scores.csv").is_file()


def chapters(run: Path) -> Sequence[Chapter]:
    """A chapter for each target.

    Raises:
        StudyError: The folder can't be read.
    """
    return [chapter(ranked) for ranked in read_ranked(run)]


PAGES.register("rank", PageKind("rank", found_in, chapters, place=10))


def chapter(ranked: Ranked) -> Chapter:
    """A ranking against one target, told."""
    limits = bands(ranked)
    sections = [
        Section("Scores", statistics(ranked), below=paragraph(LEGEND)),
        Section("Agreement with the true values", figures=forest(ranked, "agreement", _AGREEMENT)),
        Section("Top of the list", figures=forest(ranked, "top", _TOP)),
        Section("Inside limits", limits) if limits is not None else None,
        Section("Score against true value", figures=cloud(ranked)),
        Section("Noise, ties and what was left out", notes(ranked)),
        Section("Protocol", protocol(ranked)),
    ]
    table = Path(str(ranked.settings["table"])).name
    return Chapter(
        f"Ranking against {ranked.settings['target']} of {table}",
        _summary(ranked),
        tuple(section for section in sections if section is not None),
    )


def _summary(ranked: Ranked) -> Html:
    settings = ranked.settings
    known = ", ".join(filter(None, (settings.get("metric"), settings.get("split") and f"{settings['split']} split")))
    described = f"{settings['target']}{f' ({known})' if known else ''}"
    lines: list[Content] = [
        f"{len(ranked.archs):,} architectures of {settings['space']}: {settings['population']}.",
        f"True values: {described}, {'lower' if ranked.minimize else 'higher'} is better; the best is "
        f"{ranked.best:.4g}{ranked.unit}, the median {np.median(ranked.truth):.4g}{ranked.unit}.",
    ]
    beaten = _beaten(ranked)
    return listing([*lines, beaten] if beaten else lines)


def _beaten(ranked: Ranked) -> str:
    """How many scores do better than size."""
    known = {row["proxy"]: row["spearman"] for row in ranked.rows if row["spearman"] is not None}
    sizes = [value for name, value in known.items() if ranked.kind(name) == "baseline"]
    others = {name: value for name, value in known.items() if ranked.kind(name) != "baseline"}
    if not sizes or not others:
        return ""
    above = sum(value > max(sizes) for value in others.values())
    best = max(others, key=lambda name: others[name])
    return (
        f"{above:,} of {len(others):,} scores agree better with the true values than both baselines do "
        f"(Spearman {max(sizes):.3f}); the best is {best} with {others[best]:.3f}."
    )
