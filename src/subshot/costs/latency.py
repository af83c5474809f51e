"""Latency of networks, measured on this machine.

Times of neighbours are compared, so all networks of a group are kept ready and take turns: in each round, in an order
of its own, each runs once untimed and then some times in a row. The value is the median over rounds of the rounds'
medians; its interval is made of two of these medians so that it covers the true one with 95 % probability whatever
their distribution, as far as the number of rounds allows. A reference network that runs in every round tells whether
the machine kept its pace.
"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import torch
from scipy.stats import binom
from torch import nn

from subshot._seeds import stable_rng
from subshot._types import Arch, TaskSpec
from subshot.costs._latency_records import Latencies, Latency, LatencyProtocol
from subshot.costs._runners import Runner, check_backend, make_runner
from subshot.costs._trace import trace_architecture
from subshot.costs.memory import available_bytes
from subshot.errors import NetworkError
from subshot.spaces._space import Space

# Bytes of weights kept ready at once.
_GROUP = 2**29

Built = Callable[[], nn.Module]


def measure_latency(network: nn.Module, task: TaskSpec, *, protocol: LatencyProtocol | None = None) -> Latency:
    """Latency of a network with the weights it has.

    Args:
        network: The network; it is put into evaluation mode and onto the protocol's device.
        task: Its inputs.
        protocol: How to measure.

    Raises:
        OptionError: The device or backend isn't there.
        MissingDependencyError: ONNX Runtime isn't installed.
        NetworkError: The network can't run.
    """
    (latency,) = measure_latencies([lambda: network], task, protocol=protocol).values
    if not latency.ok:
        raise NetworkError(f"The network's latency can't be measured: {latency.reason}.", "Mend it, or use eager.")
    return latency


def measure_latencies(
    builds: Sequence[Built],
    task: TaskSpec,
    *,
    protocol: LatencyProtocol | None = None,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Latencies:
    """Latencies of networks that take turns; one that fails has its reason, and the others go on.

    Args:
        builds: A function for each network that returns it; called when it is needed.
        task: Their inputs.
        protocol: How to measure.
        seed: Seed of the order of turns.
        on_progress: Called with the number of networks done.

    Raises:
        OptionError: The device or backend isn't there.
        MissingDependencyError: ONNX Runtime isn't installed.
    """
    protocol = protocol or LatencyProtocol()
    check_backend(protocol)
    rng = stable_rng(seed, "latency")
    values: list[Latency] = []
    paces: list[float] = []
    waiting = list(builds)
    with _threads(protocol.threads):
        reference = _reference(protocol)
        while waiting:
            ready, held = [], 0
            while waiting and held < _GROUP:
                runner, size = _ready(waiting.pop(0), task, protocol)
                ready.append(runner)
                held += size
            turns: list[list[float]] = [[] for _ in ready]
            for _ in range(protocol.rounds):
                paces.append(_turn(reference, protocol))
                for position in rng.permutation(len(ready)).tolist():
                    runner = ready[position]
                    if not isinstance(runner, str):
                        turns[position].append(_turn(runner, protocol))
            values += [
                Latency.failed(runner) if isinstance(runner, str) else _summary(times)
                for runner, times in zip(ready, turns, strict=True)
            ]
            if on_progress is not None:
                on_progress(len(values))
    return Latencies(tuple(values), _drift(paces), protocol)


def measure_architectures(
    space: Space,
    archs: Sequence[Arch],
    task: TaskSpec,
    *,
    variant: str | None = None,
    protocol: LatencyProtocol | None = None,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Latencies:
    """Latencies of architectures' networks; what wouldn't fit the free memory is not built.

    Args:
        space: The space.
        archs: What to measure.
        task: What the networks are built for.
        variant: Which network; the one that is trained if not given.
        protocol: How to measure.
        seed: Seed of the weights and of the order of turns.
        on_progress: Called with the number of networks done.

    Raises:
        OptionError: The device or backend isn't there.
        MissingDependencyError: ONNX Runtime isn't installed.
    """
    protocol = protocol or LatencyProtocol()

    def build(arch: Arch) -> nn.Module:
        needed = trace_architecture(space, arch, task, variant=variant, batch_size=protocol.batch_size)
        free = available_bytes(protocol.device)
        if needed.peak_bytes + needed.parameter_bytes > free:
            raise MemoryError(f"{needed.peak_bytes + needed.parameter_bytes:,} bytes needed, {free:,.0f} free")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return space.build(arch, task, variant=variant)

    builds: list[Built] = [lambda arch=arch: build(arch) for arch in archs]  # type: ignore[misc]
    return measure_latencies(builds, task, protocol=protocol, seed=seed, on_progress=on_progress)


def _ready(build: Built, task: TaskSpec, protocol: LatencyProtocol) -> tuple[Runner | str, int]:
    """A network's runner, warmed up, and the bytes of its weights; the reason if that fails."""
    try:
        network = build()
        size = sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())
        runner = make_runner(network, task, protocol)
        for _ in range(protocol.warm_up):
            runner()
    except (MemoryError, torch.OutOfMemoryError) as error:
        return f"out of memory: {error}", 0
    except Exception as error:
        return f"{type(error).__name__}: {error}", 0
    return runner, size


def _turn(runner: Runner, protocol: LatencyProtocol) -> float:
    """Median time of a turn (ms); the first pass brings the weights back into the caches."""
    clock = time.thread_time_ns if protocol.clock == "cpu" else time.perf_counter_ns
    runner()
    times = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(protocol.repeats):
            started = clock()
            runner()
            times.append(clock() - started)
    finally:
        if collecting:
            gc.enable()
    return median(times) / 1e6


def _summary(turns: Sequence[float]) -> Latency:
    ordered = sorted(turns)
    # The k-th lowest and highest of n: both ends are missed with probability 2 P(fewer than k of n below).
    k = max(1, int(binom.ppf(0.025, len(ordered), 0.5)))
    return Latency(median(ordered), ordered[k - 1], ordered[-k])


def _drift(paces: Sequence[float]) -> float:
    half = len(paces) // 2
    if not half:
        return 0.0
    first, second = sorted((median(paces[:half]), median(paces[-half:])))
    return second / first - 1


def _reference(protocol: LatencyProtocol) -> Runner:
    """A small convolutional network in eager torch, a few milliseconds on a processor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 32, 3, padding=1), *(nn.Conv2d(32, 32, 3, padding=1) for _ in range(3))]
    network = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    plain = LatencyProtocol(threads=protocol.threads, device=protocol.device)
    runner = make_runner(network, TaskSpec.images(3, 32, 32, classes=0), plain)
    for _ in range(protocol.warm_up):
        runner()
    return runner


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
