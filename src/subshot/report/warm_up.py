"""A warm-up in the terminal: its progress, and what it cost beside one-shot training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from subshot.report._progress import ProgressLine

if TYPE_CHECKING:
    from subshot.training._fit import FitState


class WarmUpProgress(ProgressLine):
    """A live line: steps, rate, time left, loss.

    Args:
        console: Where to draw.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console, "warm-up")

    def update(self, state: "FitState") -> None:
        """Show how far the warm-up is."""
        show_training(self, state)


def show_training(line: ProgressLine, state: "FitState", *, stage: str = "") -> None:
    """Show steps, their rate and the loss on a line of progress."""
    rate = f"{state.step / state.seconds:.1f}/s" if state.step and state.seconds > 0 else "starting"
    loss = f"loss {state.loss:.3f}" if state.step else "loss -"
    plain = f"{rate}, {loss}"
    line.show(state.step, state.steps, seconds=state.seconds, stage=stage, rate=rate, note=loss, plain=plain)


def warm_up_cost(warm_up: Mapping[str, Any]) -> str:
    """One sentence: what a warm-up took, and how much less that is than passing over all the data once.

    Args:
        warm_up: As in a study or the header of a supernet's file.
    """
    samples, everything = warm_up["samples"], warm_up["settings"].get("data samples")
    text = (
        f"Warm-up: {samples:,} samples along {warm_up['passes']:,} paths, {warm_up['macs'] / 1e9:,.3g} GMACs forward, "
        f"{warm_up['seconds']:.1f} s, training loss {warm_up['loss']:.3f}"
    )
    if not everything:
        return f"{text}."
    return f"{text}; one-shot training that passes over the data once takes {everything / samples:,.3g} times as much."
