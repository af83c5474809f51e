"""What the examples share: opponents of equal cost, one training for all, and a table of what came of it.

Every finished training stays in the folder of the run under a digest of all that decides it: an interrupted example
goes on where it was, and a further seed costs only itself. Trainings run two at a time, each on one thread.
"""

import argparse
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import nn

from subshot import TaskSpec, __version__
from subshot._choice import Choice
from subshot._seeds import stable_rng
from subshot.costs._latency_records import Latency, LatencyProtocol
from subshot.costs.latency import measure_latencies
from subshot.costs.macs import count_macs
from subshot.costs.parameters import count_parameters
from subshot.export.standalone import import_file
from subshot.export.winner import export_winner
from subshot.spaces._source import is_source
from subshot.spaces._space import Size, Space, space_settings
from subshot.training.files import load_trained
from subshot.training.parts import Parts
from subshot.training.winner import Candidate, Training, TrainingPlan, train_winner

HERE = Path(__file__).parent

# Random opponents have this share of the winner's cost.
BAND = (0.9, 1.1)

# Processor time of a pass on one thread: what other programs do at the time doesn't count.
LATENCY = LatencyProtocol(clock="cpu", rounds=10)


@dataclass(frozen=True)
class Network:
    """A network of a space, which another process can build too."""

    space: Space
    arch: str
    task: TaskSpec

    def __call__(self) -> nn.Module:
        """Build it."""
        return self.space.build(self.space.parse(self.arch), self.task)


@dataclass(frozen=True)
class Rival:
    """One line of the table: what it is, what tells it from others, and how it is built."""

    role: str
    text: str
    make: Callable[[], nn.Module]


@dataclass(frozen=True)
class Example:
    """What an example is about.

    Attributes:
        name: Of its file, its run and its table.
        title: Of the table.
        task: What all networks are built for.
        load: Reads the parts of the data, in any process.
        limits: Upper bounds of ``parameters``, ``macs`` or ``latency_ms``.
        metric: What is judged, and in which unit.
        show: The metric as text.
        minimise: Whether low is good.
        how: How the winner was found, in a sentence.
    """

    name: str
    title: str
    task: TaskSpec
    load: Callable[[], Parts]
    limits: Mapping[str, float]
    metric: str = "test accuracy, %"
    show: Callable[[float], str] = lambda value: f"{100 * value:.2f}"
    minimise: bool = False
    how: str = ""


@dataclass(frozen=True)
class Outcome:
    """What the trainings of a rival gave: the metric for each seed, and processor seconds of each training."""

    rival: Rival
    values: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return mean(self.values)


def options(description: str | None, *, epochs: int, seeds: int, budget: int, data: str) -> argparse.Namespace:
    """The options that all examples have; ``--quick`` is a smoke run without meaning."""
    usual = {"epochs": epochs, "seeds": seeds, "budget": budget, "data": data}
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--epochs", type=int, help=f"of every training; {epochs} if not given")
    parser.add_argument("--seeds", type=int, help=f"trainings of each network; {seeds} if not given")
    parser.add_argument("--budget", type=int, help=f"architectures that are scored; {budget} if not given")
    parser.add_argument("--data", help=f"name of a set or path; {data} if not given, and other data for other figures")
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time")
    parser.add_argument("--quick", action="store_true", help="a run of some seconds, to see that everything works")
    parser.add_argument("--out", type=Path, help="folder of trainings and table; examples/cache if not given")
    given = parser.parse_args()
    if given.quick:
        usual |= {"epochs": 1, "seeds": 1, "budget": 8}
    for name, value in usual.items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    torch.set_num_threads(1)
    return given


def folder_of(given: argparse.Namespace, name: str) -> Path:
    """Where an example keeps its run."""
    return (given.out or HERE / "cache") / (f"{name}_quick" if given.quick else name)


