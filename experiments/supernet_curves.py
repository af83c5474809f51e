"""How well do proxies rank networks with the weights of a supernet that has learnt for 0, 0.1, 1, 10 or 100 % of a training?

One supernet of NAS-Bench-201 in a reduced setting: 8 channels, one cell per stage, CIFAR-10 at 16 x 16 pixels; 100 % are 500,000
samples, 20 epochs of 25,000 images, with the schedule stretched over each level's own budget. Random live cells are scored with
inherited weights and compared with the test accuracy of the full-size networks after 200 epochs. Beside every proxy stand
the one-shot estimate (validation accuracy of the supernet at 100 %), validation accuracy and loss at the same level, and size.

    python experiments/supernet_curves.py --workers 2
"""

import argparse
import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _scores import HERE, data_root
from main_table import cells
from rich.progress import Progress
from warm_up_curves import GRADIENT, LARGE, PATTERN, SMALL, SPACE, VALIDATION, in_parallel, interval, shown, table

import subshot
from subshot._types import Arch, Protocol, TaskSpec
from subshot.benchmarks.ranking import spearman
from subshot.data import load_images
from subshot.proxies._score import score
from subshot.supernets.evaluate import evaluate_paths
from subshot.supernets.files import load_supernet, save_supernet
from subshot.training._samples import Samples, samples_from

TASK = TaskSpec.images(3, 16, 16, classes=10)
WHOLE = 500_000
LEVELS = {"0 %": 0.0, "0.1 %": 0.001, "1 %": 0.01, "10 %": 0.1, "100 %": 1.0}
ONE_SHOT = "100 %"
ACCURACY = ("validation accuracy", "recalibrated accuracy")
ALL = (*GRADIENT, *PATTERN, *ACCURACY)
SEEDS = {"0 %": 3, "0.1 %": 3, "1 %": 3, "10 %": 3, "100 %": 1}


@dataclass(frozen=True)
class Checkpoint:
    """A supernet of one level and seed."""

    level: str
    seed: int

    @property
    def file(self) -> Path:
        return HERE / "cache" / "supernets" / f"{self.level.split()[0]}-{self.seed}.safetensors"


def train(point: Checkpoint, progress: Progress) -> None:
    """Train the supernet of one level, or leave it as it was drawn."""
    if point.file.exists():
        return
    supernet = subshot.make_supernet(SPACE, TASK, seed=point.seed)
    if LEVELS[point.level] == 0:
        point.file.parent.mkdir(parents=True, exist_ok=True)
        save_supernet(supernet, point.file)
        return
    plan = subshot.WarmUp(samples=round(WHOLE * LEVELS[point.level]), seed=point.seed)
    bar = progress.add_task(f"supernet {point.level}, seed {point.seed}", total=None)
    done = subshot.warm_up(
        supernet,
        "cifar10",
        plan=plan,
        checkpoint=point.file.with_suffix(".checkpoint"),
        on_step=lambda state: progress.update(bar, completed=state.step, total=state.steps),
    )
    save_supernet(supernet, point.file, warmed_up=done)
    print(
        f"{point.level} seed {point.seed}: {done.samples:,} samples, {done.macs / 1e12:.2f} TMACs, {done.seconds:.0f} s, loss {done.loss:.3f}"
    )


_kept: dict[str, object] = {}


def images() -> tuple[Samples, tuple[torch.Tensor, torch.Tensor]]:
    if "data" not in _kept:
        held = samples_from(load_images("cifar10", split="test", limit=None), TASK)
        inputs, labels = held.take(np.random.default_rng(5).permutation(len(held))[:VALIDATION])
        _kept["data"] = samples_from("cifar10", TASK), (inputs.contiguous(memory_format=torch.channels_last), labels)
    return _kept["data"]


def scored(job: tuple[Checkpoint, Arch, Sequence[str]]) -> dict[str, float]:
    """Scores of one network with inherited weights, and what the supernet says of it."""
    point, arch, names = job
    torch.set_num_threads(1)
    samples, held = images()
    if point.file.name not in _kept:
        _kept[point.file.name] = load_supernet(point.file)[0]
    supernet = _kept[point.file.name]
    inputs, labels = samples.take(np.random.default_rng(6 + point.seed).permutation(len(samples))[:LARGE])
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    network = supernet.extract(arch)
    protocol = Protocol(initialisation="keep", batch_norm="batch", weights="given")
    values: dict[str, float] = {}
    for family, size in ((GRADIENT, LARGE), (PATTERN, SMALL)):
        wanted = [name for name in family if name in names]
        if wanted:
            found = score(network, (inputs[:size], labels[:size]), proxies=wanted, protocol=protocol)
            values |= {name: one.value for name, one in found.items()}
    if ACCURACY[0] in names:
        (by_batch,) = evaluate_paths(supernet, [arch], batch=held)
        values[ACCURACY[0]] = by_batch.accuracy
    if ACCURACY[1] in names:
        (recalibrated,) = evaluate_paths(supernet, [arch], batch=held, batch_norm="recalibrated", calibration=[inputs])
        values[ACCURACY[1]] = recalibrated.accuracy
    return values


