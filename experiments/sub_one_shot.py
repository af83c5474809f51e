"""Does a score of a supernet after 1 or 10 % of its training beat zero-shot scores, the trained supernet, size and accuracy?

A score, or a rank sum of two or three, is chosen on the cells of supernet_curves.py by its mean Spearman over three supernets, at
10 % and, as its rival, without training. Both choices are judged on as many fresh cells: no cell that chose is judged.
Needs the supernets and scores of supernet_curves.py; run that first.

    python experiments/sub_one_shot.py --workers 2
"""

import argparse
import itertools
from collections.abc import Sequence

import numpy as np
from _scores import HERE, protocol_for, scores
from main_table import cells
from supernet_curves import ACCURACY, ALL, ONE_SHOT, SEEDS, WHOLE, Checkpoint, read_scores
from warm_up_curves import interval, paired, resampled

from subshot._types import Arch
from subshot.aggregators import aggregate
from subshot.benchmarks.ranking import kendall, spearman
from subshot.data import take_batch
from subshot.spaces.nasbench201 import NasBench201

WARM, COLD = "10 %", "0 %"
BETWEEN = ("1 %",)

Scores = dict[str, np.ndarray]
Names = tuple[str, ...]


def summed(found: Scores, names: Names) -> np.ndarray:
    """One score, or the rank sum of several."""
    if len(names) == 1:
        return found[names[0]]
    values: np.ndarray = aggregate("rank_sum", {name: found[name] for name in names}).values
    return values


def chosen(by_seed: Sequence[Scores], truth: np.ndarray) -> list[tuple[float, Names]]:
    """Scores and rank sums, best mean correlation first; MACs order these cells as parameters do."""
    usable = [
        name
        for name in by_seed[0]
        if name not in ("macs", *ACCURACY) and all(np.isfinite(one[name]).all() for one in by_seed)
    ]
    several = [names for count in (1, 2, 3) for names in itertools.combinations(usable, count)]
    found = [(float(np.mean([spearman(summed(one, names), truth) for one in by_seed])), names) for names in several]
    return sorted(found, reverse=True)


def label(names: Names) -> str:
    return names[0] if len(names) == 1 else f"rank_sum of {', '.join(names)}"


def full_size(archs: list[Arch], names: Names, workers: int) -> Scores:
    """Scores of the networks that the accuracies are of, untrained."""
    space, batch = NasBench201(), take_batch("cifar10", 32, samples="random", seed=0, image_size=None)
    label_of = "sub_one_shot_full"
    return scores(label_of, space, archs, batch, protocol_for(space, batch), proxies=",".join(names), workers=workers)


