"""A ranking in sentences: what was ranked, how far true values and scores agree with themselves, what was left out."""

import numpy as np

from subshot._choice import Choice
from subshot.errors import SubshotError
from subshot.studies._ranked import RankReport, RankRow

LEGEND = (
    "Kendall is tau-b, over all and within the truly best 10 % and 5 %; precision (hits) is the share of the true best "
    "5 % among the 5 % with the highest scores; first and mean of ten are true values of the highest scores."
)


def facts(report: RankReport) -> list[str]:
    """What was ranked, and what is the best to be had."""
    known = report.table.target_facts
    unit = f" {known.unit}" if known.unit else ""
    what = ", ".join(filter(None, (known.metric, known.split and f"{known.split} split", known.unit and f"in{unit}")))
    described = f"{report.table.target} ({what})" if what else report.table.target
    best = report.truth.min() if report.minimize else report.truth.max()
    wanted = "lower" if report.minimize else "higher"
    lines = [
        f"{report.archs:,} architectures of {report.settings['space']} in {report.table.name}: {report.population}.",
        f"True values: {described}, {wanted} is better; the best is {best:.4g}{unit}, "
        f"the median {np.median(report.truth):.4g}{unit}; {report.truth_ties:.2%} of pairs are tied.",
    ]
    other = _other_network(report)
    return [*lines, other] if other else lines


def notes(report: RankReport) -> list[str]:
    """How far true values and scores agree with themselves, ties and what was left out."""
    lines = []
    seeds = report.truth_ceiling
    if seeds is not None:
        lines.append(
            f"Agreement of two training seeds: Spearman {seeds.spearman} and Kendall {seeds.kendall} "
            f"({seeds.archs:,} architectures with two). {_reach(seeds.spearman.value)}"
        )
    else:
        lines.append("Agreement of two training seeds: unknown, the table has no single ones.")
    again = [row for row in report.rows if row.again is not None]
    if again:
        shown = ", ".join(f"{row.proxy} {row.again.spearman.value:.3f}" for row in again if row.again)
        lines.append(f"Agreement with itself under another seed, Spearman, {report.again:,} architectures: {shown}.")
    tied = [f"{row.proxy} {row.ties:.1%}" for row in report.rows if row.ties >= 0.01]
    if tied:
        lines.append(f"Pairs with equal scores: {', '.join(tied)}.")
    return [*lines, *_left_out(report)]


def _reach(agreement: float) -> str:
    """What a perfect score could reach: both of the two runs that were compared are noisy, and it isn't."""
    if not 0 < agreement <= 1:
        return "They don't agree, so these true values tell nothing."
    root = f"{np.sqrt(agreement):.3f}"
    return f"A perfect score reaches about the square root, Spearman {root}, against one run, and more against a mean."


def protocol(report: RankReport) -> str:
    """How scores were measured."""
    if report.protocol is not None:
        return str(report.protocol)
    return f"scores are columns of the table; parameters and MACs of the {report.settings['baselines_of']}"


def label(row: RankRow) -> str:
    """The name of a score, with what it is if that isn't plain."""
    return row.proxy if row.kind in ("proxy", "column") else f"{row.proxy} ({row.kind})"


def _left_out(report: RankReport) -> list[str]:
    lines = []
    by_reason: dict[str, list[str]] = {}
    for row in report.rows:
        for reason, count in row.reasons.items():
            by_reason.setdefault(f"{count:,} ({reason})", []).append(row.proxy)
    if by_reason:
        shown = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in by_reason.items())
        lines.append(f"Without a finite score, so left out of that row's correlations and last at the top: {shown}.")
    last = [
        f"{row.proxy} {row.ranking.spearman_all.value:.3f}" for row in report.rows if row.ranking and row.non_finite
    ]
    if last:
        lines.append(f"Spearman over all, with those tied for the last place: {', '.join(last)}.")
    undefined = [row.proxy for row in report.rows if row.ranking is None]
    if undefined:
        lines.append(f"Fewer than three finite scores: {', '.join(undefined)}.")
    left = [
        f"{count:,} {what}"
        for count, what in (
            (report.table.empty, f"rows without a value of {_targets(report)}"),
            (report.table.repeated, "rows that repeat another"),
            (report.settings["archs_not_in_table"], "members of the population that the table lacks"),
        )
        if count
    ]
    if left:
        lines.append(f"Left out: {', '.join(left)}.")
    return lines


def _targets(report: RankReport) -> str:
    return "every target" if "targets" in report.settings else "the target"


def _other_network(report: RankReport) -> str:
    """That the values are those of networks of another kind, where the table knows."""
    kinds = report.table.target_facts.networks
    if not kinds or report.protocol is None:
        return ""
    try:
        space = Choice.parse(report.settings["space"])
        trained = [Choice.parse(f"{space.name}({kind})").options for kind in kinds]
    except SubshotError:
        return ""
    if any(options.items() <= space.options.items() for options in trained):
        return ""
    scored = ", ".join(f"{key}={value}" for key, value in space.options.items() if key in trained[0])
    return (
        f"These values are of networks with {kinds[0]}, and the networks scored have {scored or 'another'}; "
        f"--space '{space.name}({kinds[0]})' scores the former."
    )