def read_scores(
    point: Checkpoint, archs: list[Arch], workers: int, *, names: Sequence[str] = ALL, kind: str = "supernet"
) -> dict[str, np.ndarray]:
    """Scores by name; what a stopped run has scored is read back."""
    path = HERE / "cache" / f"{kind}-{point.level.split()[0]}-{point.seed}.csv"
    known: dict[str, dict[str, float]] = {}
    if path.exists():
        with path.open(newline="") as file:
            known = {text: json.loads(values) for text, values in csv.reader(file)}
    texts = [SPACE.format(arch) for arch in archs]
    missing = [arch for arch, text in zip(archs, texts, strict=True) if text not in known]
    for start in range(0, len(missing), 50):  # kept in pieces, so that a stopped run loses little
        some = missing[start : start + 50]
        found = in_parallel(
            scored, [(point, arch, names) for arch in some], workers, f"score {point.level}, seed {point.seed}"
        )
        with path.open("a", newline="") as file:
            for arch, values in zip(some, found, strict=True):
                known[SPACE.format(arch)] = values
                csv.writer(file).writerow([SPACE.format(arch), json.dumps(values)])
    return {name: np.array([known[text][name] for text in texts]) for name in known[texts[0]]}


def published(rows: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """Estimates of published supernets for the same cells."""
    with gzip.open(data_root() / "nas-bench" / "nas-bench-201" / "nb201_supernet_estimates.csv.gz", "rt") as file:
        known = {row["index"]: row for row in csv.DictReader(file)}
    some = [known.get(row["index"], {}) for row in rows]
    names = [name for name in next(iter(known.values())) if name not in ("index", "arch_str") and "acc" in name]
    return {name: np.array([float(one.get(name) or "nan") for one in some]) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--train", action="store_true", help="only train the supernets")
    arguments = parser.parse_args()
    archs, rows = cells(arguments.cells)
    truth = np.array([float(row["cifar10_test_200"]) for row in rows])
    points = [Checkpoint(level, seed) for level in LEVELS for seed in range(SEEDS[level])]
    with Progress() as progress:
        for point in points:
            train(point, progress)
    if arguments.train:
        return
    found = {(p.level, p.seed): read_scores(p, archs, arguments.workers) for p in points}
    for one in found.values():
        parts = ("zico", "fisher_rao(reading=layers, step=true)", "loss")
        one["rank_sum of zico, fisher_rao (layers, step), loss"] = subshot.aggregate(
            "rank_sum", {name: one[name] for name in parts}
        ).values
        one["rank_sum of loss, parameters"] = subshot.aggregate(
            "rank_sum", {n: one[n] for n in ("loss", "parameters")}
        ).values
    one_shot = found[ONE_SHOT, 0]["validation accuracy"]
    names = list(found[ONE_SHOT, 0])
    lines = [
        f"# A supernet's weights at five levels of training, {len(archs)} live NAS-Bench-201 cells",
        "",
        f"Supernet of {SPACE.channels} channels, one cell per stage, CIFAR-10 at 16 x 16; 100 % = {WHOLE:,} samples, one uniform path a step, "
        f"SGD 0.025 with cosine. {LARGE} training images for gradients, {SMALL} for patterns, batch statistics; validation accuracy on "
        f"{VALIDATION:,} test images, by their statistics or recalibrated on the {LARGE}. Truth: CIFAR-10 test accuracy after 200 epochs.",
        "",
        "## Spearman by level (mean over seeds, with the range where there are several)",
        "",
        f"| score | {' | '.join(LEVELS)} |",
        "| --- " * (len(LEVELS) + 1) + "|",
    ]
    for name in names:
        columns = []
        for level in LEVELS:
            values = [found[level, seed][name] for seed in range(SEEDS[level])]
            rhos = [
                spearman(v[np.isfinite(v)], truth[np.isfinite(v)]) if np.isfinite(v).sum() > 10 else float("nan")
                for v in values
            ]
            columns.append(shown(rhos))
        lines.append(f"| {name} | {' | '.join(columns)} |")
    for name in ("loss", "validation accuracy"):
        rhos = [
            shown(
                [spearman(found[level, seed][name], found[level, seed]["parameters"]) for seed in range(SEEDS[level])]
            )
            for level in LEVELS
        ]
        lines.append(f"| {name} against parameters, not accuracy | {' | '.join(rhos)} |")
    context = published(rows)
    lines += [
        "",
        "Published supernets on the same cells, for context:",
        "",
        "| estimate | Spearman | cells |",
        "| --- | --- | --- |",
    ]
    for name, values in context.items():
        finite = np.isfinite(values)
        if finite.sum() > 10:
            lines.append(f"| {name} | {interval(values[finite], truth[finite])} | {finite.sum()} |")
    for level in LEVELS:
        for seed in range(SEEDS[level]):
            one = found[level, seed]
            cold = found["0 %", seed if seed < SEEDS["0 %"] else 0]
            lines += [
                "",
                f"## {level}, seed {seed}",
                "",
                *table(one, truth, cold, references={"one-shot at 100 %": one_shot, "l2_norm": one["l2_norm"]}),
            ]
    (HERE / "results" / "supernet_curves.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
