"""The leaderboard: eight proxies and the baselines on every benchmark, by ``subshot.rank``, into ``docs/leaderboard.md``.

One shared protocol: torch's default initialisation, batch statistics, one batch of 32 CIFAR-10 images (64 x 64 for
TransNAS-Bench-101, random words for NAS-Bench-BERT). Scores are kept in ``experiments/cache``, so a stopped run continues.

    python experiments/leaderboard.py --workers 2
"""

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from _scores import HERE
from rich.progress import Progress

import subshot
from subshot.benchmarks.ranking import rank as statistics
from subshot.report._rank_words import facts, notes
from subshot.studies._ranked import RankReport, RankRow

PROXIES = ("swap", "nwot", "synflow", "jacob_cov", "zico", "zen", "meco", "near")
BASELINES = ("parameters", "macs")
AGGREGATE = "log_rank_sum"


@dataclass(frozen=True)
class Entry:
    """One ranking of the leaderboard."""

    title: str
    table: str
    targets: dict[str, str]  # column: heading
    archs: str | int
    settings: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    unlabelled: tuple[str, ...] = ()  # targets of tasks whose labels the images lack

    @property
    def folder(self) -> Path:
        return HERE / "cache" / "leaderboard" / self.title.lower().replace(" ", "-").replace(",", "")


