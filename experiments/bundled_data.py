"""Which images that come with the install are the better default: do they train, and do they tell networks apart?

Random live NAS-Bench-201 cells (4 channels, 1 cell a stage) are trained briefly on each bundled set, and their test accuracy
is compared with the benchmark's CIFAR-10 accuracy of the same cells. How the sets rank as input of SWAP is measured by
`swap_darts1000.py` and `swap_nasbench201.py`.

    python experiments/bundled_data.py
"""

import argparse
import csv
import gzip
import time

import numpy as np
import torch
from _scores import HERE, data_root
from rich.progress import track
from torch import nn

from subshot.benchmarks.ranking import spearman
from subshot.data import load_images, prepare
from subshot.spaces.nasbench201 import NasBench201, is_live

STEPS = 300
BATCH = 64


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    network.eval()
    with torch.no_grad():
        hits = [
            (network(x).argmax(1) == y).float().mean()
            for x, y in zip(images.split(500), labels.split(500), strict=True)
        ]
    return 100 * float(torch.stack(hits).mean())


def train(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
    """A fixed number of steps, so that both sets get the same work."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=STEPS)
    network.train()
    for _ in range(STEPS):
        picked = torch.randint(len(images), (BATCH,), generator=generator)
        loss = nn.functional.cross_entropy(network(images[picked]), labels[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with gzip.open(data_root() / "nas-bench" / "nas-bench-201" / "nb201_accuracy.csv.gz", "rt") as file:
        table = list(csv.DictReader(file))
    space = NasBench201(channels=4, cells=1)
    order = np.random.default_rng(7).permutation(len(table))
    live = [table[i] for i in order if is_live(space.parse(table[i]["arch_str"]))]
    rows = [row for row in live if float(row["cifar10_test_200"]) > 20][: arguments.cells]
    truth = np.array([float(row["cifar10_test_200"]) for row in rows])
    lines = [
        f"# Bundled sets, {len(rows)} live NAS-Bench-201 cells trained {STEPS} steps of {BATCH} (C=4, N=1, one seed)",
        "",
        "| set | images | test accuracy, mean (min to max) | Spearman with CIFAR-10 test accuracy | seconds a network |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in ("digits", "mnist_sample"):
        parts = [load_images(name, split=split) for split in ("train", "test")]
        tensors = []
        for part in parts:
            x, y = prepare(part, range(len(part)))
            assert y is not None
            tensors.append((torch.from_numpy(x).contiguous(memory_format=torch.channels_last), torch.from_numpy(y)))
        found = []
        started = time.process_time()
        for row in track(rows, description=name, transient=True):
            torch.manual_seed(0)
            network = space.build(space.parse(row["arch_str"]), parts[0].task(), variant="official")
            train(network, *tensors[0], seed=0)
            found.append(accuracy(network, *tensors[1]))
        seconds = (time.process_time() - started) / len(rows)
        values = np.array(found)
        lines.append(
            f"| {name} | {len(parts[0])} + {len(parts[1])} | {values.mean():.1f} ({values.min():.1f} to {values.max():.1f}) | "
            f"{spearman(values, truth):.2f} | {seconds:.1f} |"
        )
        print(lines[-1], flush=True)
    (HERE / "results" / "bundled_data.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
