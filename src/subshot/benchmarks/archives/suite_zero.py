"""NAS-Bench-Suite-Zero as NASLib keeps it: scores of thirteen proxies in JSON, ``zc_SPACE.json`` (arXiv 2210.03230).

For each data set and architecture the file has the validation accuracy and the score of each proxy, as a bare number
or with the seconds it took. Newer files don't say whose architectures these are, and the same digits mean different
cells in different spaces: then the space is what the file's name says. Cells come in NASLib's notation and leave in the
space's own; where two texts mean the same cell, the first counts.

Columns are ``DATA_val_accuracy`` and ``DATA_PROXY``. Accuracies of ``nasbench301`` are what its surrogate predicts.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.benchmarks.archives._archive import ARCHIVES, ArchiveKind, ArchiveTable
from subshot.benchmarks.archives._rows import Rows, cell
from subshot.errors import DataError
from subshot.spaces._space import get_space

_ACCURACY: Final = "val_accuracy"
_METRICS: Final = {
    "nasbench101": "accuracy after 108 epochs, one run",
    "nasbench201": "accuracy after 200 epochs, one run",
    "nasbench301": "accuracy, predicted by the surrogate model",
}
_SPACES: Final = {"nasbench101": "nasbench101", "nasbench201": "nasbench201", "nasbench301": "darts"}
_DATA_NAMES: Final = {"ImageNet16-120": "imagenet16"}
_NO_SCORES: Final = frozenset({_ACCURACY, "id", "idx", "arch"})
_HINT: Final = f"Give {', '.join(f'zc_{name}.json' for name in _SPACES)} as its authors hand it out."


def _recognise(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(b"{")


def _read(path: Path) -> ArchiveTable:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}.", _HINT) from None
    name, by_data = _space_of(path, content)
    parse, written = _translator(path, name)
    rows: dict[str, dict[str, str]] = {}
    accuracies = []
    repeated = 0
    for data, entries in by_data.items():
        prefix = _DATA_NAMES.get(data, data)
        accuracies.append(f"{prefix}_{_ACCURACY}")
        seen = set()
        for text, values in _entries(path, entries):
            arch = parse(text)
            if arch in seen:
                repeated += 1
            else:
                seen.add(arch)
                rows.setdefault(arch, {}).update({f"{prefix}_{key}": value for key, value in _cells(values)})
    table = Rows()
    for arch, cells in rows.items():
        table.add(arch, cells)
    columns = table.columns(path, order=accuracies)
    known = [one for one in accuracies if one in columns.cells]
    left_out = f"; {repeated:,} entries that repeat a cell are left out" if repeated else ""
    facts = TableFacts(
        space=written,
        arch_column="arch",
        source=f"NAS-Bench-Suite-Zero (Krishnakumar et al., 2022), {path.name}{left_out}",
        licence="Apache-2.0",
        targets={one: TargetFacts(_METRICS[name], "%", split="validation") for one in known},
    )
    return ArchiveTable("suite_zero", columns, facts)


def _space_of(path: Path, content: Any) -> tuple[str, Mapping[str, Any]]:
    """The name the suite gives to the space, and what the file has by data set."""
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path} is no table of NAS-Bench-Suite-Zero: it has no data sets.", _HINT)
    if len(content) == 1 and (inside := next(iter(content))) in _SPACES:
        name, by_data = inside, content[inside]
    else:
        name, by_data = path.name.removeprefix("zc_").removesuffix(".json"), content
    if name not in _SPACES:
        raise DataError(
            f"{path} doesn't say of which space its architectures are, or of one that subshot doesn't read.",
            f"Leave its name as its authors chose it: {', '.join(f'zc_{one}.json' for one in _SPACES)}.",
        )
    if not isinstance(by_data, dict):
        raise DataError(f"{path} is no table of NAS-Bench-Suite-Zero: it has no data sets.", _HINT)
    return name, by_data


def _translator(path: Path, name: str) -> tuple[Callable[[str], str], str]:
    """What turns NASLib's notation into the space's own, and the name of the space."""
    space = get_space(_SPACES[name])

    def translate(text: str) -> str:
        digits = "".join(one for one in text if one.isdecimal()) if name == "nasbench101" else text
        return space.format(space.parse(f"naslib:{digits}"))

    return translate, space.name


def _entries(path: Path, entries: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(entries, dict) or not all(isinstance(values, dict) for values in entries.values()):
        raise DataError(f"{path} is no table of NAS-Bench-Suite-Zero: a data set has no architectures.", _HINT)
    yield from entries.items()


def _cells(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Accuracy and scores, by name."""
    for key, value in values.items():
        number = value.get("score") if isinstance(value, dict) else value
        if key == _ACCURACY or (key not in _NO_SCORES and isinstance(number, int | float)):
            yield key, cell(number)


ARCHIVES.register(
    "suite_zero",
    ArchiveKind("suite_zero", "NAS-Bench-Suite-Zero", "zc_nasbench201.json", _recognise, _read),
)
