"""What a warm-up took beside one-shot training, which trains the supernet to the end: for warm-ups and searches."""

from collections.abc import Mapping
from typing import Any

from subshot.report._markup import Cell, Content, Html, joined, paragraph, table
from subshot.report._words import seconds
from subshot.report.terminal import magnitude

# Passes over the data that one-shot methods take; DARTS trains its supernet for 50 epochs (arXiv 1806.09055, 3.1).
_PASSES = (1, 50)


def beside_one_shot(warm_up: Mapping[str, Any]) -> Html:
    """A table of what the warm-up took, and what all the data would take.

    Args:
        warm_up: As in a study or the header of a supernet's file.
    """
    everything = warm_up["settings"].get("data samples")
    rows = [_row("this warm-up", warm_up, 1.0)]
    if everything:
        share = everything / warm_up["samples"]
        rows += [
            _row(f"one-shot, {passes} pass{'es' if passes > 1 else ''}", warm_up, passes * share) for passes in _PASSES
        ]
    label = "The warm-up beside one-shot training"
    head = ["training", "times as much", "time", "MACs forward", "samples", "paths"]
    told = (
        "One-shot training passes over all the data, and is estimated from the warm-up at the same cost of a step; 50 "
        "passes are what DARTS takes. Backward passes take about twice as many MACs more."
    )
    return joined([table(head, rows, label=label), paragraph(told) if everything else ""])


def _row(name: str, warm_up: Mapping[str, Any], times: float) -> list[Content | Cell]:
    samples, passes, macs, time = (times * warm_up[key] for key in ("samples", "passes", "macs", "seconds"))
    return [
        name,
        Cell(f"{times:,.3g}", times),
        Cell(seconds(time), time),
        Cell(magnitude(macs), macs),
        Cell(f"{samples:,.0f}", samples),
        Cell(f"{passes:,.0f}", passes),
    ]
