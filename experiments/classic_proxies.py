"""Do our classic proxies order networks as the published runs do?

Random live NAS-Bench-201 cells, the published scores of NAS-Bench-Suite-Zero (`nb201_zc13_cifar10`), one look per cell with
all thirteen proxies: batch 64 of CIFAR-10, torch's default initialisation, batch norm by batch statistics, official networks.
Two published runs agree with each other to the figures in the last column.

    python experiments/classic_proxies.py --workers 2
"""

import argparse
import csv
import gzip

import numpy as np
from _scores import HERE, data_root, protocol_for, scores

from subshot.benchmarks.ranking import rank
from subshot.data import take_batch
from subshot.spaces.nasbench201 import NasBench201

# Ours, the published column, agreement of the two published runs, the least wanted here.
PAIRS = [
    ("synflow", "synflow", "0.9998", 0.999),
    ("nwot", "nwot", "0.991", 0.98),
    ("snip", "snip", "0.985", 0.97),
    ("grad_norm", "grad_norm", "0.983", 0.97),
    ("l2_norm", "l2_norm", "0.946", 0.93),
    ("fisher", "fisher", "0.977", 0.96),
    ("jacob_cov", "jacov", "0.957", 0.94),
    ("zen", "zen", "-", 0.99),
    ("zen(variance=running)", "zen", "-", 0.99),
    ("epe_nas", "epe_nas", "0.81", 0.78),
    ("grasp", "grasp", "0.70", 0.65),
    ("plain", "plain", "0.19", -1),
    ("parameters", "params", "1", 1.0),
    ("macs", "flops", "1", 0.99),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cells", type=int, default=300)
    arguments = parser.parse_args()
    folder = data_root() / "nas-bench" / "nas-bench-201"
    with gzip.open(folder / "nb201_accuracy.csv.gz", "rt") as file:
        text_of = {row["index"]: row["arch_str"] for row in csv.DictReader(file)}
    with gzip.open(folder / "nb201_zc13_cifar10.csv.gz", "rt") as file:
        published = list(csv.DictReader(file))
    order = np.random.default_rng(11).permutation(len(published))[: arguments.cells]
    rows = [published[i] for i in order]
    space = NasBench201()
    archs = [space.parse(text_of[row["index"]]) for row in rows]
    batch = take_batch("cifar10", 64, samples="random", seed=0)
    protocol = protocol_for(space, batch, variant="official")
    names = ",".join(name for name, *_ in PAIRS)
    found = scores("classic", space, archs, batch, protocol, proxies=names, workers=arguments.workers)
    lines = [
        f"# Agreement with published scores, {len(rows)} random live NAS-Bench-201 cells",
        "",
        f"Spearman between our score and the published one, 95 % bootstrap interval over cells. Protocol: {protocol}.",
        "",
        "| proxy | agreement | cells | wanted | between two published runs |",
        "| --- | --- | --- | --- | --- |",
    ]
    for ours, column, between, wanted in PAIRS:
        theirs = np.array([float(row[column]) for row in rows])
        usable = np.isfinite(theirs)
        result = rank(found[ours][usable], theirs[usable])
        shown = "-" if wanted < 0 else f"{wanted:g}"
        lines.append(f"| {ours} | {result.spearman} | {result.archs} | {shown} | {between} |")
    text = "\n".join(lines) + "\n"
    (HERE / "results" / "classic_proxies.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