def candidate(space: Space, arch: str, task: TaskSpec) -> Candidate:
    """An architecture of a space as training wants it; its weights' file will say how it is built again."""
    name = space.name if is_source(space.name) else str(Choice(space.name, space_settings(space)))
    return Candidate(arch, Network(space, arch, task), {"space": name, "arch": arch, "variant": space.variants[0]})


def equal_cost(
    space: Space,
    example: Example,
    cost: str,
    target: float,
    *,
    count: int = 3,
    seed: int = 0,
    keeps: Callable[[Sequence[Network]], Sequence[Network]] = lambda drawn: drawn,
) -> list[str]:
    """Random architectures that cost as much as the winner: drawn uniformly, kept if they are inside :data:`BAND`.

    Args:
        space: Whose architectures.
        example: The task, and the limits on parameters and MACs, which they keep.
        cost: ``parameters`` or ``macs``.
        target: The winner's.
        count: How many.
        seed: Seed of the draw.
        keeps: Which of some networks keep a limit of latency.
    """
    rng, found, seen = stable_rng(seed, "equal cost"), list[Network](), set[str]()
    low, high = (share * target for share in BAND)
    while len(found) < count:
        drawn: list[Network] = []
        while len(drawn) < 2 * count:
            network = Network(space, space.format(space.sample(rng)), example.task)
            size = dataclasses.asdict(size_of(network, example.task))
            inside = not _over({**size, "latency_ms": 0.0}, example.limits)
            if inside and low <= size[cost] <= high and network.arch not in seen:
                seen.add(network.arch)
                drawn.append(network)
        found += keeps(drawn)
    return [one.arch for one in found[:count]]


def numbered(space: Space, archs: Sequence[str], task: TaskSpec) -> list[Rival]:
    """Random opponents by number."""
    return [Rival(f"random {number}", arch, Network(space, arch, task)) for number, arch in enumerate(archs, 1)]


def remembered(path: Path, find: Callable[[], Sequence[str]]) -> list[str]:
    """Texts that were found once: a latency that is measured again may decide otherwise."""
    if path.exists():
        found: list[str] = json.loads(path.read_text())
        return found
    texts = list(find())
    path.write_text(json.dumps(texts))
    return texts


def scaled(make: Callable[[float], nn.Module], task: TaskSpec, cost: str, target: float) -> float:
    """The largest width, in hundredths, of a network that costs no more than ``target``."""
    low, high = 1, 400
    while high - low > 1:
        middle = (low + high) // 2
        fits = getattr(size_of(functools.partial(make, middle / 100), task), cost) <= target
        low, high = (middle, high) if fits else (low, middle)
    return low / 100


def size_of(make: Callable[[], nn.Module], task: TaskSpec) -> Size:
    """Parameters and MACs."""
    if isinstance(make, Network) and hasattr(make.space, "measure"):
        size: Size = make.space.measure(make.space.parse(make.arch), task)
        return size
    network = make()
    return Size(count_parameters(network), count_macs(network, task))


def latencies(makes: Sequence[Callable[[], nn.Module]], task: TaskSpec) -> tuple[Latency, ...]:
    """Measured in turns, so that they can be compared."""
    return measure_latencies(list(makes), task, protocol=LATENCY).values


class Clock:
    """How long the steps of an example took, over several calls; a step that was interrupted has no time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "seconds.json"
        self.seconds: dict[str, list[float] | None] = {}
        if self._path.exists():
            self.seconds = json.loads(self._path.read_text())

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Time a step: seconds that passed, and seconds of the processor."""
        known, before = step in self.seconds, self.seconds.get(step)
        self._keep(step, before)
        started = time.perf_counter(), time.process_time()
        yield
        if not known:
            self._keep(step, [time.perf_counter() - started[0], time.process_time() - started[1]])

    def _keep(self, step: str, value: list[float] | None) -> None:
        self.seconds[step] = value
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.seconds))

    def __str__(self) -> str:
        shown = [
            f"{step} {value[0]:.0f} s ({value[1]:.0f} s of one core)" if value else f"{step} interrupted"
            for step, value in self.seconds.items()
        ]
        total = sum(value[0] if value else math.nan for value in self.seconds.values())
        return f"{', '.join(shown)}; together {total / 60:.1f} minutes"


