"""NAS-Bench-101 as its authors hand it out: TensorFlow records of 423,624 cells on CIFAR-10 (arXiv 1902.09635).

``nasbench_only108.tfrecord`` has three training runs of 108 epochs for each cell, ``nasbench_full.tfrecord`` those of
4, 12 and 36 epochs too. A record is one run: JSON of the cell's hash, the epochs, the matrix as digits, the operations,
and a protocol buffer with the measurements, in base64. The smaller file takes a minute or two and 1 GB of memory.

Columns ``cifar10_PART_EPOCHS`` are means of the runs at the end of training, in per cent, ``.._seeds`` the runs one by
one in file order. Measurements halfway through training are left out. Column ``hash`` is the benchmark's own key.
"""

import base64
import json
import math
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.benchmarks.archives._archive import ARCHIVES, ArchiveKind, ArchiveTable
from subshot.benchmarks.archives._protobuf import number, read_message
from subshot.benchmarks.archives._rows import Rows, cell, joined_cell, mean_cell
from subshot.benchmarks.archives._tfrecord import HEADER, is_header, records
from subshot.data._byte_source import ByteSource, Malformed
from subshot.data._safe_pickle import guarded

_PARTS: Final = {"valid": "validation", "test": "test"}
# Fields of the messages: measurements at the start, halfway and at the end; in each the accuracies as shares.
_MEASUREMENTS, _PARAMETERS = 1, 2
_VALIDATION, _TEST = 4, 5
_END: Final = 2
_MOST_VERTICES: Final = 7
_LONGEST_RECORD: Final = 1 << 16
_HINT: Final = "Give nasbench_only108.tfrecord or nasbench_full.tfrecord as its authors hand it out."


class _Cell:
    """A cell and what its runs came to."""

    __slots__ = ("arch", "parameters", "runs")

    def __init__(self, arch: str, parameters: int) -> None:
        self.arch = arch
        self.parameters = parameters
        # By epochs, validation and test accuracy of each run in turn; packed, as there are 423,624 cells.
        self.runs: dict[int, array[float]] = {}


def _recognise(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return is_header(file.read(HEADER))


def _read(path: Path) -> ArchiveTable:
    cells: dict[str, _Cell] = {}
    guarded(lambda: _collect(path, cells), name=str(path), hint=_HINT)
    rows = Rows()
    lengths = sorted({epochs for one in cells.values() for epochs in one.runs}, reverse=True)
    while cells:  # taken out one by one, so that rows and cells needn't be held together
        key = next(iter(cells))
        _add(rows, key, cells.pop(key), lengths)
    targets = {
        f"cifar10_{part}_{epochs}": TargetFacts(
            f"accuracy after {epochs} epochs", "%", split=split, seeds=(f"cifar10_{part}_{epochs}_seeds",)
        )
        for epochs in lengths
        for part, split in _PARTS.items()
    }
    columns = rows.columns(path, order=[*targets, *(f"{target}_seeds" for target in targets)])
    facts = TableFacts(
        space="nasbench101",
        arch_column="arch",
        source=f"NAS-Bench-101 (Ying et al., 2019), {path.name}: {len(columns):,} cells",
        licence="Apache-2.0",
        targets=targets,
    )
    return ArchiveTable("nasbench101", columns, facts)


def _collect(path: Path, cells: dict[str, _Cell]) -> None:
    with path.open("rb") as file:
        source = ByteSource(file, limit=path.stat().st_size)
        for record in records(source, longest=_LONGEST_RECORD):
            _take(json.loads(record), cells)


def _take(row: Any, cells: dict[str, _Cell]) -> None:
    match row:
        case [str() as key, int() as epochs, str() as matrix, str() as operations, str() as packed]:
            message = read_message(base64.b64decode(packed, validate=True))
        case _:
            raise Malformed("a record is no list of hash, epochs, matrix, operations and measurements")
    measurements = message.get(_MEASUREMENTS, [])
    if len(measurements) <= _END or not isinstance(measurements[_END], bytes):
        raise Malformed("a record has no measurements at the end of training")
    end = read_message(measurements[_END])
    if key not in cells:
        (parameters,) = message.get(_PARAMETERS, [0])[-1:]
        cells[key] = _Cell(_architecture(matrix, operations.split(",")), int(parameters))
    cells[key].runs.setdefault(epochs, array("d")).extend((number(end, _VALIDATION), number(end, _TEST)))


def _architecture(digits: str, operations: list[str]) -> str:
    """The canonical text of :class:`subshot.spaces.nasbench101.NasBench101`; published cells have no dead vertices."""
    vertices = math.isqrt(len(digits))
    if vertices * vertices != len(digits) or vertices != len(operations) or vertices > _MOST_VERTICES:
        raise Malformed(f"a record has {len(operations)} operations and a matrix of {len(digits)} digits")
    if set(digits) - {"0", "1"}:
        raise Malformed("a record has a matrix of other digits than 0 and 1")
    matrix = [[int(digit) for digit in digits[row : row + vertices]] for row in range(0, len(digits), vertices)]
    return f"ModelSpec(matrix={matrix}, ops={operations})"


def _add(rows: Rows, key: str, one: _Cell, lengths: Iterable[int]) -> None:
    cells = {}
    for epochs in lengths:
        runs = one.runs.get(epochs, array("d"))
        for place, part in enumerate(_PARTS):
            values = [100 * value for value in runs[place::2]]
            cells[f"cifar10_{part}_{epochs}"] = mean_cell(values)
            cells[f"cifar10_{part}_{epochs}_seeds"] = joined_cell(values)
    rows.add(one.arch, cells | {"params_m": cell(one.parameters / 1e6), "hash": key})


ARCHIVES.register(
    "nasbench101",
    ArchiveKind("nasbench101", "NAS-Bench-101", "nasbench_only108.tfrecord", _recognise, _read),
)
