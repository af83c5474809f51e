"""What NAS-Bench-201 and NATS-Bench keep of an architecture: trials, by data set and seed, of each training length.

Both archives hold the state of their authors' ``ArchResults`` and ``ResultsCount``: for each trial accuracies, losses
and times of every epoch, of which a table needs the last epoch's accuracy. Reading keeps no more than that, so that
archives of gigabytes fit into memory.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from subshot.benchmarks._columns import Columns
from subshot.benchmarks._facts import TargetFacts
from subshot.benchmarks.archives._rows import Rows, cell, joined_cell, mean_cell
from subshot.data._byte_source import Malformed

# Data set and part of a column; then the archive's name for the setting and for the part. CIFAR-10 was trained on half
# of its training images for validation, on all of them for the test.
_PARTS: Final = (
    ("cifar10", "valid", "cifar10-valid", "x-valid"),
    ("cifar10", "test", "cifar10", "ori-test"),
    ("cifar100", "valid", "cifar100", "x-valid"),
    ("cifar100", "test", "cifar100", "x-test"),
    ("imagenet16", "valid", "ImageNet16-120", "x-valid"),
    ("imagenet16", "test", "ImageNet16-120", "x-test"),
)
_RUNS: Final = "_seeds"
_SPLITS: Final = {"valid": "validation", "test": "test"}
_COSTS: Final = {"params_m": "params", "macs_m": "flop", "latency_ms": "latency"}
# Where trials disagree on their size, the authors' own reader takes this seed's.
_TRUSTED_SEED: Final = 888


def architectures(content: object) -> list[str]:
    """The architectures by their official number.

    Raises:
        Malformed: There is no such list.
    """
    archs = content.get("meta_archs") if isinstance(content, dict) else None
    if not isinstance(archs, list) or not archs or not all(isinstance(arch, str) for arch in archs):
        raise Malformed("it has no list of architectures, 'meta_archs'")
    return archs


def inside(content: object, name: str) -> dict[Any, Any]:
    """A dictionary inside another.

    Raises:
        Malformed: There is none.
    """
    found = content.get(name) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise Malformed(f"it has no {name!r} where such files have one")
    return found


def keep_ends(record: dict[Any, Any]) -> None:
    """Reduce the state of a trial to the accuracies after its last epoch and its costs; leave all else alone."""
    if "eval_acc1es" not in record or "epochs" not in record:
        return
    last = f"@{record['epochs'] - 1}"
    accuracies = inside(record, "eval_acc1es").items()
    ends = {
        name.removesuffix(last): value for name, value in accuracies if isinstance(name, str) and name.endswith(last)
    }
    kept = {"ends": ends} | {name: record[name] for name in ("params", "flop", "latency") if name in record}
    for value in record.values():
        if isinstance(value, dict):
            value.clear()  # the reader still knows the curves, so dropping them here would free nothing
    record.clear()
    record.update(kept)


def cells_of(results: Mapping[int, Mapping[str, Any]]) -> dict[str, str]:
    """The cells of one architecture.

    Args:
        results: By training length in epochs, the ``ArchResults`` state, whose trials have gone through
            :func:`keep_ends`.
    """
    cells = {}
    for epochs, state in results.items():
        for data, part, setting, name in _PARTS:
            ends = [inside(trial, "ends") for trial in _trials(state, setting).values()]
            values = [one[name] for one in ends if name in one]
            if values:
                cells[f"{data}_{part}_{epochs}"] = mean_cell(values)
                cells[f"{data}_{part}_{epochs}{_RUNS}"] = joined_cell(values)
    longest = results[max(results)]
    for data, part, setting, _ in _PARTS:
        if part == "test":
            trials = _trials(longest, setting) or _trials(longest, f"{setting}-valid")
            cells |= {f"{data}_{name}": text for name, text in _costs(trials).items() if text}
    return cells


def trial_table(rows: Rows, path: Path) -> tuple[Columns, dict[str, TargetFacts]]:
    """The columns in a good order, targets first, and what is known of the targets.

    Runs one by one are a column only where some architecture has several.
    """
    names = [name for name in rows.cells if not name.endswith(_RUNS)]
    targets = sorted((name for name in names if name.split("_")[1] in _SPLITS), key=lambda one: -_epochs(one))
    runs = {f"{one}{_RUNS}" for one in targets if any("|" in text for text in rows.cells.get(f"{one}{_RUNS}", ()))}
    for name in [name for name in rows.cells if name.endswith(_RUNS) and name not in runs]:
        del rows.cells[name]
    facts = {
        one: TargetFacts(
            metric=f"accuracy after {_epochs(one)} epoch{'s' if _epochs(one) > 1 else ''}",
            unit="%",
            split=_SPLITS[one.split("_")[1]],
            seeds=tuple(runs & {f"{one}{_RUNS}"}),
        )
        for one in targets
    }
    order = [*targets, *(f"{one}{_RUNS}" for one in targets), *names]
    return rows.columns(path, order=order), facts


def _epochs(target: str) -> int:
    return int(target.split("_")[2])


def _trials(state: Mapping[str, Any], setting: str) -> dict[int, Mapping[str, Any]]:
    """Trials of one setting by seed, in the order of seeds."""
    found = {seed: trial for (name, seed), trial in inside(state, "all_results").items() if name == setting}
    return dict(sorted(found.items()))


def _costs(trials: Mapping[int, Mapping[str, Any]]) -> dict[str, str]:
    if not trials:
        return {}
    latencies = [sum(trial["latency"]) / len(trial["latency"]) for trial in trials.values() if trial.get("latency")]
    known = [latency for latency in latencies if latency > 0]
    return {
        "params_m": _size(trials, _COSTS["params_m"]),
        "macs_m": _size(trials, _COSTS["macs_m"]),
        "latency_ms": mean_cell([1000 * latency for latency in known]),
    }


def _size(trials: Mapping[int, Mapping[str, Any]], name: str) -> str:
    values = {seed: cell(trial.get(name)) for seed, trial in trials.items()}
    distinct = {f"{float(value):.5f}" for value in values.values() if value}
    return values.get(_TRUSTED_SEED, "") if len(distinct) > 1 else next(iter(values.values()))
