"""How well does SWAP rank 1,000 trained DARTS networks, and on which inputs?

The table is SWAP's own (`darts-cifar10-1000`): random genotypes with equal cells, trained on CIFAR-10. The protocol is
that of the authors' scorer: the single tiny reduction cell, S = 16, N(0, 1) weights, batch statistics; on the first 16
CIFAR-10 training images, and on inputs that a fresh install has.

    python experiments/swap_darts1000.py --workers 2
"""

import argparse
import csv
import gzip

import numpy as np
from _scores import HERE, data_root, protocol_for, scores

from subshot.benchmarks.ranking import rank, spearman
from subshot.data import take_batch
from subshot.spaces._space import get_space

# Initialisations averaged in one evaluation; several seeds of it give more repeats and their spread.
REPEATS = 4

# The authors' batch is fixed, so the seeds vary the weights; elsewhere each seed draws other images too.
INPUTS = {
    "cifar10_first": ("first", 8),
    "mnist_sample": ("random", 5),
    "digits": ("random", 5),
    "photographs": ("random", 5),
    "cifar10": ("random", 5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1000)
    arguments = parser.parse_args()
    with gzip.open(data_root() / "nas-bench" / "darts-cifar10-1000" / "darts_1000.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))[: arguments.rows]
    space = get_space("darts")
    archs = [space.parse(row["genotype"]) for row in rows]
    truth = np.array([float(row["cifar10_val_acc"]) for row in rows])

    lines = [
        f"# SWAP on {len(rows):,} trained DARTS networks (CIFAR-10 validation accuracy)",
        "",
        "Network `swap_tiny`, S = 16, N(0, 1) weights, batch statistics, plain SWAP averaged over repeats; "
        "rank correlations over all rows with 95 % bootstrap intervals over rows.",
        "",
        "| input | repeats | Spearman | spread over draws | Kendall |",
        "| --- | --- | --- | --- | --- |",
    ]
    for data, (samples, seeds) in INPUTS.items():
        found = []
        for seed in range(seeds):
            batch = take_batch(data, 16, samples=samples, seed=seed, image_size=(32, 32))
            protocol = protocol_for(
                space, batch, variant="swap_tiny", initialisation="normal", repeats=REPEATS, seed=seed
            )
            found.append(
                scores("darts1000", space, archs, batch, protocol, proxies="swap,parameters", workers=arguments.workers)
            )
        values = np.array([one["swap"] for one in found])
        draws = np.array([spearman(one, truth) for one in values])
        varied = "weights" if samples == "first" else "images and weights"
        lines.append(
            f"| {data}, {samples} 16 | {REPEATS}, {seeds} draws of {varied} | {draws.mean():.3f} | {draws.std(ddof=1):.3f} "
            f"({draws.min():.3f} to {draws.max():.3f}) | |"
        )
        every = rank(values.mean(axis=0), truth)
        lines.append(
            f"| {data}, {samples} 16 | {REPEATS * seeds}, all draws averaged | {every.spearman} | | {every.kendall} |"
        )
    size = rank(found[0]["parameters"], truth)
    lines.append(f"| parameters of the scored network | - | {size.spearman} | | {size.kendall} |")
    units = rank(found[0]["part:units"], truth)
    lines.append(f"| units V of the scored network | - | {units.spearman} | | {units.kendall} |")
    text = "\n".join(lines) + "\n"
    (HERE / "results" / "swap_darts1000.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
