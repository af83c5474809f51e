"""NATS-Bench as its authors hand it out: packed pickles of the topology and the size space (arXiv 2009.00437).

Either the folder ``NATS-tss-v1_0-*-simple`` or ``NATS-sss-v1_0-*-simple``, with one file for each architecture, of
which some may be missing, or the one large file ``NATS-*.pickle.pbz2``. A folder is read file by file; of each trial
only the last epoch is kept. A whole folder takes five to ten minutes and little memory, the one file of the topology
space 2 GB. Folders with trained weights (``-full``) are not read.

The columns are those of NAS-Bench-201's archive. Training lengths are 12 and 200 epochs in the topology space, 1, 12
and 90 in the size space. Its architectures are five widths, ``8:8:16:32:64``.
"""

import bz2
from functools import partial
from pathlib import Path
from typing import Any, Final

from subshot.benchmarks._facts import TableFacts
from subshot.benchmarks.archives._archive import ARCHIVES, ArchiveKind, ArchiveTable
from subshot.benchmarks.archives._rows import Rows
from subshot.benchmarks.archives._trials import architectures, cells_of, inside, keep_ends, trial_table
from subshot.data._byte_source import ByteSource, Malformed
from subshot.data._pickle_words import PLAIN_WORDS
from subshot.data._safe_pickle import guarded, run_pickle

_ENDING: Final = ".pickle.pbz2"
_META: Final = f"meta{_ENDING}"
_START: Final = b"BZh"
# Genuine files unpack to four times their size, the list of architectures to forty times.
_MOST_GROWTH: Final = 100
_MOST_SMALL: Final = 1 << 18
_HINT: Final = "Give NATS-tss-v1_0-3ffb9-simple or NATS-sss-v1_0-50262-simple, a folder, as its authors hand it out."


def _recognise(path: Path) -> bool:
    if path.is_dir():
        return (path / _META).is_file()
    with path.open("rb") as file:
        return file.read(len(_START)) == _START


def _read(path: Path) -> ArchiveTable:
    rows = Rows()
    archs = _read_folder(path, rows) if path.is_dir() else _read_file(path, rows)
    columns, targets = trial_table(rows, path)
    facts = TableFacts(
        space="nasbench201" if archs[0].startswith("|") else "",
        arch_column="arch",
        source=f"NATS-Bench (Dong et al., 2021), {path.name}: {len(columns):,} of {len(archs):,} architectures",
        licence="MIT",
        targets=targets,
    )
    return ArchiveTable("nats_bench", columns, facts)


def _read_folder(path: Path, rows: Rows) -> list[str]:
    archs = guarded(lambda: architectures(_unpack(path / _META)), name=str(path / _META), hint=_HINT)
    for index, arch in enumerate(archs):
        named = [path / f"{index:06d}{_ENDING}", path / f"{index}{_ENDING}"]
        file = next((one for one in named if one.is_file()), None)
        if file is not None:
            rows.add(arch, guarded(partial(_entry, file, arch), name=str(file), hint=_HINT))
    return archs


def _entry(file: Path, arch: str) -> dict[str, str]:
    return _cells(_unpack(file), arch)


def _read_file(path: Path, rows: Rows) -> list[str]:
    def read() -> list[str]:
        content = _unpack(path)
        archs = architectures(content)
        for index, results in sorted(inside(content, "arch2infos").items()):
            rows.add(archs[index], _cells(results, archs[index]))
        return archs

    return guarded(read, name=str(path), hint=_HINT)


def _unpack(path: Path) -> Any:
    limit = _MOST_SMALL + _MOST_GROWTH * path.stat().st_size
    with bz2.open(path, "rb") as stream:
        source = ByteSource(stream, limit=limit)
        result = run_pickle(source, PLAIN_WORDS, filled=keep_ends)
        source.rest()  # to the end, where the checksum is compared
    return result


def _cells(results: Any, arch: str) -> dict[str, str]:
    if not isinstance(results, dict) or not results:
        raise Malformed(f"it has no results of {arch[:100]}")
    lengths = {int(epochs): inside(results, epochs) for epochs in results}
    if any(state.get("arch_str") != arch for state in lengths.values()):
        raise Malformed(f"it is of another architecture than {arch[:100]}, which its number stands for")
    return cells_of(lengths)


ARCHIVES.register(
    "nats_bench",
    ArchiveKind(
        "nats_bench",
        "NATS-Bench",
        "the folder NATS-tss-v1_0-3ffb9-simple or NATS-sss-v1_0-50262-simple, or NATS-*.pickle.pbz2",
        _recognise,
        _read,
    ),
)
