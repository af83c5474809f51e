"""NAS-Bench-201 as its authors hand it out: one file of ``torch.save`` for all 15,625 cells (arXiv 2001.00326).

The file of version 1.0 has 2.1 GB, that of 1.1 4.7 GB. They are read from front to back, and of each trial only the
last epoch is kept: that takes some minutes, and memory of a third of the file. Training lengths are 12 epochs (the
archive calls them ``less``) and 200 (``full``).

Columns ``DATA_PART_EPOCHS`` are means of all training runs, ``.._seeds`` the runs one by one in the order of their
seeds; ``cifar10_valid`` is of networks trained on half of the training images, ``cifar10_test`` of others trained on
all of them.
"""

from pathlib import Path
from typing import Any, Final

from subshot.benchmarks._facts import TableFacts
from subshot.benchmarks.archives._archive import ARCHIVES, ArchiveKind, ArchiveTable
from subshot.benchmarks.archives._rows import Rows
from subshot.benchmarks.archives._trials import architectures, cells_of, inside, keep_ends, trial_table
from subshot.data._safe_pickle import guarded
from subshot.data._torch_archive import is_torch_file, read_torch
from subshot.errors import DataError

_EPOCHS: Final = {"less": 12, "full": 200}
_HINT: Final = "Give NAS-Bench-201-v1_0-e61699.pth or -v1_1-096897.pth as its authors hand it out."


def _recognise(path: Path) -> bool:
    return path.is_file() and is_torch_file(path)


def _read(path: Path) -> ArchiveTable:
    content = read_torch(path, filled=keep_ends)
    if not isinstance(content, dict) or not isinstance(content.get("arch2infos"), dict):
        raise DataError(f"{path} is a file of torch.save, but not NAS-Bench-201: it has no 'arch2infos'.", _HINT)
    rows = Rows()
    known = guarded(lambda: _collect(content, rows), name=str(path), hint=_HINT)
    columns, targets = trial_table(rows, path)
    facts = TableFacts(
        space="nasbench201",
        arch_column="arch",
        source=f"NAS-Bench-201 (Dong and Yang, 2020), {path.name}: {len(columns):,} of {known:,} cells",
        licence="MIT",
        targets=targets,
    )
    return ArchiveTable("nasbench201", columns, facts)


def _collect(content: dict[str, Any], rows: Rows) -> int:
    """Add all rows; how many architectures there should be."""
    archs = architectures(content)
    for index, lengths in sorted(inside(content, "arch2infos").items()):
        rows.add(archs[index], cells_of({epochs: inside(lengths, name) for name, epochs in _EPOCHS.items()}))
    return len(archs)


ARCHIVES.register(
    "nasbench201",
    ArchiveKind("nasbench201", "NAS-Bench-201", "NAS-Bench-201-v1_*.pth", _recognise, _read),
)
