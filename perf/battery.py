"""What does each proxy cost alone, all of them in one look, and the published procedures one by one?

Costs are in forward-equivalents: the time of a plain forward pass of the same network in evaluation mode, without
gradients, on the same batch in the same memory layout. Ours is the path of a search after the network is built:
preparing it, one look and reading the scores; operations aren't known beforehand. The references (``_references.py``)
restate the published procedures, each on a deep copy of its own. Everything is timed in turn, in one process on one
thread, in CPU time (``--device cuda``: wall time, synchronised); figures are medians over repeats and architectures.
Where both compute the same thing, their values are compared first.

    OMP_NUM_THREADS=1 python perf/battery.py
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from _references import REFERENCES, TOGETHER, az_nas
from torch import Tensor, nn

from subshot._seeds import stable_rng
from subshot._types import Arch, Protocol, Score, TaskSpec
from subshot.data import take_batch
from subshot.networks.initialisation import Initialiser
from subshot.proxies._proxy import BoundProxy, bind, list_proxies
from subshot.proxies._score import score_prepared
from subshot.spaces._space import Space, get_space

CLASSIC = (
    "grad_norm", "plain", "snip", "grasp", "fisher", "l2_norm", "synflow", "jacob_cov", "nwot", "zen", "epe_nas",
    "parameters", "macs",
)  # fmt: skip
CASES = (("NAS-Bench-201", "nasbench201", "official"), ("DARTS, pair of cells", "darts", "swap_pair"))

# Options that a proxy can't do without.
GIVEN = {"swap_regularized": "swap_regularized(mu=1000, sigma=1000000, unit=k)"}

# Options under which ours computes what the reference does, and how closely the values must agree.
SAME = {
    **dict.fromkeys(("grad_norm", "snip", "fisher", "synflow", "nwot", "l2_norm"), ("", 1e-3)),
    **dict.fromkeys(("parameters", "macs", "swap", "linear_regions"), ("", 1e-6)),
    **dict.fromkeys(("jacob_cov", "epe_nas", "plain", "grasp"), ("", 1e-2)),
    "zico": ("", 1e-2),
    "zen": ("(variance=running)", 0.1),  # other noise and weights
}

Work = Callable[[], object]


class Timer:
    """Time of one call in ms: CPU time, or wall time until a GPU has finished."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __call__(self, work: Work) -> float:
        cuda = self.device.startswith("cuda")
        clock = time.perf_counter if cuda else time.process_time
        if cuda:
            torch.cuda.synchronize()
        started = clock()
        work()
        if cuda:
            torch.cuda.synchronize()
        return 1e3 * (clock() - started)


def ours(network: nn.Module, batch: tuple[Tensor, Tensor], proxies: Sequence[BoundProxy]) -> dict[str, Score]:
    """Scores as the search computes them, with the weights that the network has."""
    return score_prepared(
        network,
        batch[0],
        proxies,
        initialiser=Initialiser(network, "keep"),
        protocol=Protocol(initialisation="keep"),
        identity="perf",
        keep_parameters=False,
        labels=batch[1],
    )


def named(names: Sequence[str]) -> list[BoundProxy]:
    return bind([GIVEN.get(name, name) for name in names])


