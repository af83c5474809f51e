"""Do label-free scores order networks of equal cost that are trained for a few epochs only?

Random networks of the space of examples/cifar10.py with 2.8 to 4 million multiply-accumulates, each trained for three epochs on
7,200 images of CIFAR-10, beside the example's five convolutions. It explains what the examples see: a short training favours few
layers, while scores foretell what long trainings reach.

    SUBSHOT_DATA=... python experiments/short_training.py --workers 2
"""

import argparse
import functools
import sys

import numpy as np
import torch
from _scores import HERE
from warm_up_curves import interval

from subshot import score
from subshot._seeds import stable_rng
from subshot.benchmarks.ranking import kendall
from subshot.data import take_batch
from subshot.spaces._space import get_space
from subshot.training.winner import TrainingPlan

sys.path.insert(0, str(HERE.parent / "examples"))
import cifar10
from _comparison import Network, Rival, size_of, train_all
from _networks import plain

LOW, HIGH = 2_800_000, 4_000_000
PROXIES = (
    "swap", "nwot", "near", "meco", "jacob_cov", "az_progressivity", "az_expressivity", "az_trainability", "synflow",
    "zico", "grad_norm", "snip", "l2_norm",
)  # fmt: skip


def networks(count: int) -> list[Network]:
    """Random networks of the space between the two bounds."""
    space, rng, found = get_space(cifar10.SPACE), stable_rng(7, "why"), dict[str, Network]()
    while len(found) < count:
        network = Network(space, space.format(space.sample(rng)), cifar10.TASK)
        if LOW <= size_of(network, cifar10.TASK).macs <= HIGH:
            found.setdefault(network.arch, network)
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--networks", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    some = networks(arguments.networks)
    rivals = [Rival(f"random {number}", one.arch, one) for number, one in enumerate(some)]
    rivals.append(Rival("plain", "plain", functools.partial(plain, cifar10.TASK, (16, 32, 48, 64, 80))))
    load = functools.partial(cifar10.load, "cifar10", 8_000)
    plan = TrainingPlan(epochs=3, recipe=cifar10.RECIPE)
    folder = HERE / "cache" / "short_training"
    outcomes = train_all(rivals, load, plan, seeds=1, folder=folder, workers=arguments.workers)
    truth = np.array([one.mean for one in outcomes[:-1]])

    batch = take_batch("cifar10", 32, samples="random", seed=0, image_size=cifar10.TASK.image_shape[1:])
    given = torch.as_tensor(batch.inputs), torch.as_tensor(batch.labels)
    rows: dict[str, list[float]] = {name: [] for name in (*PROXIES, "parameters", "macs", "few blocks")}
    for one in some:
        torch.manual_seed(0)
        found = score(one(), given, proxies=",".join(PROXIES))
        size = size_of(one, cifar10.TASK)
        depths = [int(part.partition("=")[2]) for part in one.arch.split() if ".depth=" in part]
        known = {"parameters": size.parameters, "macs": size.macs, "few blocks": -sum(depths)}
        for name, values in rows.items():
            values.append(found[name].value if name in found else known[name])
    scored = {name: np.array(values, dtype=float) for name, values in rows.items()}
    lines = [
        f"# {len(some)} networks of equal cost after three epochs",
        "",
        f"Space {cifar10.SPACE}, {LOW:,} to {HIGH:,} MACs, CIFAR-10 at 32 x 32, 7,200 training images, {cifar10.RECIPE}; one "
        f"training each, {len(load().test or ()):,} test images. Scores of one initialisation and {len(batch.inputs)} images. "
        f"Test accuracy {100 * truth.min():.1f} to {100 * truth.max():.1f} %, mean {100 * truth.mean():.1f} %; the five "
        f"convolutions of the example {100 * outcomes[-1].mean:.1f} %.",
        "",
        "| score | Spearman | Kendall |",
        "| --- | --- | --- |",
    ]
    for name, values in sorted(scored.items(), key=lambda one: -kendall(one[1], truth)):
        lines.append(f"| {name} | {interval(values, truth)} | {kendall(values, truth):.2f} |")
    text = "\n".join(lines) + "\n"
    (HERE / "results" / "short_training.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
