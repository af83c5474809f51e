"""CIFAR-10 inside 4 million multiply-accumulates: search, train, export, and compare at equal cost.

Every network is trained by the same recipe, data, seeds and epochs: the winner, a network as one would write it by
hand, three random architectures of the same space with as many MACs, and ResNet-20 scaled to as many.

    SUBSHOT_DATA=<folder with images/ or CIFAR-10's own files> python examples/cifar10.py

Beside subshot[onnx] it writes ONNX too. Without CIFAR-10, ``--data NAME_OR_FOLDER`` takes other images of ten classes.
"""

import functools

from _comparison import (
    Clock,
    Example,
    Network,
    Rival,
    compare,
    equal_cost,
    exported,
    folder_of,
    numbered,
    options,
    scaled,
    size_of,
)  # fmt: skip
from _networks import plain, resnet20

import subshot
from subshot.training.parts import Parts, parts_from

MAX_MACS = 4_000_000

# Blocks of three kinds, laid out for 64 pixels: images of 32 are halved three times, to maps of 4 x 4.
SPACE = "resnet(image_size=64,budget=100000)"
TASK = subshot.TaskSpec.images(3, 32, 32, classes=10)

# What tells networks of equal cost apart best: see experiments/results/equal_cost.md.
PROXIES, TOP = "near,az_progressivity,synflow", 8

# Batches of a quarter of the usual size: a short training needs steps more than it needs samples.
RECIPE = "sgd(batch_size=32)"


def load(data: str, samples: int) -> Parts:
    """The first samples, a tenth of them for validation, and as many of the test part at most."""
    return parts_from(data, TASK, limit=samples)


def main() -> int:
    """Search, train, export, compare."""
    given = options(__doc__, epochs=8, seeds=3, budget=300, data="cifar10")
    samples = 400 if given.quick else 20_000
    example = Example(
        name="cifar10",
        title="CIFAR-10 inside 4 million multiply-accumulates",
        task=TASK,
        load=functools.partial(load, given.data, samples),
        limits={"macs": MAX_MACS},
        how=f"{given.budget} random architectures of {SPACE} inside the limit, by the rank sum of {PROXIES}; the best "
        f"of the first {TOP} on the validation part after one epoch.",
    )
    folder = folder_of(given, example.name)
    run, clock, space = folder / "run", Clock(folder), subshot.get_space(SPACE)

    with clock("search"):
        subshot.search(
            space, data=given.data, proxy=PROXIES, aggregate="rank_sum", strategy="random", budget=given.budget,
            max_macs=MAX_MACS, image_size=TASK.image_shape[1:], out=run,
        )  # fmt: skip
    with clock("train"):
        training = subshot.train(
            run, data=given.data, max_samples=samples, epochs=given.epochs, top=TOP, trial_epochs=1, recipe=RECIPE
        )
    with clock("export"):
        notes = exported(run, example.load())

    text = next(one.text for one in training.networks if one.role == "winner")
    winner = Rival("winner", text, Network(space, text, TASK))
    macs = size_of(winner.make, TASK).macs
    width = scaled(functools.partial(resnet20, TASK), TASK, "macs", macs)
    rivals = [
        winner,
        Rival("baseline, five convolutions", "plain", functools.partial(plain, TASK, (16, 32, 48, 64, 80))),
        *numbered(space, equal_cost(space, example, "macs", macs), TASK),
        Rival(f"ResNet-20 x {width}", f"resnet20 {width}", functools.partial(resnet20, TASK, width)),
    ]
    return compare(example, given, training=training, rivals=rivals, notes=[*notes, f"- {clock}."], recipe=RECIPE)


if __name__ == "__main__":
    raise SystemExit(main())
