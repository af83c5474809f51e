"""EC-NAS: small cells of NAS-Bench-101 trained again, with repeats, several budgets and energy (arXiv 2210.06015).

``ecnas`` has 772 cells of up to five vertices after 108 epochs, means of three runs or more; those of up to four
vertices also after 4, 12 and 36. ``ecnas_4_epochs`` has 2,532 cells of up to five vertices after 4 epochs, with three
runs more for up to four vertices. Seconds and kWh are those of the training with that many epochs.
"""

from collections.abc import Sequence
from dataclasses import replace

from subshot.benchmarks._benchmark import BENCHMARKS, Benchmark
from subshot.benchmarks._columns import Columns
from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.benchmarks._how_to_get import how_to_get
from subshot.benchmarks._reshape import averaged, renamed, side_by_side

_REPEATED = "ec-nas-small-cells/ecnas_3v4v5v.csv.gz"
_SHORT = "ec-nas-small-cells/ecnas_4v5v_4epochs.csv.gz"
_SPLITS = {"val": "validation", "test": "test"}
_SHARED = ("nb101_hash", "params")


def _budgets(files: Sequence[Columns]) -> Columns:
    """A row for each cell, with columns such as ``epochs_108_test``."""
    (columns,) = files
    cells = columns.cells
    runs = [f"{cell} {epochs}" for cell, epochs in zip(cells["graph_json"], cells["epochs"], strict=True)]
    means = {"val_acc": "val", "test_acc": "test", "train_seconds": "train_seconds", "energy_kwh": "energy_kwh"}
    kept = {name: cells[name] for name in ("graph_json", "epochs", *_SHARED, *means)}
    columns = averaged(Columns(columns.name, columns.digest, {**kept, "run": runs}), key="run", names=means)
    columns = replace(columns, cells={name: column for name, column in columns.cells.items() if name != "run"})
    names = {budget: f"epochs_{budget}" for budget in dict.fromkeys(cells["epochs"])}
    table = side_by_side(columns, key="graph_json", by="epochs", names=names, shared=_SHARED)
    return renamed(table, arch="graph_json")


def _register(name: str, title: str, file: str, budgets: Sequence[str], licence: str) -> None:
    targets = {
        f"epochs_{epochs}_{split}": TargetFacts(
            f"accuracy after {epochs} epochs", "", split=word, seeds=(f"epochs_{epochs}_{split}_runs",)
        )
        for epochs in budgets
        for split, word in _SPLITS.items()
    }
    facts = TableFacts("nasbench101", "arch", "EC-NAS (Bakhtiarifard et al., 2024)", licence, targets)
    how = how_to_get(
        [file],
        columns="columns graph_json, epochs, params, nb101_hash, val_acc, test_acc, train_seconds and energy_kwh",
        origin="https://github.com/PedramBakh/EC-NAS-Bench",
        space="nasbench101",
    )
    BENCHMARKS.register(name, Benchmark(name, title, (file,), facts, how, prepare=_budgets))


_register("ecnas", "772 small cells, three runs or more on CIFAR-10", _REPEATED, ("108", "36", "12", "4"), "Apache-2.0")
_register("ecnas_4_epochs", "2,532 small cells after four epochs", _SHORT, ("4",), "MIT")
