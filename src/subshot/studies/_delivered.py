"""What a search hands out keeps a limit of latency: predictions are checked by measuring before they are delivered."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from subshot.costs._latency_records import Latency
from subshot.costs._latency_source import LatencySource
from subshot.spaces._space import Space
from subshot.studies._result import Found, delivered, pareto_front

# Architectures measured at most, at one time; after that only what was measured is handed out.
_MOST = 100

# Besides the front, so many of the best are measured: trainings choose among them.
_BEST = 30


@dataclass(frozen=True)
class Delivered:
    """The architectures that are handed out.

    Attributes:
        ranked: All that may be: best first, without those measured to be too slow; measured latencies replace
            predicted ones.
        front: Those that no other beats; they and the thirty best are measured, where this machine is the device.
        report: Strict JSON values: what was measured, what was dropped, what could not be checked.
    """

    ranked: tuple[Found, ...]
    front: tuple[Found, ...]
    report: dict[str, Any]


def deliver(
    ranked: Sequence[Found],
    space: Space,
    source: LatencySource,
    limit_ms: float,
    *,
    objectives: Sequence[str] = (),
    check: bool,
) -> Delivered:
    """Measure the front and the thirty best, drop what is too slow, and go on until all of these keep the limit.

    The upper end of a latency's interval must be inside the limit, so that another measurement would say the same.

    Args:
        ranked: Architectures with predicted latencies, best first.
        space: Reads them.
        source: Measures them.
        limit_ms: The limit.
        objectives: What the front is of; the score and all costs if not given.
        check: Whether to measure anything now; a search that was interrupted doesn't.
    """
    predicted = {found.arch: found.costs["latency_ms"] for found in ranked}
    measured: dict[str, dict[str, Any]] = {}

    def note(arch: str, result: Latency) -> None:
        measured[arch] = {
            "arch": arch,
            "predicted_ms": predicted[arch],
            "ms": result.ms if result.ok else None,
            "low_ms": result.low_ms if result.ok else None,
            "high_ms": result.high_ms if result.ok else None,
            "reason": result.reason,
            "kept": result.ok and result.high_ms <= limit_ms,
        }

    for found in ranked:  # what an earlier part of this search has measured stays true
        known = source.measured(space.parse(found.arch))
        if known is not None:
            note(found.arch, known)
    left, spent, only_measured = delivered(ranked, {"measured": measured.values()}), 0, False
    front = pareto_front(left, objectives=objectives)
    while check and source.measurable and (unknown := _unmeasured([*front, *left[:_BEST]], measured)):
        some = unknown[: _MOST - spent]
        if not some:
            only_measured = True
            left = [found for found in left if found.arch in measured]
            front = pareto_front(left, objectives=objectives)
            break
        for arch, result in zip(some, source.measure([space.parse(arch) for arch in some]) or [], strict=True):
            note(arch, result)
        spent += len(some)
        left = delivered(left, {"measured": measured.values()})
        front = pareto_front(left, objectives=objectives)
    report = {
        **source.to_dict(),
        "limit_ms": limit_ms,
        "measured": list(measured.values()),
        "only_measured": only_measured,
        "unchecked": [
            found.arch for found in front if found.arch not in measured and not source.knows(space.parse(found.arch))
        ],
    }
    return Delivered(tuple(left), front, report)


def _unmeasured(wanted: Sequence[Found], measured: Container[str]) -> list[str]:
    return list(dict.fromkeys(found.arch for found in wanted if found.arch not in measured))
