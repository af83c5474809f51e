"""What does it cost a proxy to be measured under the shared protocol instead of its paper's own?

Random live NAS-Bench-201 cells in networks of 16 channels and one cell per stage, CIFAR-10 images, Spearman with CIFAR-10
test accuracy after 200 epochs: once under the preset of the proxy's paper (batch size, initialisation, batch norm, input,
repeats, options), once under the shared protocol, on the same cells. The interval of the difference resamples cells.

    python experiments/shared_protocol.py --workers 2
"""

import argparse
from collections import defaultdict
from dataclasses import astuple

import numpy as np
from _scores import HERE, protocol_for, scores
from main_table import LEFT_OUT, cells

from subshot._choice import Choice
from subshot._seeds import stable_rng
from subshot.benchmarks.ranking import estimate, spearman
from subshot.data import take_batch
from subshot.proxies._proxy import PROXIES, Preset
from subshot.spaces.nasbench201 import NasBench201

SHARED = Preset(samples=64)


def difference(a: np.ndarray, b: np.ndarray, truth: np.ndarray) -> str:
    """Spearman of ``b`` minus that of ``a``, with a paired 95 % bootstrap interval."""
    finite = np.isfinite(a) & np.isfinite(b)
    a, b, truth = a[finite], b[finite], truth[finite]
    rng = stable_rng(0, "paired")
    draws = [rng.integers(len(a), size=len(a)) for _ in range(1000)]
    low, high = np.quantile([spearman(b[d], truth[d]) - spearman(a[d], truth[d]) for d in draws], [0.025, 0.975])
    return f"{spearman(b, truth) - spearman(a, truth):+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cells", type=int, default=100)
    arguments = parser.parse_args()
    archs, rows = cells(arguments.cells)
    truth = np.array([float(row["cifar10_test_200"]) for row in rows])
    space = NasBench201(cells=1)

    def measure(preset: Preset, names: list[str]) -> dict[str, np.ndarray]:
        batch = take_batch("cifar10", preset.samples or 64, samples="random", seed=0, unreal=preset.unreal)
        protocol = protocol_for(
            space,
            batch,
            variant="official",
            initialisation=preset.initialisation,
            batch_norm=preset.batch_norm,
            repeats=preset.repeats,
        )
        return scores("protocol", space, archs, batch, protocol, proxies=",".join(names), workers=arguments.workers)

    differing = [n for n in PROXIES.names() if n not in LEFT_OUT and PROXIES.get(n).preset not in (SHARED, Preset())]
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name in differing:
        groups[astuple(PROXIES.get(name).preset)[:-1]].append(name)
    shared = measure(SHARED, differing)
    lines = [
        f"# The shared protocol against the papers' own, {len(archs)} live NAS-Bench-201 cells",
        "",
        "Spearman with CIFAR-10 test accuracy. Shared: batch 64, torch's default initialisation, batch statistics, real images, one "
        "look, default options. Networks of 16 channels, one cell per stage. Left out are proxies whose paper's protocol is the shared one, or that have none on record.",
        "",
        "| proxy | paper's protocol | paper | shared | difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    for names in groups.values():
        preset = PROXIES.get(names[0]).preset
        texts = {name: str(Choice(name, PROXIES.get(name).preset.options)) for name in names}
        own = measure(preset, list(texts.values()))
        said = f"batch {preset.samples or 64}, {preset.initialisation}, {preset.batch_norm}, {preset.unreal} x {preset.repeats}"
        for name, text in texts.items():
            paper = estimate(own[text], truth)
            lines.append(
                f"| {text} | {said} | {paper} | {estimate(shared[name], truth)} | {difference(own[text], shared[name], truth)} |"
            )
            print(lines[-1], flush=True)
        (HERE / "results" / "shared_protocol.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
