"""A network as it is used after training: in evaluation mode, without gradients, and how long that takes."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

_WARM_UP, _RUNS, _LONGEST_S = 3, 30, 2.0


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how it compares.

    Attributes:
        file: The file.
        max_abs_difference: Largest difference of its outputs from the network's.
        latency_ms: Median time for one sample on the CPU.
    """

    file: Path
    max_abs_difference: float
    latency_ms: float


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; modes are put back."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def latency_ms(run: Callable[[], object]) -> float:
    """Median time of a call, after a few that don't count; fewer calls where two seconds are over."""
    for _ in range(_WARM_UP):
        run()
    times: list[float] = []
    while len(times) < _RUNS and (sum(times) < _LONGEST_S or not times):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference between outputs; infinite where shapes differ."""
    largest = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            return float("inf")
        if one.numel():
            largest = max(largest, float((one.cpu().double() - other.cpu().double()).abs().max()))
    return largest
