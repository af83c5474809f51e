"""How does each proxy's ranking change when it never sees real images or labels?

The proxies see random labels, Gaussian noise, smooth noise or generated images in place of CIFAR-10. Random live NAS-Bench-201
cells in networks of 16 channels and one cell per stage, one look each. For every proxy: Spearman with CIFAR-10 test accuracy
after 200 epochs on each input, and the rank agreement with its own ranking on real images. The last column tells how far
another real batch moves the ranking by itself.

    python experiments/unreal.py --workers 2
"""

import argparse

import numpy as np
from _scores import HERE, protocol_for, scores
from main_table import LEFT_OUT, SLOW, cells

from subshot.benchmarks.ranking import estimate, spearman
from subshot.data import UNREAL_KINDS, take_batch
from subshot.proxies._proxy import list_proxies
from subshot.spaces.nasbench201 import NasBench201

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cells", type=int, default=100)
    arguments = parser.parse_args()
    archs, rows = cells(arguments.cells)
    truth = np.array([float(row["cifar10_test_200"]) for row in rows])
    space = NasBench201(cells=1)
    names = [name for name in list_proxies() if name not in LEFT_OUT | SLOW.keys()]

    def measure(kind: str, seed: int) -> dict[str, np.ndarray]:
        batch = take_batch("cifar10", BATCH, samples="random", seed=seed, unreal=kind)
        protocol = protocol_for(space, batch, variant="official")
        return scores("unreal", space, archs, batch, protocol, proxies=",".join(names), workers=arguments.workers)

    kinds = [kind for kind in UNREAL_KINDS if kind != "none"]
    found = {"real": measure("none", 0), "again": measure("none", 1)} | {kind: measure(kind, 0) for kind in kinds}

    def agreement(name: str, kind: str) -> str:
        a, b = found["real"][name], found[kind][name]
        both = np.isfinite(a) & np.isfinite(b)
        return f"{spearman(a[both], b[both]):.3f}" if both.sum() > 2 else "-"

    def truthful(name: str, kind: str) -> str:
        values = found[kind][name]
        return str(estimate(values, truth)) if np.isfinite(values).sum() > 2 else "-"

    lines = [
        f"# Proxies without real data, {len(archs)} live NAS-Bench-201 cells",
        "",
        f"Batch {BATCH}, networks of 16 channels and one cell per stage, torch's default initialisation, batch statistics. Noise and "
        "generated images have the mean and deviation of the real batch. Noise has random labels, a generated image has the "
        "class that it was drawn for.",
        "",
        "## Spearman with CIFAR-10 test accuracy",
        "",
        f"| proxy | real | {' | '.join(kinds)} |",
        f"| --- | --- |{' --- |' * len(kinds)}",
        *(f"| {name} | {' | '.join(truthful(name, kind) for kind in ('real', *kinds))} |" for name in names),
        "",
        "## Rank agreement with the same proxy on real images",
        "",
        f"| proxy | {' | '.join(kinds)} | another real batch |",
        f"| --- |{' --- |' * len(kinds)} --- |",
        *(f"| {name} | {' | '.join(agreement(name, kind) for kind in (*kinds, 'again'))} |" for name in names),
    ]
    text = "\n".join(lines) + "\n"
    (HERE / "results" / "unreal.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
