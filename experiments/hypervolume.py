"""How much of the true front of score against MACs do strategies of several objectives find?

All 15,625 cells of NAS-Bench-201 are scored once on the bundled digits (a network of one cell a stage at 2 channels), so
that the whole front is known. Each strategy then searches with a budget of distinct cells, and the hypervolume of what
it found is given as a share of the true front's. Score and MACs of the published network are scaled to 0..1 over the
space; the reference is the worst of each.

    python experiments/hypervolume.py
"""

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
from _scores import HERE, protocol_for, scores

from subshot._types import Arch, Evaluation, Score
from subshot.data import take_batch
from subshot.errors import MissingDependencyError
from subshot.spaces._space import get_space
from subshot.strategies._hypervolume import hypervolume
from subshot.strategies._strategy import make_strategy

STRATEGIES = ("random", "swap_evolution", "nsga2", "pymoo(algorithm=nsga2)", "optuna(sampler=nsga2)")
BUDGETS = (100, 250, 500, 1000)
SETTINGS = (("swap", "-macs"), ("swap", "nwot", "-macs"))


def table(workers: int) -> tuple[list[Arch], dict[str, np.ndarray]]:
    """Every cell and its objectives, scaled to 0..1; NaN where there is no finite score."""
    space = get_space("nasbench201(cells=1)")
    archs = list(space.architectures())
    batch = take_batch("mnist_sample", 16, seed=0)
    found = scores("hypervolume", space, archs, batch, protocol_for(space, batch), proxies="swap,nwot", workers=workers)
    trained = get_space("nasbench201")
    raw = {name: found[name] for name in ("swap", "nwot")}
    raw["-macs"] = -np.array([trained.measure(arch).macs for arch in archs], dtype=float)
    return archs, {
        name: (values - np.nanmin(values)) / (np.nanmax(values) - np.nanmin(values)) for name, values in raw.items()
    }


def volume(points: np.ndarray) -> float:
    return hypervolume(points[np.isfinite(points).all(axis=1)], [0.0] * points.shape[1])


def search(
    strategy: str, objectives: Sequence[str], seed: int, known: Mapping[Arch, Evaluation], most: int
) -> list[Arch]:
    """The first distinct cells that a strategy asks for."""
    chooser = make_strategy(strategy, get_space("nasbench201"), objective=objectives, seed=seed)
    found: dict[Arch, None] = {}
    while len(found) < most:
        trials = chooser.ask(1000)
        if not trials:
            break
        for trial in trials:
            found.setdefault(trial.arch)
            chooser.tell(trial.id, known[trial.arch])
    return list(found)[:most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    archs, columns = table(arguments.workers)
    row_of = {arch: row for row, arch in enumerate(archs)}
    known = {arch: {name: Score.of(values[row]) for name, values in columns.items()} for row, arch in enumerate(archs)}
    lines = [
        "# Hypervolume at equal budget, NAS-Bench-201",
        "",
        f"Share of the true front's hypervolume, mean of {arguments.seeds} seeds (lowest to highest); a budget is a number "
        "of distinct cells out of 15,625.",
    ]
    for objectives in SETTINGS:
        points = np.stack([columns[name] for name in objectives], axis=1)
        whole = volume(points)
        lines += ["", f"## {', '.join(objectives)}", ""]
        lines += ["| strategy | " + " | ".join(f"{budget:,}" for budget in BUDGETS) + " |"]
        lines += ["| --- |" + " --- |" * len(BUDGETS)]
        for strategy in STRATEGIES:
            try:
                runs = [search(strategy, objectives, seed, known, max(BUDGETS)) for seed in range(arguments.seeds)]
            except MissingDependencyError as error:
                print(error)
                continue
            cells = []
            for budget in BUDGETS:
                shares = [volume(points[[row_of[arch] for arch in run[:budget]]]) / whole for run in runs]
                cells.append(f"{np.mean(shares):.4f} ({min(shares):.4f} to {max(shares):.4f})")
            lines.append(f"| `{strategy}` | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    (HERE / "results" / "hypervolume.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
