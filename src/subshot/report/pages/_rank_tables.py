"""The tables of a ranking: statistics, what happens inside limits, noise, and the protocol."""

from collections.abc import Mapping, Sequence
from typing import Any

from subshot.benchmarks.ranking import STATISTICS
from subshot.errors import UnknownNameError
from subshot.report._markup import Cell, Content, Html, element, facts, joined, listing, name, paragraph, table
from subshot.report._words import protocol_facts, seconds
from subshot.report.pages._ranking import VALUES, Ranked
from subshot.report.terminal import magnitude
from subshot.studies._ranked import tied_share

TITLES = {
    "spearman": "Spearman",
    "kendall": "Kendall",
    "kendall_top10": "in best 10 %",
    "kendall_top5": "in best 5 %",
    "precision_top5": "hits 5 %",
    "top1": "first",
    "top10_mean": "mean of ten",
    "spearman_all": "Spearman, all",
}
LEGEND = (
    "Kendall is tau-b, over all and within the truly best 10 % and 5 %; hits are the share of the true best 5 % among "
    "the 5 % with the highest scores; first and mean of ten are true values of the highest scores. Square brackets "
    "hold 95 % bootstrap intervals over architectures. Baselines stand out: a score that beats neither knows nothing "
    "but size. Ties are the share of pairs with equal scores; Spearman, all, is the correlation with missing scores in "
    "the last place; second seed is the agreement of a score with itself under other weights and another batch."
)
_SIZES = ("params", "macs")

Row = list[Content | Cell]


def statistics(ranked: Ranked) -> Html:
    """All statistics of all scores, by falling Spearman correlation."""
    incomplete = any(row["non_finite"] and "spearman_all" in row for row in ranked.rows)
    shown = [*STATISTICS, *(["spearman_all"] if incomplete else [])]
    again = ranked.again
    rows: list[Row] = []
    for row in ranked.by("spearman"):
        ties = row.get("ties", tied_share(ranked.scores[row["proxy"]]))
        cells: Row = [_score(ranked, row["proxy"]), *(estimate(row, statistic) for statistic in shown)]
        cells += [Cell(f"{row['non_finite']:,}", row["non_finite"]), Cell(f"{ties:.1%}", ties)]
        if again:
            cells.append(estimate(again[row["proxy"]], "spearman") if row["proxy"] in again else Cell("-", None))
        rows.append(cells)
    head = ["score", *(TITLES[one] for one in shown), "no score", "ties", *(["second seed"] if again else [])]
    label = "Scores by their agreement with the true values"
    return table(head, rows, label=label, marked=_baselines(ranked, ranked.by("spearman")))


def bands(ranked: Ranked) -> Html | None:
    """Correlation and first choices inside each limit; ``None`` if none was asked for."""
    found = ranked.told.get("bands") or []
    if not found:
        return None
    heads = [f"{_limit(band)} ({band['archs']:,})" for band in found]
    by_name = [{row["proxy"]: row for row in band["rows"]} for band in found]
    order = ranked.by("spearman")
    agreement: list[Row] = [
        [_score(ranked, row["proxy"]), *(estimate(inside[row["proxy"]], "spearman") for inside in by_name)]
        for row in order
    ]
    firsts: list[Row] = [
        ["best there is", *(Cell(digits("top1", band["best"]), band["best"]) for band in found)],
        ["random choice, mean", *(Cell(digits("top1", band["random_mean"]), band["random_mean"]) for band in found)],
    ]
    for row in order:
        firsts.append([_score(ranked, row["proxy"]), *(_first(inside[row["proxy"]]) for inside in by_name)])
    one, two = (
        "Spearman correlation inside each limit",
        f"True value of the first choice inside each limit, {ranked.target}",
    )
    explained = (
        "A search with a bound on cost sees only a part of the space. In brackets the number of architectures. A score "
        "whose first choice there is worse than the mean of the part has done worse than chance."
    )
    marked = _baselines(ranked, order)
    return joined(
        [
            paragraph(explained),
            element("h3", one),
            table(["score", *heads], agreement, label=one, marked=marked),
            element("h3", two),
            table(["score", *heads], firsts, label=two, marked=[0, 1]),
        ]
    )