def mean_difference(pairs: Sequence[tuple[np.ndarray, np.ndarray]], truth: np.ndarray) -> str:
    """Difference of correlations, mean over supernets; the same resamples of the cells for all."""
    value = np.mean([spearman(a, truth) - spearman(b, truth) for a, b in pairs])
    drawn = np.mean([resampled(a, truth) - resampled(b, truth) for a, b in pairs], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cells", type=int, default=300, help="that choose, and as many that judge")
    arguments = parser.parse_args()
    archs, rows = cells(2 * arguments.cells)
    truth = np.array([float(row["cifar10_test_200"]) for row in rows])
    known, fresh = slice(arguments.cells), slice(arguments.cells, None)

    def read(level: str, some: list[Arch], kind: str, names: Sequence[str] = ALL) -> list[Scores]:
        points = [Checkpoint(level, seed) for seed in range(SEEDS[level])]
        return [read_scores(point, some, arguments.workers, names=names, kind=kind) for point in points]

    choosing = {level: read(level, archs[known], "supernet") for level in (COLD, *BETWEEN, WARM, ONE_SHOT)}
    ranked = {level: chosen(choosing[level], truth[known]) for level in (WARM, *BETWEEN, COLD)}
    best, rival = ranked[WARM][0][1], ranked[COLD][0][1]
    (single,) = next(names for _, names in ranked[COLD] if len(names) == 1)
    one_shot = max(ACCURACY, key=lambda name: spearman(choosing[ONE_SHOT][0][name], truth[known]))
    needed = tuple(dict.fromkeys((*best, *rival, single, "parameters", "loss")))
    wanted = dict.fromkeys((COLD, *BETWEEN), needed) | dict.fromkeys((WARM, ONE_SHOT), (*needed, *ACCURACY))
    judged = {level: read(level, archs[fresh], "sub_one_shot", names) for level, names in wanted.items()}
    trained = judged[ONE_SHOT][0][one_shot]
    whole = full_size(archs[fresh], tuple(dict.fromkeys((*best, *rival))), arguments.workers)

    lines = [
        "# A score of a supernet after 1 or 10 % of its training",
        "",
        f"Supernets, scores and images as in [supernet_curves](supernet_curves.md); 100 % = {WHOLE:,} samples. Chosen on "
        f"{arguments.cells} live NAS-Bench-201 cells by the mean Spearman of three supernets, out of "
        f"{len(ranked[WARM]):,} scores and rank sums of two or three; judged on {arguments.cells} other cells. "
        "Intervals: 1,000 resamples of the cells, for these three supernets. Full size: 16 channels, five cells per stage, "
        "32 x 32 pixels, 32 images, one initialisation.",
        "",
        f"- Chosen at 10 %: **{label(best)}**, {ranked[WARM][0][0]:.3f} on the cells that chose.",
        *(
            f"- Chosen at {level} it would be: {label(found[0][1])}, {found[0][0]:.3f}."
            for level, found in ranked.items()
            if level in BETWEEN
        ),
        f"- Chosen without training, the zero-shot rival: **{label(rival)}**, {ranked[COLD][0][0]:.3f}; best single score: {single}.",
        f"- One-shot estimate of the supernet at 100 %: {one_shot}, the better of two readings on the cells that chose.",
        "",
        "## On fresh cells",
        "",
        "| score | weights | Spearman | Kendall |",
        "| --- | --- | --- | --- |",
    ]
    shown = [(best, level) for level in judged] + [(rival, COLD), ((single,), COLD), (("parameters",), COLD)]
    shown += [(("loss",), WARM), ((ACCURACY[0],), WARM), ((one_shot,), ONE_SHOT)]
    for names, level in shown:
        for seed, found in enumerate(judged[level]):
            values = summed(found, names)
            lines.append(
                f"| {label(names)} | {level}, seed {seed} | {interval(values, truth[fresh])} | {kendall(values, truth[fresh]):.3f} |"
            )
    for names in dict.fromkeys((best, rival, (single,))):
        values = summed(whole, names)
        lines.append(
            f"| {label(names)} | untrained, full size | {interval(values, truth[fresh])} | {kendall(values, truth[fresh]):.3f} |"
        )
    heads = (
        "itself at full size, untrained",
        "itself at 0 %",
        "zero-shot rival",
        single,
        "one-shot at 100 %",
        "parameters",
        "validation accuracy at 10 %",
    )
    for level in (*BETWEEN, WARM):
        lines += ["", f"## Chosen score at {level} minus", "", f"| seed | {' | '.join(heads)} |", "| --- " * 8 + "|"]
        pairs: list[list[tuple[np.ndarray, np.ndarray]]] = []
        for seed, (warm, cold, at_ten) in enumerate(zip(judged[level], judged[COLD], judged[WARM], strict=True)):
            others = [summed(whole, best), summed(cold, best), summed(cold, rival), cold[single], trained]
            others += [warm["parameters"], at_ten[ACCURACY[0]]]
            pairs.append([(summed(warm, best), other) for other in others])
            lines.append(f"| {seed} | {' | '.join(paired(a, b, truth[fresh]) for a, b in pairs[-1])} |")
        means = [mean_difference(column, truth[fresh]) for column in zip(*pairs, strict=True)]
        lines.append(f"| mean | {' | '.join(means)} |")
    text = "\n".join(lines) + "\n"
    (HERE / "results" / "sub_one_shot.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