def train_all(
    rivals: Sequence[Rival], parts: Callable[[], Parts], plan: TrainingPlan, *, seeds: int, folder: Path, workers: int
) -> list[Outcome]:
    """Train every rival with every seed by the same plan; what was trained before is read."""
    jobs = [
        (rival, parts, dataclasses.replace(plan, seed=seed), folder / "trainings")
        for rival in rivals
        for seed in range(seeds)
    ]
    results: list[dict[str, Any]] = []
    with _mapping(min(workers, len(jobs))) as mapped:
        for done in mapped(_train, jobs):
            results.append(done)
            say(f"training {len(results)} of {len(jobs)}: {done['role']} {done['value']:.4f}")
    grouped = [results[first : first + seeds] for first in range(0, len(results), seeds)]
    return [
        Outcome(rival, tuple(one["value"] for one in group), tuple(one["seconds"] for one in group))
        for rival, group in zip(rivals, grouped, strict=True)
    ]


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Any]]:
    if workers <= 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool.map


def _train(job: tuple[Rival, Callable[[], Parts], TrainingPlan, Path]) -> dict[str, Any]:
    rival, load, plan, folder = job
    torch.set_num_threads(1)
    parts = _loaded(load)
    known = {"text": rival.text, "plan": dataclasses.asdict(plan), "data": parts.train.digest, "task": str(parts.task)}
    own = folder / hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]
    result = own / "result.json"
    if result.exists():
        found: dict[str, Any] = json.loads(result.read_text())
        return {**found, "role": rival.role}
    resumed, started = own.exists(), time.process_time()
    training = train_winner([Candidate(rival.text, rival.make)], parts, plan=plan, folder=own)
    spent = math.nan if resumed else time.process_time() - started
    told = {**known, "value": training.value, "split": training.split, "seconds": spent}
    result.write_text(json.dumps(told))
    return {**told, "role": rival.role}


@functools.cache
def _loaded(load: Callable[[], Parts]) -> Parts:
    return load()


def exported(run: Path, parts: Parts) -> list[str]:
    """Export the winner of a run as ONNX and as a file of its own, and compare both with it on test samples.

    Returns:
        What was found, a line each. A difference ends the example.
    """
    network, _, _ = load_trained(run / "weights.safetensors")
    assert parts.test is not None
    inputs = parts.test.take(next(parts.test.in_order(256)))[0]
    rebuilt = import_file(export_winner(run, format="safetensors").file.with_suffix(".py")).load()
    with torch.no_grad():
        expected = network(inputs)
        if not torch.equal(rebuilt(inputs), expected):
            raise SystemExit("The stand-alone file gives other outputs.")
    lines = [f"- The stand-alone file gives identical outputs on {len(inputs)} test samples."]
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        return [*lines, "- ONNX: not written, subshot[onnx] is not installed."]
    import onnxruntime

    onnx = export_winner(run, format="onnx")
    session = onnxruntime.InferenceSession(str(onnx.file), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"inputs": inputs.numpy()})[0])
    largest = max(onnx.max_abs_difference, float((found - expected).abs().max()))
    if not largest <= 1e-4:
        raise SystemExit(f"ONNX differs from PyTorch by {largest:g}.")
    return [*lines, f"- ONNX against PyTorch on these and random samples: largest difference {largest:.1e}."]