def notes(ranked: Ranked) -> Html:
    """Ceilings, ties, and what has no score for which reason."""
    settings, ceiling = ranked.settings, ranked.truth_ceiling
    lines: list[Content] = []
    if ceiling:
        lines.append(
            f"Agreement of two training seeds: Spearman {_with_interval(ceiling, 'spearman')} and Kendall "
            f"{_with_interval(ceiling, 'kendall')} ({ceiling['archs']:,} architectures with two)."
        )
    else:
        lines.append("Agreement of two training seeds: unknown, the table has none.")
    if ranked.again:
        count = max(one["archs"] for one in ranked.again.values())
        lines.append(
            f"Agreement of scores with themselves under a second seed was measured on {count:,} architectures."
        )
    lines.append(f"{tied_share(ranked.truth):.2%} of the pairs of true values are tied.")
    left = [
        f"{settings[key]:,} {what}"
        for key, what in (
            ("rows_without_value", "rows without a value of the target"),
            ("rows_repeated", "rows that repeat another"),
            ("archs_not_in_table", "members of the population that the table lacks"),
        )
        if settings.get(key)
    ]
    if left:
        lines.append(f"Left out: {', '.join(left)}.")
    missing: list[Row] = [
        [name(row["proxy"]), Cell(f"{count:,}", count), reason]
        for row in ranked.rows
        if row["non_finite"]
        for reason, count in ranked.reasons.get(row["proxy"], {"no value": row["non_finite"]}).items()
    ]
    if not missing:
        return listing([*lines, "Every architecture has every score."])
    label = "Architectures without a finite score: left out of that row's correlations, last at the top"
    return joined(
        [
            listing(lines),
            paragraph(f"{label}:"),
            table(["score", "architectures", "reason"], missing, label=label, texts=[0, 2]),
        ]
    )


def protocol(ranked: Ranked) -> Html:
    """Everything that another ranking must share to be compared, and what this one took."""
    told: list[tuple[str, Content]] = [*_source(str(ranked.settings["table"]))]
    told.append(("wall time of the last run", seconds(ranked.seconds)))
    if ranked.looked is not None:
        told.append(("looks at networks, summed over workers", seconds(ranked.looked)))
        told.append(("one architecture, on average", seconds(ranked.looked / max(1, len(ranked.archs)))))
    return joined([protocol_facts({}, ranked.settings), facts(told)])


def digits(statistic: str, value: float) -> str:
    """A statistic as it stands in tables."""
    return f"{value:#.4g}" if statistic in VALUES else f"{value:.3f}".replace("-0.000", "0.000")


def estimate(row: Mapping[str, Any], statistic: str) -> Cell:
    """A statistic with its interval below it."""
    value, (low, high) = row[statistic], row[f"{statistic}_ci"]
    if value is None:
        return Cell("-", None)
    shown: list[Content] = [digits(statistic, value)]
    if low is not None and high is not None:
        shown.append(element("small", f"[{digits(statistic, low)}, {digits(statistic, high)}]"))
    return Cell(joined(shown), value)


def _score(ranked: Ranked, score: str) -> Html:
    """A name, with what it is if that isn't plain."""
    kind = ranked.kind(score)
    return joined([name(score), *([element("small", kind)] if kind in ("baseline", "aggregate") else [])])


def _baselines(ranked: Ranked, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    return [number for number, row in enumerate(rows) if ranked.kind(row["proxy"]) == "baseline"]


def _limit(band: Mapping[str, Any]) -> str:
    """A limit in words."""
    low, high = (
        None if end is None else magnitude(end).replace(" ", "") if band["cost"] in _SIZES else f"{end:.4g}"
        for end in (band["low"], band["high"])
    )
    if low is None or high is None:
        return f"{band['cost']} {f'<= {high}' if low is None else f'>= {low}'}"
    return f"{band['cost']} {low} to {high}"


def _first(row: Mapping[str, Any]) -> Cell:
    if row["top1"] is None:
        return Cell("-", None)
    shown: list[Content] = [digits("top1", row["top1"])]
    if row["worse_than_random"]:
        shown.append(element("small", "worse than random", attributes={"class": "bad"}))
    return Cell(joined(shown), row["top1"])


def _with_interval(values: Mapping[str, Any], statistic: str) -> str:
    value, (low, high) = values[statistic], values[f"{statistic}_ci"]
    if value is None:
        return "-"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _source(of: str) -> list[tuple[str, Content]]:
    """Source and licence of a published table."""
    from subshot.benchmarks._benchmark import get_benchmark

    try:
        known = get_benchmark(of).facts
    except UnknownNameError:
        return []
    return [("source of the table", known.source or "not stated"), ("its licence", known.licence or "not stated")]
