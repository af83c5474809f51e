"""Published benchmark archives, read into plain tables: no archive is ever unpickled, and none is downloaded."""

from subshot.benchmarks.archives._archive import ARCHIVES, ArchiveKind, ArchiveTable, convert, read_archive

__all__ = ["ARCHIVES", "ArchiveKind", "ArchiveTable", "convert", "read_archive"]