def compare(
    example: Example,
    given: argparse.Namespace,
    *,
    training: Training,
    rivals: Sequence[Rival],
    notes: Sequence[str],
    recipe: str = "auto",
) -> int:
    """Train the winner, the first, and its rivals with every seed, and write the table.

    Returns:
        The exit code: 1 if the winner breaks a limit.
    """
    plan = TrainingPlan(epochs=given.epochs, recipe=recipe)
    folder = folder_of(given, example.name)
    outcomes = train_all(rivals, example.load, plan, seeds=given.seeds, folder=folder, workers=given.workers)
    measured = latencies([one.make for one in rivals], example.task)
    costs = []
    for rival, latency in zip(rivals, measured, strict=True):
        size = size_of(rival.make, example.task)
        costs.append({"parameters": size.parameters, "macs": size.macs, "latency_ms": latency.ms})
    parts = example.load()
    over = _over(costs[0], example.limits)
    write(given, example.name, [
        f"# {example.title}", "", *_table(example, outcomes, costs), "", *_against_random(example, outcomes), *notes,
        f"- Limits of the winner: {'VIOLATED: ' + ', '.join(over) if over else 'all kept'}.",
        f"- Data: {parts.train.name}, {len(parts.train):,} + {len(parts.validation):,} samples for training and "
        f"validation, {len(parts.test or ()):,} for the test. {given.epochs} epochs; seeds 0 to {given.seeds - 1}.",
        f"- Search: {example.how}",
        f"- Recipe of all: {recipe_of(training)}.",
        f"- {versions()}. Each training on one thread; latency: {LATENCY}.",
        f"- The winner: `{rivals[0].text}`",
    ])  # fmt: skip
    return 1 if over else 0


def _over(costs: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    return [name for name, bound in limits.items() if not costs[name] <= bound]


def _table(example: Example, outcomes: Sequence[Outcome], costs: Sequence[Mapping[str, float]]) -> list[str]:
    lines = [
        f"| network | {example.metric} | range over seeds | parameters | MACs | latency, ms | training, s of a core |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for outcome, cost in zip(outcomes, costs, strict=True):
        over = _over(cost, example.limits)
        cells = [
            outcome.rival.role + (f" (over the limit of {' and '.join(over)})" if over else ""),
            example.show(outcome.mean),
            f"{example.show(min(outcome.values))} to {example.show(max(outcome.values))}",
            f"{cost['parameters']:,}",
            f"{cost['macs']:,}",
            f"{cost['latency_ms']:.2f}",
            f"{mean(outcome.seconds):.0f}" if math.isfinite(mean(outcome.seconds)) else "-",  # interrupted
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _against_random(example: Example, outcomes: Sequence[Outcome]) -> list[str]:
    winner, others = outcomes[0], [one for one in outcomes if one.rival.role.startswith("random ")]
    if not others:
        return []
    sign = -1 if example.minimise else 1
    pairs = [(a, b) for one in others for a, b in zip(winner.values, one.values, strict=True)]
    best = (min if example.minimise else max)(one.mean for one in others)
    return [
        f"- Winner {example.show(winner.mean)}, mean of the random ones {example.show(mean(o.mean for o in others))}, "
        f"the best of them {example.show(best)}; with the same seed the winner is better in "
        f"{sum(sign * a > sign * b for a, b in pairs)} of {len(pairs)} trainings."
    ]


def versions() -> str:
    """What the figures were measured with."""
    names = [name for name in ("torch", "onnx", "onnxruntime") if importlib.util.find_spec(name) is not None]
    return f"subshot {__version__}, " + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def write(given: argparse.Namespace, name: str, lines: Sequence[str]) -> None:
    """Print the report; a run in full of the checkout's own examples writes it into ``examples/results`` too."""
    text = "\n".join(lines) + "\n"
    own = given.out is None and not given.quick
    path = (HERE / "results" if own else folder_of(given, name)) / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)


def say(text: str) -> None:
    """Tell on standard error how far it is."""
    print(text, file=sys.stderr, flush=True)


def recipe_of(training: Training) -> str:
    """The recipe that all were trained by, in one line."""
    recipe = next(one.recipe for one in training.networks if one.role == "winner")
    wanted = ("optimiser", "lr", "batch_size", "weight_decay", "augment", "cutout", "label_smoothing", "mixup", "ema")
    return ", ".join(f"{name} {recipe[name]}" for name in wanted)
