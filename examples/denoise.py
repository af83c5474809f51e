"""Dense prediction: search a space of one's own for a network that removes noise from photographs.

The data is made here: crops of the photographs that come with scikit-learn, and the same with Gaussian noise. Labels of
shape (N, C, H, W) make it a task with a value for every pixel, whose loss is the squared error. The winner is compared
with a network as one would write it by hand, which is an architecture of the space too, and with random ones of as many
MACs.

    python examples/denoise.py

It needs no data. Beside subshot[onnx] it writes ONNX too.
"""

import functools
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
from _comparison import (
    Clock,
    Example,
    Network,
    Rival,
    candidate,
    compare,
    equal_cost,
    exported,
    folder_of,
    numbered,
    options,
    size_of,
)
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

import subshot
from subshot.data.photographs import crops
from subshot.networks.stages import activation
from subshot.training._samples import samples_from
from subshot.training.parts import Parts
from subshot.training.winner import TrainingPlan, train_winner

# Deviation of the noise, where images have values from 0 to 1.
SIGMA = 0.1
TASK = subshot.TaskSpec((subshot.InputSpec("images", (3, 32, 32)),), outputs=3, loss="mse")
MAX_MACS = 10_000_000

# Scores that grow with the parameters, as most do, prefer maps of few pixels, where parameters are cheap in MACs: the
# wrong place for this task. The number of activation patterns grows with the pixels too.
PROXIES, TOP = "swap", 8

# One for all, with and without batch norm.
RECIPE = "adamw(lr=0.003,weight_decay=0.0001,batch_size=20)"


class Denoiser(nn.Module):
    """Convolutions at full size, then at smaller ones and back, with shortcuts; it predicts the noise."""

    def __init__(self, width: int, depth: int, levels: int, growth: float, kernel: int, act: str, norm: bool) -> None:
        super().__init__()
        widths = [max(4, round(width * growth**level)) for level in range(levels + 1)]

        def stage(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
            layers: list[nn.Module] = []
            for number in range(depth):
                step, before = (stride, c_in) if number == 0 else (1, c_out)
                layers.append(nn.Conv2d(before, c_out, kernel, stride=step, padding=kernel // 2, bias=not norm))
                layers += [nn.BatchNorm2d(c_out)] if norm else []
                layers.append(activation(act))
            return nn.Sequential(*layers)

        self.first = stage(3, widths[0])
        self.down = nn.ModuleList(stage(a, b, 2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[0], 3, kernel, padding=kernel // 2)

    def forward(self, images: Tensor) -> Tensor:
        """Noisy images (B, 3, H, W), sides that can be halved, to clean ones."""
        kept = [self.first(images)]
        for stage in self.down:
            kept.append(stage(kept[-1]))
        x = kept.pop()
        for stage in reversed(self.up):
            x = kept.pop() + stage(x)
        return images - self.last(x)


def build(width: int, depth: int, levels: int, growth: float, kernel: int, act: str, norm: bool) -> nn.Module:
    """The network of some choices."""
    return Denoiser(width, depth, levels, growth, kernel, act, norm)


BY_HAND = {"width": 16, "depth": 4, "levels": 0, "growth": 1.0, "kernel": 3, "act": "relu", "norm": True}


def space() -> subshot.Space:
    """The space; a file and this function's name bring it back when the winner is exported."""
    return subshot.Space(
        choices={
            "width": subshot.ordered([8, 12, 16, 24, 32]),
            "depth": range(1, 5),
            "levels": range(3),
            "growth": subshot.ordered([1.0, 1.5, 2.0]),
            "kernel": subshot.ordered([3, 5]),
            "act": ["relu", "gelu", "silu"],
            "norm": [True, False],
        },
        build=build,
        start=BY_HAND,
        task=TASK,
    )


def noisy(count: int, columns: slice, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean crops of a strip of the photographs, (N, 3, 32, 32) each, with values from 0 to 1."""
    strips = [np.ascontiguousarray(photograph[:, columns]) for photograph in load_sample_images().images]
    found = crops(strips, count, size=32, seed=seed, min_side=32, max_side=64)
    clean = found.astype(np.float32).transpose(0, 3, 1, 2) / 255
    noise = np.random.default_rng(seed).normal(0, SIGMA, clean.shape)
    return (clean + noise).astype(np.float32), clean


def load(count: int) -> Parts:
    """Parts from strips of the photographs that don't overlap, left to right: training, validation, test."""
    drawn = [
        noisy(count, slice(0, 448), 0),
        noisy(count // 8, slice(448, 512), 1),
        noisy(count // 4, slice(512, 640), 2),
    ]
    train, validation, test = (samples_from(one, TASK) for one in drawn)
    return Parts(TASK, train, validation, test, dense=True)


def decibels(error: float) -> str:
    """The peak signal-to-noise ratio of a squared error."""
    return f"{-10 * math.log10(error):.2f}"


def main() -> int:
    """Search, train, export, compare."""
    given = options(__doc__, epochs=12, seeds=1, budget=200, data="photographs")
    own = subshot.get_space(f"{Path(__file__).resolve()}:space")
    count = 160 if given.quick else 2_000
    example = Example(
        name="denoise",
        title=f"Removing noise of deviation {SIGMA} inside 10 million multiply-accumulates",
        task=TASK,
        load=functools.partial(load, count),
        limits={"macs": MAX_MACS},
        metric="PSNR on the test part, dB",
        show=decibels,
        minimise=True,
        how=f"{given.budget} of {own.size:,} networks inside the limit, by {PROXIES}; the best of the first {TOP} on "
        "the validation part after two epochs.",
    )
    folder = folder_of(given, example.name)
    run, clock = folder / "run", Clock(folder)

    with clock("search"):
        study = subshot.search(
            own, data=noisy(64, slice(0, 448), 0), proxy=PROXIES, strategy="random", budget=given.budget,
            max_macs=MAX_MACS, out=run,
        )  # fmt: skip
    parts = example.load()
    with clock("train"):
        best = [candidate(own, arch, TASK) for arch in (found.arch for found in study.top(TOP))]
        plan = TrainingPlan(epochs=given.epochs, trial_epochs=min(2, given.epochs), recipe=RECIPE)
        training = train_winner(best, parts, plan=plan, folder=run)
    with clock("export"):
        notes = exported(run, parts)

    text = next(one.text for one in training.networks if one.role == "winner")
    winner, identity = Network(own, text, TASK), parts.test.take(np.arange(len(parts.test)))
    untouched = float(((identity[0] - identity[1]) ** 2).mean())
    rivals = [
        Rival("winner", text, winner),
        Rival("baseline, four convolutions", "by hand", functools.partial(build, **BY_HAND)),
        *numbered(own, equal_cost(own, example, "macs", size_of(winner, TASK).macs), TASK),
    ]
    notes += [f"- The noisy test images themselves have {decibels(untouched)} dB.", f"- {clock}."]
    return compare(example, given, training=training, rivals=rivals, notes=notes, recipe=RECIPE)


if __name__ == "__main__":
    raise SystemExit(main())
