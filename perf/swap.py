"""What does a SWAP score cost against the row-unique reference and against a bare forward pass?

The reference is a plain restatement of the published procedure: hooks on the ReLU modules keep their outputs, the
outputs are joined to a (V, S) matrix of signs, and its distinct rows are counted by ``torch.unique``. Ours is the look
that the library takes. The bare pass is the same network on the same batch in the same memory layout without any of
it. All are timed in turn, in one process on one thread, in CPU time; the table gives medians over architectures.

    python perf/swap.py
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from subshot._seeds import stable_rng
from subshot._types import Arch
from subshot.data import take_batch
from subshot.networks.initialisation import Initialiser
from subshot.proxies._evidence import look
from subshot.proxies._prepare import prepared
from subshot.proxies._proxy import Need
from subshot.spaces._space import Space, get_space

SIZES = (16, 32, 64)


def reference(network: nn.Module, batch: Tensor) -> int:
    """Distinct rows of the (V, S) sign matrix, as the published scorer counts them."""
    kept: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: kept.append(output.detach()))
        for module in network.modules()
        if isinstance(module, nn.ReLU)
    ]
    with torch.no_grad():
        network(batch)
    for hook in hooks:
        hook.remove()
    joined = torch.cat([output.reshape(len(batch), -1) for output in kept], dim=1)
    return len(torch.unique(torch.sign(joined).T.contiguous(), dim=0))


def cpu_ms(work: Callable[[], object], repeats: int) -> float:
    """Median CPU time of a call."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return 1e3 * statistics.median(times)


def measure(space: Space, archs: list[Arch], samples: int, variant: str, repeats: int) -> list[float]:
    """Medians over architectures: reference (plain, our layout), ours, bare, plain, re-initialisation (ms); ratios."""
    batch = torch.from_numpy(take_batch("mnist_sample", samples, seed=0).inputs)
    fast = batch.contiguous(memory_format=torch.channels_last)
    rows = []
    for arch in archs:
        network = space.build(arch, variant=variant)
        initialiser = Initialiser(network, "normal")
        initialiser.draw(0)
        with prepared(network, batch_norm="batch", keep_parameters=False), torch.no_grad():
            ours = look(network, fast, Need.PATTERNS)  # warms up
            theirs = reference(network, fast)
            if ours.distinct_patterns != theirs:
                raise AssertionError(f"{ours.distinct_patterns} != {theirs} patterns for {space.format(arch)}")
            rows.append(
                [
                    cpu_ms(lambda: reference(network, batch), max(1, repeats // 4)),  # noqa: B023
                    cpu_ms(lambda: reference(network, fast), max(1, repeats // 4)),  # noqa: B023
                    cpu_ms(lambda: look(network, fast, Need.PATTERNS), repeats),  # noqa: B023
                    cpu_ms(lambda: network(fast), repeats),  # noqa: B023
                    cpu_ms(lambda: network(batch), repeats),  # noqa: B023
                    cpu_ms(lambda: initialiser.draw(1), repeats),  # noqa: B023
                ]
            )
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    speed_up = statistics.median(row[0] / row[2] for row in rows)
    same_layout = statistics.median(row[1] / row[2] for row in rows)
    overhead = statistics.median(row[2] / row[3] for row in rows)
    return [*medians, speed_up, same_layout, overhead]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=30, help="architectures of the DARTS space")
    parser.add_argument("--cells", type=int, default=8, help="cells of NAS-Bench-201")
    parser.add_argument("--repeats", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = stable_rng(0, "perf")
    darts, cells = get_space("darts"), get_space("nasbench201")
    cases = [
        ("DARTS, SWAP's tiny cell", darts, "swap_tiny", arguments.archs, arguments.repeats),
        ("DARTS, pair of cells", darts, "swap_pair", arguments.archs, arguments.repeats),
        ("NAS-Bench-201, official", cells, "official", arguments.cells, max(4, arguments.repeats // 3)),
    ]
    lines = [
        "# Cost of a SWAP score",
        "",
        f"Median CPU ms over architectures, one thread; torch {torch.__version__}, {platform.machine()}. 'plain' is the "
        "bare pass in the reference's memory layout, 'bare' in ours (channels last); the reference uses the plain layout.",
        "",
        "| networks | S | reference | reference, our layout | ours | bare | plain | re-initialise | reference / ours | same layout | ours / bare |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for label, space, variant, count, repeats in cases:
        archs = [space.sample(rng) for _ in range(count)]
        for samples in SIZES:
            few = archs if samples == SIZES[0] else archs[: max(4, count // 3)]
            *times, speed_up, same_layout, overhead = measure(space, few, samples, variant, repeats)
            shown = " | ".join(f"{value:.1f}" for value in times)
            lines.append(f"| {label} | {samples} | {shown} | {speed_up:.1f}x | {same_layout:.1f}x | {overhead:.2f}x |")
            print(lines[-1], flush=True)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "swap.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
