import ast
from pathlib import Path

import pytest

import subshot


def test_every_public_name_loads_and_is_listed():
    for name in subshot.__all__:
        assert getattr(subshot, name) is not None
    assert set(subshot.__all__) <= set(dir(subshot))


def test_type_checkers_see_the_names_that_are_there():
    tree = ast.parse(Path(subshot.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.asname: node.module.removeprefix("subshot.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == subshot._HOME


@pytest.mark.parametrize("kind", ["spaces", "proxies", "strategies", "aggregators", "benchmarks"])
def test_what_is_listed_can_be_had_by_name(kind):
    singular = {"proxies": "proxy", "strategies": "strategy"}.get(kind, kind.removesuffix("s"))
    names = getattr(subshot, f"list_{kind}")()
    assert [getattr(subshot, f"get_{singular}")(name).name for name in names] == names
    with pytest.raises(subshot.SubshotError, match=f"no {singular} named 'nothing'"):
        getattr(subshot, f"get_{singular}")("nothing")


def test_other_names_are_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = subshot.serach
