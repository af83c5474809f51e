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


def test_other_names_are_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = subshot.serach
