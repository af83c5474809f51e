"""Does a proxy rank networks better after each of them was trained for a little while, and better than the plain loss does?

The vision study of SiGeo without a supernet: every network is trained by itself, 10 epochs over 24,000 images ("40 %": 240,000
samples), batch 128, plain SGD with rate 1, and looked at before, at a quarter ("10 %"), at a half ("20 %") and at the end.
Reduced: random live NAS-Bench-201 cells in networks of 8 channels and one cell per stage, images of 16 x 16 pixels. Truth:
test accuracy of the full-size networks after 200 epochs. Weights at each level are kept, so scoring can be done again.

    python experiments/warm_up_curves.py --train --workers 2      # weights, about a minute for each cell and core
    python experiments/warm_up_curves.py --workers 2              # scores and tables from them
"""

import argparse
import csv
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from _scores import HERE
from main_table import cells
from rich.progress import track
from scipy import stats
from torch import nn

from subshot._seeds import stable_seed
from subshot._types import Arch, Protocol, TaskSpec
from subshot.benchmarks.ranking import highest_mean, kendall, spearman
from subshot.data import load_images
from subshot.proxies._score import score
from subshot.spaces.nasbench201 import NasBench201
from subshot.supernets.per_architecture import Moment, per_architecture_warm_up
from subshot.training._samples import Samples, samples_from
from subshot.training._tensors import read_tensors, write_tensors

SPACE = NasBench201(channels=8, cells=1)
LEVELS = {"0 %": 0.0, "10 %": 0.25, "20 %": 0.5, "40 %": 1.0}  # of the SiGeo paper, as shares of one run
IMAGES = {"cifar10": 24_000, "cifar100": 8_000}
VALIDATION = 2_000
# Gradients need many samples, counts of patterns few.
LARGE, SMALL = 256, 16
GRADIENT = (
    "sigeo(setting=vision)", "sigeo(setting=vision_cold)", "sigeo(setting=recsys)", "sigeo", "zico",
    "fisher_rao", "fisher_rao(reading=layers)", "fisher_rao(reading=mean)", "fisher_rao(reading=layers, step=true)",
    "fisher_rao(scope=head)", "loss", "grad_norm", "snip", "synflow", "l2_norm", "parameters", "macs",
)  # fmt: skip
PATTERN = ("swap", "nwot", "jacob_cov", "meco", "near")


@dataclass(frozen=True)
class Run:
    """One data set, seed and how far it is trained."""

    data: str
    seed: int
    levels: tuple[str, ...]

    @property
    def task(self) -> TaskSpec:
        return TaskSpec.images(3, 16, 16, classes=100 if self.data == "cifar100" else 10)

    def file(self, arch: Arch, level: str) -> Path:
        genes = "".join(map(str, arch.genes))
        return HERE / "cache" / "warm_up" / f"{self.data}-{self.seed}-{genes}-{level.split()[0]}.safetensors"


RUNS = (
    Run("cifar10", 0, tuple(LEVELS)),
    Run("cifar10", 1, ("0 %", "10 %")),
    Run("cifar10", 2, ("0 %", "10 %")),
    Run("cifar100", 0, ("0 %", "10 %")),
)

_kept: dict[str, tuple[Samples, torch.Tensor, torch.Tensor]] = {}


def data_of(run: Run) -> tuple[Samples, torch.Tensor, torch.Tensor]:
    """Training samples, and images and labels of the test part; read once in each process."""
    if run.data not in _kept:
        held = samples_from(load_images(run.data, split="test", limit=None), run.task)
        images, labels = held.take(np.random.default_rng(5).permutation(len(held))[:VALIDATION])
        _kept[run.data] = samples_from(run.data, run.task), images, labels
    return _kept[run.data]


def network_of(run: Run, arch: Arch) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed(run.seed, SPACE.format(arch)))
        return SPACE.build(arch, run.task, variant="official").to(memory_format=torch.channels_last)