def words(count: int = 32, length: int = 128, vocabulary: int = 30_522) -> tuple[np.ndarray, np.ndarray]:
    """Random words whose frequencies fall as those of a language do, and random labels."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, vocabulary + 1)
    return rng.choice(vocabulary, (count, length), p=weights / weights.sum()), rng.integers(2, size=count)


NB201 = {"cifar10_test_200": "C10", "cifar100_test_200": "C100", "imagenet16_test_200": "IN16"}
SCENES = {
    "class_scene_val": "scene",
    "class_object_val": "object",
    "autoencoder_val": "autoencoder",
    "segmentsemantic_val": "segmentation",
}
DENSE = ("autoencoder_val", "segmentsemantic_val")
ENCODERS = (
    "Narrow networks with the head of a classifier: one look at the encoder serves all four tasks. The images have classes, but neither "
    "pictures to restore nor segments, so proxies that need labels are left out of these two tasks, and of the sum there."
)
DARTS_NOTE = (
    "SWAP's pair of tiny cells. SWAP's own protocol has 16 images, where it ranks these networks with 0.91 "
    "([table](../experiments/results/swap_darts1000.md)) and a quarter of all units have a pattern of their own; here it is half."
)
ENTRIES = (
    Entry(
        "NAS-Bench-201",
        "nasbench201",
        NB201,
        "live:1000",
        {"variant": "official"},
        "The published network: 16 channels, five cells per stage.",
    ),
    Entry(
        "NAS-Bench-201, narrow",
        "nasbench201",
        NB201,
        "live:1000",
        {"variant": "narrow"},
        "The same cells in networks of 2 channels, our default for scoring; baselines too are the narrow network's.",
    ),
    Entry("TransNAS micro", "transnas_micro", SCENES, 100, {"image_size": (64, 64)}, ENCODERS, DENSE),
    Entry("TransNAS macro", "transnas_macro", SCENES, 100, {"image_size": (64, 64)}, ENCODERS, DENSE),
    Entry("DARTS-1000", "darts1000", {"cifar10_val_acc": "C10"}, "all", {}, DARTS_NOTE),
    Entry("NAS-Bench-101", "nasbench101", {"val_108": "C10"}, "all", {}, "Narrow networks; all rows with an accuracy."),
    Entry(
        "NAS-Bench-BERT",
        "nasbench_bert",
        {"glue_avg": "GLUE"},
        200,
        {"data": words()},
        "Text encoders on random words with random labels: what proxies see without any text.",
    ),
)

# Spearman as published, with the source; other architectures, networks and batches than ours. Suite-Zero: the scores that
# NAS-Bench-Suite-Zero stores, against best-epoch values of about 700 networks.
PUBLISHED = {
    ("NAS-Bench-201", "C10", "swap"): "0.810 (APD)",
    ("NAS-Bench-201", "C100", "swap"): "0.820 (APD)",
    ("NAS-Bench-201", "IN16", "swap"): "0.774 (APD)",
    ("NAS-Bench-201", "C10", "nwot"): "0.743 (APD)",
    ("NAS-Bench-201", "C100", "nwot"): "0.769 (APD)",
    ("NAS-Bench-201", "IN16", "nwot"): "0.760 (APD)",
    ("NAS-Bench-201", "C10", "synflow"): "0.769 (APD)",
    ("NAS-Bench-201", "C100", "synflow"): "0.758 (APD)",
    ("NAS-Bench-201", "IN16", "synflow"): "0.745 (APD)",
    ("NAS-Bench-201", "C10", "zico"): "0.784 (APD)",
    ("NAS-Bench-201", "C100", "zico"): "0.813 (APD)",
    ("NAS-Bench-201", "IN16", "zico"): "0.804 (APD)",
    ("NAS-Bench-201", "C10", "zen"): "0.365 (APD)",
    ("NAS-Bench-201", "C10", "meco"): "0.894 (authors)",
    ("NAS-Bench-201", "C100", "meco"): "0.883 (authors)",
    ("NAS-Bench-201", "IN16", "meco"): "0.845 (authors)",
    ("NAS-Bench-201", "C10", "near"): "0.88 (authors)",
    ("NAS-Bench-201", "C100", "near"): "0.87 (authors)",
    ("NAS-Bench-201", "IN16", "near"): "0.84 (authors)",
    ("NAS-Bench-201", "C10", "parameters"): "0.751 (APD)",
    ("DARTS-1000", "C10", "swap"): "0.93 (authors)",
    ("TransNAS micro", "scene", "jacob_cov"): "0.72 (Suite-Zero)",
    ("TransNAS micro", "object", "jacob_cov"): "0.52 (Suite-Zero)",
    ("TransNAS micro", "autoencoder", "jacob_cov"): "0.10 (Suite-Zero)",
    ("TransNAS micro", "segmentation", "jacob_cov"): "0.77 (Suite-Zero)",
    ("TransNAS macro", "scene", "nwot"): "0.83 (Suite-Zero)",
    ("TransNAS macro", "object", "nwot"): "0.78 (Suite-Zero)",
    ("TransNAS macro", "autoencoder", "nwot"): "0.74 (Suite-Zero)",
    ("TransNAS macro", "segmentation", "nwot"): "0.87 (Suite-Zero)",
    ("TransNAS macro", "scene", "macs"): "0.84 (Suite-Zero)",
    ("TransNAS macro", "object", "macs"): "0.72 (Suite-Zero)",
    ("TransNAS macro", "autoencoder", "macs"): "0.84 (Suite-Zero)",
    ("TransNAS macro", "segmentation", "macs"): "0.73 (Suite-Zero)",
    ("NAS-Bench-101", "C10", "synflow"): "0.38 (APD)",
    ("NAS-Bench-101", "C10", "zico"): "0.46 to 0.65 (papers)",
    ("NAS-Bench-BERT", "GLUE", "swap"): "0.71 (2025)",
}


def ranked(entry: Entry, workers: int, progress: Progress) -> RankReport:
    bar = progress.add_task(entry.title, total=None)
    return subshot.rank(
        table=entry.table,
        target=list(entry.targets),
        proxies=PROXIES,
        aggregates=(AGGREGATE,),
        archs=entry.archs,
        out=entry.folder,
        again=0,
        workers=workers,
        on_progress=lambda state: progress.update(bar, completed=state.done, total=state.total, description=f"{entry.title} {state.stage}"),
        **({"data": "cifar10", "batch_size": 32} | entry.settings),
    )  # fmt: skip


def row_of(entry: Entry, report: RankReport, name: str) -> RankRow:
    """A score's row; without proxies that need labels where the task's are lacking."""
    row = report[name]
    if report.table.target not in entry.unlabelled:
        return row
    labelled = [proxy for proxy in PROXIES if subshot.get_proxy(proxy).labels]
    if name in labelled:
        return replace(row, ranking=None, reasons={"needs labels of the task": report.archs})
    if name != AGGREGATE:
        return row
    others = {proxy: report.scores[proxy] for proxy in PROXIES if proxy not in labelled}
    return replace(row, ranking=statistics(subshot.aggregate(AGGREGATE, others).values, report.truth))


def spearman_of(row: RankRow) -> str:
    if row.ranking is None:
        return "not applicable"
    one = row.ranking.spearman
    left_out = f", {row.non_finite} left out" if row.non_finite else ""
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]{left_out}"


def overview(found: dict[str, RankReport]) -> list[str]:
    """Spearman by proxy and target, the published figure behind it."""
    columns = [
        (entry, target, head) for entry in ENTRIES if entry.title in found for target, head in entry.targets.items()
    ]
    lines = [
        f"| proxy | {' | '.join(f'{entry.title} {head}' for entry, _, head in columns)} |",
        "| --- " * (len(columns) + 1) + "|",
    ]
    for name in (*BASELINES, *PROXIES, AGGREGATE):
        cells = []
        for entry, target, head in columns:
            report = found[entry.title].targets[target]
            published = PUBLISHED.get((entry.title, head, name))
            cells.append(spearman_of(row_of(entry, report, name)) + (f"; published {published}" if published else ""))
        lines.append(f"| {name}{' (baseline)' if name in BASELINES else ''} | {' | '.join(cells)} |")
    return lines


def details(entry: Entry, found: RankReport) -> list[str]:
    """The top of each ranking, how it was measured, and what it cost."""
    lines = ["", f"## {entry.title}", "", entry.note]
    for target, head in entry.targets.items():
        report = found.targets[target]
        lines += [
            "",
            f"**{head}.** " + " ".join([*facts(report), *notes(report)]),
            "",
            "| score | Spearman | Kendall | in best 10 % | in best 5 % | hits in best 5 % | first | mean of ten | equal pairs |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name in (*BASELINES, *PROXIES, AGGREGATE):
            row = row_of(entry, report, name)
            if row.ranking is None:
                why = "; ".join(row.reasons) or "no finite score"
                lines.append(f"| {name} | {why} | | | | | | | |")
                continue
            one = row.ranking
            top = [f"{value.value:.2f}" for value in (one.kendall_top10, one.kendall_top5, one.precision_top5)]
            picks = [
                f"{one.top1.value:.4g}",
                f"{one.top10_mean.value:.4g} [{one.top10_mean.low:.4g}, {one.top10_mean.high:.4g}]",
            ]
            lines.append(
                f"| {name} | {one.spearman} | {one.kendall.value:.3f} | {' | '.join([*top, *picks])} | {row.ties:.1%} |"
            )
    seconds = max(row.seconds for row in found.rows)
    lines += [
        "",
        f"Protocol: {found.protocol}. One look for all: {seconds / found.archs:.2f} s per network, {seconds / 60:.1f} min for "
        f"{found.archs:,} networks on one core.",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="", help="only entries whose title holds this text; the page isn't written")
    parser.add_argument("--finished", action="store_true", help="write the page with the entries that are finished")
    arguments = parser.parse_args()
    found: dict[str, RankReport] = {}
    with Progress(transient=True) as progress:
        for entry in ENTRIES:
            if arguments.only in entry.title and not (arguments.finished and not (entry.folder / "rank.json").exists()):
                found[entry.title] = ranked(entry, arguments.workers, progress)
    lines = [
        "# Leaderboard",
        "",
        "Every figure here is made by one command, `python experiments/leaderboard.py`, under one protocol, with 95 % bootstrap intervals "
        "over architectures. Parameters and MACs of the scored network come first: a score that is not above them orders "
        "no better than size does. Published figures stand beside ours where there are any; they come from other networks, batches and sets of "
        "architectures, which is what [protocol traps](protocol-traps.md) is about. `log_rank_sum` combines the eight proxies. "
        "More proxies on NAS-Bench-201 and DARTS: [main table](../experiments/results/main_table.md).",
        "",
        "## Spearman's rank correlation",
        "",
        *overview(found),
    ]
    missing = [entry.title for entry in ENTRIES if entry.title not in found]
    if missing:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    for entry in ENTRIES:
        if entry.title in found:
            lines += details(entry, found[entry.title])
    text = "\n".join(lines) + "\n"
    if arguments.only:
        print(text)
    else:
        (HERE.parent / "docs" / "leaderboard.md").write_text(text)
        summary = {
            entry.title: {
                name: [row_of(entry, one, row.proxy).to_dict() for row in one.rows]
                for name, one in found[entry.title].targets.items()
            }
            for entry in ENTRIES
            if entry.title in found
        }
        (HERE / "results" / "leaderboard.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
