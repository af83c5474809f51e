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
from subshot.aggregators import aggregate, get_aggregator
from subshot.benchmarks.ranking import estimate, spearman
from subshot.data import take_batch
from subshot.proxies._proxy import PROXIES, Preset
from subshot.spaces.nasbench201 import NasBench201

SHARED = Preset(samples=64)
# Three looks with a backward pass for each of some seventy samples: on the first cells only.
COUPLED, FEW = ("ntk_condition", "ntk_mse", "eigen_nas"), 40
# Aggregators whose every term has a preset, or is a cost.
COMBINED = ("az_nas", "te_nas", "teg", "vkdnw_aggregate")


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
    parser.add_argument("--cells-per-stage", type=int, default=1, help="5 for the official network")
    parser.add_argument("--only", default="", help="only an aggregator's proxies, in a table of their own")
    arguments = parser.parse_args()
    archs, rows = cells(arguments.cells)
    truth = np.array([float(row["cifar10_test_200"]) for row in rows])
    space = NasBench201(cells=arguments.cells_per_stage)
    only = get_aggregator(arguments.only).reads if arguments.only else ()
    part = f"_{arguments.only}" if only else ""  # never over the whole table

    def measure(preset: Preset, names: list[str], count: int) -> dict[str, np.ndarray]:
        batch = take_batch("cifar10", preset.samples or 64, samples="random", seed=0, unreal=preset.unreal)
        protocol = protocol_for(
            space,
            batch,
            variant="official",
            initialisation=preset.initialisation,
            batch_norm=preset.batch_norm,
            repeats=preset.repeats,
        )
        return scores(
            "protocol", space, archs[:count], batch, protocol, proxies=",".join(names), workers=arguments.workers
        )

    differing = [n for n in PROXIES.names() if n not in LEFT_OUT and PROXIES.get(n).preset not in (SHARED, Preset())]
    differing = [name for name in differing if not only or name in only]
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name in differing:
        groups[astuple(PROXIES.get(name).preset)[:-1]].append(name)
    shared = measure(SHARED, [*differing, *(["macs"] if "macs" not in differing else [])], len(archs))
    lines = [
        f"# The shared protocol against the papers' own, {len(archs)} live NAS-Bench-201 cells",
        "",
        "Spearman with CIFAR-10 test accuracy. Shared: batch 64, torch's default initialisation, batch statistics, real images, one "
        f"look, default options. Networks of 16 channels, cells per stage: {space.cells}. Left out are proxies whose paper's protocol is the shared one, or that have none on record.",
        "",
        "| proxy | paper's protocol | paper | shared | difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    papers = {"macs": shared["macs"]}
    # The coupled kernels take longest.
    for names in sorted(groups.values(), key=lambda names: names[0] in COUPLED):
        count = min(FEW, len(archs)) if names[0] in COUPLED else len(archs)
        preset = PROXIES.get(names[0]).preset
        texts = {name: str(Choice(name, PROXIES.get(name).preset.options)) for name in names}
        own = measure(preset, list(texts.values()), count)
        said = f"batch {preset.samples or 64}, {preset.initialisation}, {preset.batch_norm}, {preset.unreal} x {preset.repeats}"
        for name, text in texts.items():
            papers[name] = own[text]
            a, b, true = own[text], shared[name][:count], truth[:count]
            few = "" if count == len(archs) else f" ({count} cells)"
            lines.append(
                f"| {text}{few} | {said} | {estimate(a, true)} | {estimate(b, true)} | {difference(a, b, true)} |"
            )
            print(lines[-1], flush=True)
        (HERE / "results" / f"shared_protocol{part}.md").write_text("\n".join(lines) + "\n")
    for name in COMBINED:
        reads = get_aggregator(name).reads
        if not set(reads) <= papers.keys() & shared.keys():
            continue
        count = min(len(papers[one]) for one in reads)
        few, true = "" if count == len(archs) else f" ({count} cells)", truth[:count]
        a, b = (aggregate(name, {one: found[one][:count] for one in reads}).values for found in (papers, shared))
        lines.append(
            f"| {name} of {', '.join(reads)}{few} | each term its own | {estimate(a, true)} | {estimate(b, true)} | {difference(a, b, true)} |"
        )
        print(lines[-1], flush=True)
    (HERE / "results" / f"shared_protocol{part}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
