"""Fashion-MNIST inside 100,000 parameters and 2.5 ms: search, train, export, and compare at equal cost.

Every network is trained by the same recipe, data, seeds and epochs: the winner, a network as one would write it by
hand, three random architectures of the same space that have as many parameters and keep the latency, and MobileNetV2
scaled to as many parameters.

    python examples/fashion_mnist.py

It needs Debian's package dataset-fashion-mnist, or its four files in the folder fashion-mnist of SUBSHOT_DATA. Beside
subshot[onnx] it writes ONNX too.
"""

import functools
from collections.abc import Sequence

from _comparison import (
    Clock,
    Example,
    Network,
    Rival,
    compare,
    equal_cost,
    exported,
    folder_of,
    latencies,
    numbered,
    options,
    remembered,
    scaled,
    size_of,
)  # fmt: skip
from _networks import mobilenetv2, plain

import subshot
from subshot.training.parts import Parts, parts_from

MAX_PARAMS, MAX_LATENCY_MS = 100_000, 2.5

# Blocks of three kinds, laid out for 64 pixels: images of 32 are halved three times, to maps of 4 x 4.
SPACE = "resnet(image_size=64,budget=100000)"
STRIDES = (1, 1, 2, 2, 2)
TASK = subshot.TaskSpec.images(3, 32, 32, classes=10)

# What tells networks of equal cost apart best: see experiments/results/equal_cost.md.
PROXIES, TOP = "near,az_progressivity,synflow", 24

# Batches of a quarter of the usual size: a short training needs steps more than it needs samples.
RECIPE = "sgd(batch_size=32)"


def load(data: str, samples: int) -> Parts:
    """The first samples, a tenth of them for validation, and as many of the test part at most."""
    return parts_from(data, TASK, limit=samples)


def fast_enough(networks: Sequence[Network]) -> list[Network]:
    """Those whose measured latency keeps the limit, the upper end of its interval too."""
    measured = latencies(networks, TASK)
    return [one for one, latency in zip(networks, measured, strict=True) if latency.high_ms <= MAX_LATENCY_MS]


def main() -> int:
    """Search, train, export, compare."""
    given = options(__doc__, epochs=8, seeds=3, budget=300, data="fashion_mnist")
    samples = 400 if given.quick else 12_000
    example = Example(
        name="fashion_mnist",
        title="Fashion-MNIST inside 100,000 parameters and 2.5 ms",
        task=TASK,
        load=functools.partial(load, given.data, samples),
        limits={"parameters": MAX_PARAMS, "latency_ms": MAX_LATENCY_MS},
        how=f"{given.budget} random architectures of {SPACE} inside the limits, by the rank sum of {PROXIES}; the best "
        f"of the first {TOP} on the validation part after one epoch.",
    )
    folder = folder_of(given, example.name)
    run, clock, space = folder / "run", Clock(folder), subshot.get_space(SPACE)

    with clock("search"):
        subshot.search(
            space, data=given.data, image_size=TASK.image_shape[1:], proxy=PROXIES, aggregate="rank_sum",
            strategy="random", budget=given.budget, max_params=MAX_PARAMS, max_latency_ms=MAX_LATENCY_MS,
            latency="eager(clock=cpu,samples=40)", out=run,
        )  # fmt: skip
    with clock("train"):  # only what was measured to keep the limit of latency
        training = subshot.train(
            run, data=given.data, max_samples=samples, epochs=given.epochs, top=TOP, trial_epochs=1, recipe=RECIPE
        )
    with clock("export"):
        notes = exported(run, example.load())

    text = next(one.text for one in training.networks if one.role == "winner")
    winner = Rival("winner", text, Network(space, text, TASK))
    params = size_of(winner.make, TASK).parameters
    scaled_to_it = functools.partial(mobilenetv2, TASK, STRIDES)
    width = scaled(scaled_to_it, TASK, "parameters", params)
    drawn = remembered(
        folder / "random.json", lambda: equal_cost(space, example, "parameters", params, keeps=fast_enough)
    )
    rivals = [
        winner,
        Rival("baseline, five convolutions", "plain", functools.partial(plain, TASK, (16, 32, 48, 64, 80))),
        *numbered(space, drawn, TASK),
        Rival(f"MobileNetV2 x {width}", f"mobilenetv2 {width}", functools.partial(scaled_to_it, width)),
    ]
    return compare(example, given, training=training, rivals=rivals, notes=[*notes, f"- {clock}."], recipe=RECIPE)


if __name__ == "__main__":
    raise SystemExit(main())
