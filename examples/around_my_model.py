"""A network of one's own: what do its neighbours reach with the same parameters and multiply-accumulates?

`subshot.around` opens the widths, depths and activation of a network; the search looks for networks that
cost no more than it. The winner and the network itself are trained alike, from fresh weights.

    python examples/around_my_model.py

It needs Fashion-MNIST (Debian's package dataset-fashion-mnist); ``--data mnist_sample`` takes the digits that come with
the install. Beside subshot[onnx] it writes ONNX too.
"""

import functools
from pathlib import Path

import torch
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
    size_of,
)
from torch import nn

import subshot
from subshot.spaces._space import Space
from subshot.training.parts import Parts, parts_from

TASK = subshot.TaskSpec.images(3, 32, 32, classes=10)
PROXIES, TOP = "near,az_progressivity,synflow", 24

# Batches of a quarter of the usual size: a short training needs steps more than it needs samples.
RECIPE = "sgd(batch_size=32)"


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norm, self.last_norm = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.act = nn.ReLU()

    def forward(self, x):  # noqa: D102
        return self.act(x + self.last_norm(self.second(self.act(self.norm(self.first(x))))))


def halved(c_in: int, c_out: int) -> nn.Sequential:
    """A convolution that halves the map."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


def my_model() -> nn.Module:
    """Any network: this one is a small residual network of one's own."""
    return nn.Sequential(
        halved(3, 16), nn.Sequential(Block(16), Block(16)),
        halved(16, 32), nn.Sequential(Block(32), Block(32)),
        halved(32, 48), nn.Sequential(Block(48)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip


def space() -> Space:
    """The space around it; a file and this function's name bring it back when the winner is exported.

    Kernels stay as they are: with larger ones hardly a random network costs no more than the model.
    """
    return subshot.around(my_model(), torch.zeros(2, *TASK.image_shape), kernels=(3,))


def load(data: str, samples: int) -> Parts:
    """The first samples, a tenth of them for validation."""
    return parts_from(data, TASK, limit=samples)


def main() -> int:
    """Search, train, export, compare."""
    given = options(__doc__, epochs=8, seeds=1, budget=200, data="fashion_mnist")
    around = subshot.get_space(f"{Path(__file__).resolve()}:space")
    size = size_of(my_model, TASK)
    samples = 400 if given.quick else 12_000
    example = Example(
        name="around_my_model",
        title="Around a network of one's own",
        task=TASK,
        load=functools.partial(load, given.data, samples),
        limits={"parameters": size.parameters, "macs": size.macs},
        how=f"{given.budget} of {around.size:,} networks around it that cost no more, by the rank sum of {PROXIES}; "
        f"the best of the first {TOP} on the validation part after one epoch.",
    )
    folder = folder_of(given, example.name)
    run, clock = folder / "run", Clock(folder)

    with clock("search"):
        subshot.search(
            around, data=given.data, image_size=TASK.image_shape[1:], proxy=PROXIES, aggregate="rank_sum",
            strategy="random", budget=given.budget, max_params=size.parameters, max_macs=size.macs, out=run,
        )  # fmt: skip
    with clock("train"):  # the model itself is trained with the others, below
        training = subshot.train(
            run, data=given.data, max_samples=samples, epochs=given.epochs, top=TOP, trial_epochs=1, recipe=RECIPE,
            baseline="none",
        )  # fmt: skip
    with clock("export"):
        notes = exported(run, example.load())

    text = next(one.text for one in training.networks if one.role == "winner")
    winner = Network(around, text, TASK)
    rivals = [
        Rival("winner", text, winner),
        Rival("my model", "unchanged", my_model),
        *numbered(around, equal_cost(around, example, "macs", size_of(winner, TASK).macs), TASK),
    ]
    return compare(example, given, training=training, rivals=rivals, notes=[*notes, f"- {clock}."], recipe=RECIPE)


if __name__ == "__main__":
    raise SystemExit(main())
