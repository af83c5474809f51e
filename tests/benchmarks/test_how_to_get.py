"""What is said of tables that aren't here: an address, and commands that do what they promise."""

import re
from pathlib import Path

import pytest

import subshot
from subshot.benchmarks._benchmark import find_table
from subshot.benchmarks.archives import ARCHIVES, convert
from subshot.errors import DataError
from subshot.spaces._space import get_space

HERE = Path(__file__).parent / "miniatures"
# What the authors hand out, and a small one of its kind.
MINIATURES = {
    "NATS-tss-v1_0-3ffb9-simple": "NATS-tss-v1_0-mini-simple",
    "nasbench_only108.tfrecord": "nasbench_only108-mini.tfrecord",
    "zc_nasbench201.json": "zc_nasbench201.json",
    "zc_nasbench301.json": "zc_nasbench301.json",
}
COMMAND = re.compile(r"'subshot convert (\S+) (\S+)'.*--table (\S+) --target (\w+)")


@pytest.mark.parametrize("name", subshot.list_benchmarks())
def test_there_is_an_address_and_another_way(name, tmp_path):
    entry = subshot.get_benchmark(name)
    with pytest.raises(DataError, match=r"https://github\.com/\S+") as caught:
        find_table(name, root=tmp_path)
    hint = caught.value.hint
    for file in entry.files:
        assert file in hint
    command = COMMAND.search(hint)
    if command is None:
        assert f"--table FILE --space {entry.facts.space} --target COLUMN" in hint
        return
    archive, made, table, target = command.groups()
    assert made == table
    assert any(archive in ARCHIVES.get(kind).files or archive.startswith("zc_") for kind in ARCHIVES)
    converted, _ = convert(HERE / MINIATURES[archive], tmp_path / made)
    source = find_table(converted)
    assert source.facts.space == entry.facts.space
    assert target in source.facts.targets
    assert len(source.read(get_space(source.facts.space), target=target).archs)


def test_every_archive_is_mentioned():
    said = " ".join(subshot.get_benchmark(name).how_to_get for name in subshot.list_benchmarks())
    assert all(archive in said for archive in MINIATURES)
