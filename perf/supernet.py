"""Does a path of a supernet cost what the stand-alone network costs, and how fast are many paths evaluated?

A step is zeroed gradients, forward, loss, backward, clipped norm and SGD with momentum, over all parameters of the
supernet or of the stand-alone network with the same weights. The two take turns on one thread; the table gives medians
of CPU time over steps, and over architectures the median of their ratio. Evaluation runs random paths on one batch with
batch statistics, and beside it builds, loads and runs the stand-alone networks.

    python perf/supernet.py
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot._seeds import stable_rng
from subshot._types import TaskSpec
from subshot.supernets._supernet import Supernet, make_supernet
from subshot.supernets.evaluate import evaluate_paths
from subshot.training._recipe import Recipe

CASES = (
    ("nasbench201(channels=16, cells=1)", 32, 64),
    ("nasbench201(channels=8, cells=1)", 16, 64),
    ("nasbench201(channels=16, cells=5)", 32, 32),
    ("darts(channels=8, layers=4)", 16, 32),
    ("nasbench_macro(channels=8, features=64)", 32, 64),
)


def cpu_ms(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return 1e3 * (time.process_time() - started)


def stepper(
    network: nn.Module, forward: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor
) -> Callable[[], None]:
    recipe = Recipe()
    parameters = list(network.parameters())
    optimiser = recipe.make_optimiser(parameters)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(forward(inputs), labels).backward()
        nn.utils.clip_grad_norm_(parameters, recipe.clip or 1.0)
        optimiser.step()

    return step


def compare_steps(supernet: Supernet, archs: int, repeats: int, size: int, batch: int) -> tuple[float, float, float]:
    """Medians over architectures: the supernet's step, the stand-alone network's (ms), the ratio."""
    rng = stable_rng(0, "perf")
    inputs, labels = torch.randn(batch, 3, size, size), torch.randint(10, (batch,))
    supernet.train()
    rows = []
    for _ in range(archs):
        arch = supernet.space.sample(rng)
        path = supernet.path(arch)
        alone = supernet.extract(arch)
        ours = stepper(supernet, lambda x: supernet(x, path), inputs, labels)  # noqa: B023
        theirs = stepper(alone, alone, inputs, labels)
        pairs = [(cpu_ms(ours), cpu_ms(theirs)) for _ in range(repeats + 1)][1:]
        rows.append([statistics.median(column) for column in zip(*pairs, strict=True)])
    ratio = statistics.median(a / b for a, b in rows)
    return statistics.median(a for a, _ in rows), statistics.median(b for _, b in rows), ratio


def compare_evaluation(supernet: Supernet, count: int, size: int, batch: int) -> tuple[float, float]:
    """CPU seconds for ``count`` paths, and for as many networks built, loaded and run (measured on a tenth)."""
    rng = stable_rng(1, "perf")
    inputs, labels = torch.randn(batch, 3, size, size), torch.randint(10, (batch,))
    archs = [supernet.space.sample(rng) for _ in range(count)]
    ours = cpu_ms(lambda: evaluate_paths(supernet, archs, batch=(inputs, labels)))

    def build() -> None:
        with torch.no_grad():
            for arch in archs[: count // 10]:
                F.cross_entropy(supernet.extract(arch).train()(inputs), labels)

    return ours / 1e3, cpu_ms(build) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--paths", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# Cost of a path of a supernet",
        "",
        f"CPU time, one thread; torch {torch.__version__}, {platform.machine()}.",
        "",
        "| supernet | image | batch | step on a path, ms | stand-alone step, ms | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for name, size, batch in CASES:
        supernet = make_supernet(name, TaskSpec.images(3, size, size, classes=10))
        ours, theirs, ratio = compare_steps(supernet, arguments.archs, arguments.repeats, size, batch)
        lines.append(f"| {name} | {size} | {batch} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        "| supernet | image | batch | paths | evaluate paths, s | build and run each, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines[-3:]), flush=True)
    for name, size, batch in (CASES[1], CASES[3], CASES[4]):
        supernet = make_supernet(name, TaskSpec.images(3, size, size, classes=10))
        ours, theirs = compare_evaluation(supernet, arguments.paths, size, batch)
        lines.append(f"| {name} | {size} | {batch} | {arguments.paths:,} | {ours:.1f} | {theirs:.1f} |")
        print(lines[-1], flush=True)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "supernet.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