def forward(network: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    with torch.no_grad():
        network(batch[0])


def check(network: nn.Module, batch: tuple[Tensor, Tensor], text: str) -> None:
    """Refuse to compare the times of things that aren't the same."""
    for name, (options, tolerance) in SAME.items():
        (found,) = ours(network, batch, bind([name + options])).values()
        expected = REFERENCES[name](network, *batch)
        if not found.ok or abs(found.value - expected) > tolerance * max(1.0, abs(expected)):
            raise AssertionError(f"{name} of {text}: ours {found.value} {found.reason}, reference {expected}")


def applicable(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[list[str], dict[str, str]]:
    """Names of the proxies that are defined for the network, and the reasons of the others."""
    scores = ours(network, batch, named(list_proxies()))
    names = {one.name: one.info.name for one in named(list_proxies())}
    undefined = ("not_applicable", "failed")  # an infinite score costs as much as any other
    refused = {names[key]: one.reason for key, one in scores.items() if one.status in undefined}
    return [name for name in list_proxies() if name not in refused], refused


def works(network: nn.Module, batch: tuple[Tensor, Tensor], names: Sequence[str]) -> dict[str, Work]:
    """Everything that is timed, by a key."""
    todo: dict[str, Work] = {
        "classic": partial(ours, network, batch, named(CLASSIC)),
        "without grasp": partial(ours, network, batch, named([name for name in CLASSIC if name != "grasp"])),
        "all": partial(ours, network, batch, named(names)),
    }
    for name in names:
        todo[f"ours {name}"] = partial(ours, network, batch, named([name]))
        if name in REFERENCES:
            todo[f"theirs {name}"] = partial(REFERENCES[name], network, *batch)
    if any(name in TOGETHER["az_nas"] for name in names):
        todo["theirs az_nas"] = partial(az_nas, network, *batch)
    return todo


def measure(
    space: Space, archs: Sequence[Arch], variant: str, samples: int, repeats: int, device: str
) -> tuple[dict[str, list[float]], float, dict[str, str]]:
    """Forward-equivalents by key, one for each architecture; ms of a forward pass; what was not applicable."""
    timer, rows, forwards = Timer(device), dict[str, list[float]](), []
    refused: dict[str, str] = {}
    for arch in archs:
        network, batch = network_and_batch(space, arch, variant, samples, device)
        check(network, batch, space.format(arch))
        names, refused = applicable(network, batch)
        todo = works(network, batch, names)
        unit = partial(forward, network, batch)
        for work in (*todo.values(), unit, unit):  # warms up
            work()
        times: dict[str, list[float]] = {}
        units = []
        for repeat in range(repeats):
            for key, work in todo.items():
                if key.startswith("theirs") and repeat % 2:
                    continue  # long enough to vary less
                units.append(timer(unit))
                times.setdefault(key, []).append(timer(work))
        one = statistics.median(units)
        forwards.append(one)
        for key, several in times.items():
            rows.setdefault(key, []).append(statistics.median(several) / one)
    return rows, statistics.median(forwards), refused


def network_and_batch(
    space: Space, arch: Arch, variant: str, samples: int, device: str
) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    taken = take_batch("mnist_sample", samples, seed=0, image_size=(32, 32))
    images = torch.from_numpy(taken.inputs)
    images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    network = space.build(arch, TaskSpec.images(3, 32, 32, classes=10), variant=variant).eval()
    Initialiser(network, "kaiming").draw(0)
    inputs = images.to(device).contiguous(memory_format=torch.channels_last)
    assert taken.labels is not None
    return network.to(device), (inputs, torch.from_numpy(taken.labels).to(device))


def table(rows: dict[str, list[float]], refused: dict[str, str]) -> list[str]:
    """One line for each proxy, then the totals."""
    cost = {key: statistics.median(several) for key, several in rows.items()}
    alone = {key.removeprefix("ours "): value for key, value in cost.items() if key.startswith("ours ")}
    theirs = {key.removeprefix("theirs "): value for key, value in cost.items() if key.startswith("theirs ")}
    ordered = [*(name for name in CLASSIC if name in alone), *(name for name in alone if name not in CLASSIC)]
    lines = ["| proxy | ours alone | reference | reference / ours |", "| --- | ---: | ---: | ---: |"]
    for name in ordered:
        if name in theirs:
            lines.append(f"| {name} | {alone[name]:.2f} | {theirs[name]:.2f} | {theirs[name] / alone[name]:.1f} |")
        else:
            lines.append(f"| {name} | {alone[name]:.2f} | - | - |")
    lines += [f"| {name} | not applicable: {reason} | - | - |" for name, reason in refused.items()]
    together = {name for key, names in TOGETHER.items() if key in theirs for name in names}
    sums = {
        "the classic thirteen": (CLASSIC, cost["classic"]),
        "the same without grasp": ([name for name in CLASSIC if name != "grasp"], cost["without grasp"]),
        "the whole set": (ordered, cost["all"]),
    }
    lines += [
        "",
        "| together | one look | ours one by one | references | one by one / one look | references / one look |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, (names, look) in sums.items():
        one_by_one = sum(alone[name] for name in names if name in alone)
        published = sum(theirs[name] for name in names if name in theirs and name not in together)
        published += sum(theirs[key] for key, own in TOGETHER.items() if key in theirs and set(own) & set(names))
        ratios = f"{one_by_one / look:.1f} | {published / look:.1f}"
        lines.append(f"| {label} ({len(names)}) | {look:.1f} | {one_by_one:.1f} | {published:.1f} | {ratios} |")
    slower = [name for name in ordered if name in theirs and alone[name] > theirs[name] + 0.1]
    lines += ["", f"Slower than their reference by more than a tenth of a pass: {', '.join(slower) or 'none'}."]
    return lines


def agreement(space: Space, archs: Sequence[Arch], variant: str, samples: int, device: str) -> list[str]:
    """Largest relative difference of each proxy between the CPU and the device."""
    worst: dict[str, float] = {}
    for arch in archs:
        network, batch = network_and_batch(space, arch, variant, samples, "cpu")
        names, _ = applicable(network, batch)
        host = ours(network, batch, named(names))
        moved = ours(*network_and_batch(space, arch, variant, samples, device), named(names))
        for name, one in host.items():
            difference = abs(one.value - moved[name].value) / max(abs(one.value), 1e-12)
            worst[name] = max(worst.get(name, 0.0), difference)
    lines = ["| proxy | largest relative difference to the CPU |", "| --- | ---: |"]
    return [*lines, *(f"| {name} | {value:.1e} |" for name, value in worst.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", nargs="+", default=[space for _, space, _ in CASES], help="spaces")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # values are compared
    cuda = arguments.device.startswith("cuda")
    machine = torch.cuda.get_device_name() if cuda else f"{platform.machine()}, {torch.get_num_threads()} thread"
    lines = [
        "# Cost of the proxies",
        "",
        "In forward-equivalents, medians over "
        f"{arguments.archs} architectures and {arguments.repeats} repeats; torch {torch.__version__}, {machine}.",
    ]
    print("\n".join(lines), flush=True)

    def say(more: list[str]) -> None:
        lines.extend(more)
        print("\n".join(more), flush=True)

    for label, name, variant in CASES:
        if name not in arguments.cases:
            continue
        space, rng = get_space(name), stable_rng(0, "perf")
        archs: list[Arch] = []
        while len(archs) < arguments.archs:
            arch = space.sample(rng)
            if not getattr(space, "defect", lambda arch: None)(arch):
                archs.append(arch)
        for samples in arguments.batch:
            rows, unit, refused = measure(space, archs, variant, samples, arguments.repeats, arguments.device)
            say(["", f"## {label}, batch {samples} (a forward pass: {unit:.1f} ms)", "", *table(rows, refused)])
            if cuda:
                say(["", *agreement(space, archs, variant, samples, arguments.device)])
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / ("battery_cuda.md" if cuda else "battery.md")).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