def train(job: tuple[Run, Arch]) -> None:
    """Train one network and keep its weights at each level."""
    run, arch = job
    torch.set_num_threads(1)
    if all(run.file(arch, level).exists() for level in run.levels):
        return
    samples, images, labels = data_of(run)
    network = network_of(run, arch)
    names = {LEVELS[level]: level for level in run.levels}

    def look(moment: Moment) -> None:
        modes = [(module, module.training) for module in network.modules()]
        network.eval()
        with torch.no_grad():
            accuracy = float((network(images).argmax(1) == labels).double().mean())
        for module, mode in modes:
            module.training = mode
        header = {
            "accuracy": accuracy,
            "losses": list(moment.losses),
            "samples": moment.samples,
            "macs": moment.macs,
            "images": moment.images[:LARGE].tolist(),
        }
        write_tensors(run.file(arch, names[moment.share]), network.state_dict(), header)

    per_architecture_warm_up(
        network,
        samples,
        task=run.task,
        look=look,
        images=IMAGES[run.data],
        shares=sorted(names),
        epochs=10 if run.data == "cifar10" else 30,
        seed=run.seed,
    )


def scored(job: tuple[Run, Arch, str]) -> dict[str, float]:
    """Scores of one network with the weights of one level."""
    run, arch, level = job
    torch.set_num_threads(1)
    samples, _, _ = data_of(run)
    tensors, header = read_tensors(run.file(arch, level))
    network = network_of(run, arch)
    network.load_state_dict(tensors)
    inputs, labels = samples.take(np.array(header["images"]))
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    protocol = Protocol(initialisation="keep", batch_norm="batch", weights="given")
    found = score(network, (inputs, labels), proxies=GRADIENT, protocol=protocol)
    found |= score(network, (inputs[:SMALL], labels[:SMALL]), proxies=PATTERN, protocol=protocol)
    values = {name: one.value for name, one in found.items()}
    values["validation accuracy"] = header["accuracy"]
    losses = header["losses"]
    values["- sum of training losses"] = -float(np.sum(losses))
    # Of the last fiftieth of the steps: a single batch is mostly chance.
    values["- training loss"] = -float(np.mean(losses[-max(1, len(losses) // 50) :])) if losses else float("nan")
    return values


def truths(count: int) -> tuple[list[Arch], dict[str, np.ndarray]]:
    archs, rows = cells(count)
    return archs, {data: np.array([float(row[f"{data}_test_200"]) for row in rows]) for data in IMAGES}


def in_parallel(function: Callable[..., object], jobs: Sequence[object], workers: int, label: str) -> list[object]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return list(track(pool.map(function, jobs), total=len(jobs), description=label))


def read_scores(run: Run, archs: Sequence[Arch], level: str, workers: int) -> dict[str, np.ndarray]:
    """Scores by name; finished networks are read back."""
    path = HERE / "cache" / f"warm_up-{run.data}-{run.seed}-{level.split()[0]}.csv"
    known: dict[str, dict[str, float]] = {}
    if path.exists():
        with path.open(newline="") as file:
            known = {text: json.loads(values) for text, values in csv.reader(file)}
    missing = [arch for arch in archs if SPACE.format(arch) not in known]
    found = in_parallel(scored, [(run, arch, level) for arch in missing], workers, f"{run.data} {run.seed} {level}")
    with path.open("a", newline="") as file:
        for arch, values in zip(missing, found, strict=True):
            known[SPACE.format(arch)] = values
            csv.writer(file).writerow([SPACE.format(arch), json.dumps(values)])
    return {
        name: np.array([known[SPACE.format(arch)][name] for arch in archs]) for name in known[SPACE.format(archs[0])]
    }


@cache
def draws(count: int) -> np.ndarray:
    """Resamples of the networks, the same for every score."""
    return np.random.default_rng(0).integers(count, size=(1000, count))


def resampled(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Spearman on each resample."""
    a, b = (_ranks(one.tobytes()) for one in (values, truth))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))


@lru_cache(maxsize=16)  # the references of a table meet each of its scores
def _ranks(values: bytes) -> np.ndarray:
    chosen = np.frombuffer(values)
    ranks = stats.rankdata(chosen[draws(len(chosen))], axis=1)
    return ranks - ranks.mean(axis=1, keepdims=True)


def interval(values: np.ndarray, truth: np.ndarray) -> str:
    """Spearman with its bootstrap interval."""
    low, high = np.nanquantile(resampled(values, truth), [0.025, 0.975])
    return f"{spearman(values, truth):.3f} [{low:.3f}, {high:.3f}]"


def paired(a: np.ndarray, b: np.ndarray, truth: np.ndarray) -> str:
    """Spearman of ``a`` minus that of ``b`` on the same networks, with a bootstrap interval."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b, truth = a[both], b[both], truth[both]
    if len(a) < 10 or len(np.unique(a)) == 1 or len(np.unique(b)) == 1:  # no order to compare
        return "-"
    low, high = np.nanquantile(resampled(a, truth) - resampled(b, truth), [0.025, 0.975])
    return f"{spearman(a, truth) - spearman(b, truth):+.3f} [{low:+.3f}, {high:+.3f}]"


BASELINES = (
    "parameters",
    "macs",
    "loss",
    "- training loss",
    "- sum of training losses",
    "validation accuracy",
    "recalibrated accuracy",
    "grad_norm",
)


def table(
    found: dict[str, np.ndarray],
    truth: np.ndarray,
    cold: dict[str, np.ndarray],
    *,
    references: dict[str, np.ndarray] | None = None,
) -> list[str]:
    """Every score by falling correlation, beside differences on the same networks to references, size and accuracy."""
    references = (references or {}) | {name: found[name] for name in ("parameters", "validation accuracy")}
    heads = [
        "score",
        "Spearman",
        "Kendall",
        "mean of its ten",
        *(f"minus {name}" for name in references),
        "minus itself at 0 %",
    ]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    rows = []
    for name, values in found.items():
        finite = np.isfinite(values)
        if finite.sum() < 10 or len(np.unique(values[finite])) == 1:
            told = "all the same" if finite.sum() >= 10 else f"{finite.sum()} of {len(values)} have a score"
            rows.append((-9.0, f"| {name} | {told} |" + " - |" * (len(heads) - 2)))
            continue
        rho, tau = spearman(values[finite], truth[finite]), kendall(values[finite], truth[finite])
        cells_of = [
            f"{name} (baseline)" if name in BASELINES else name,
            f"{interval(values[finite], truth[finite])}{'' if finite.all() else f' on {finite.sum()}'}",
            f"{tau:.3f}",
            f"{highest_mean(values[finite], truth[finite], 10):.2f}",
            *(paired(values, other, truth) for other in references.values()),
            paired(values, cold[name], truth) if name in cold else "-",
        ]
        rows.append((rho, f"| {' | '.join(cells_of)} |"))
    return [*lines, *(text for _, text in sorted(rows, key=lambda one: -one[0]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--train", action="store_true", help="only train, and keep the weights")
    arguments = parser.parse_args()
    archs, truth = truths(arguments.cells)
    for run in RUNS:
        in_parallel(train, [(run, arch) for arch in archs], arguments.workers, f"train {run.data} {run.seed}")
    if arguments.train:
        return
    lines = [
        f"# Proxies of networks that were trained a little, {len(archs)} live NAS-Bench-201 cells",
        "",
        f"Networks of {SPACE.channels} channels, one cell per stage, images of 16 x 16 pixels; each trained by itself with SGD, rate 1, "
        f"batch 128; {LARGE} of its own images for gradients, {SMALL} for patterns, batch statistics. Truth: test accuracy "
        "after 200 epochs of the full-size network. Validation accuracy: 2,000 test images, running statistics.",
    ]
    summary: dict[tuple[str, str], dict[str, list[float]]] = {}
    for run in RUNS:
        cold: dict[str, np.ndarray] = {}
        for level in run.levels:
            found = read_scores(run, archs, level, arguments.workers)
            found["rank_sum of zico, fisher_rao (layers, step), loss"] = sum(
                np.argsort(np.argsort(found[name]))
                for name in ("zico", "fisher_rao(reading=layers, step=true)", "loss")
            ).astype(float)
            cold = cold or found
            beside = {"l2_norm": found["l2_norm"]}  # the plainest score of weights
            lines += ["", f"## {run.data}, seed {run.seed}, {level}", ""]
            lines += table(found, truth[run.data], cold, references=beside)
            for name, values in found.items():
                finite = np.isfinite(values)
                rho = spearman(values[finite], truth[run.data][finite]) if finite.sum() > 10 else float("nan")
                summary.setdefault((run.data, level), {}).setdefault(name, []).append(rho)
    heads = list(summary)
    lines[3:3] = [
        "",
        "## Spearman by level (mean over seeds, with the range where there are several)",
        "",
        f"| score | {' | '.join(f'{data} {level}' for data, level in heads)} |",
        "| --- " * (len(heads) + 1) + "|",
        *(
            f"| {name} | {' | '.join(shown(summary[head].get(name, [])) for head in heads)} |"
            for name in dict.fromkeys(name for one in summary.values() for name in one)
        ),
    ]
    (HERE / "results" / "warm_up_curves.md").write_text("\n".join(lines) + "\n")


def shown(values: Sequence[float]) -> str:
    if not values or not np.isfinite(values).all():
        return "-"
    spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
