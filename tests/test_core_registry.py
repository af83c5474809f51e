import sys

import pytest

from subshot._registry import Registry
from subshot.errors import UnknownNameError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a registry, two content files and an engine file that must not be imported."""
    name = f"toy_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from subshot._registry import Registry\nTHINGS = Registry('thing', __name__)\n"
    )
    for content in ("beta", "alpha"):
        text = f"from {name} import THINGS\nTHINGS.register('{content}', '{content} entry')\n"
        (folder / f"{content}.py").write_text(text)
    (folder / "_engine.py").write_text("raise RuntimeError('engine files are not content')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


def registry_of(folder):
    return __import__(folder.name).THINGS


def test_first_look_up_imports_the_content_files(package):
    things = registry_of(package)
    assert f"{package.name}.alpha" not in sys.modules
    assert things.get("alpha") == "alpha entry"
    assert things.names() == list(things) == ["alpha", "beta"]
    assert len(things) == 2
    assert "beta" in things
    assert "gamma" not in things


@pytest.mark.parametrize("ask", [len, list, lambda things: "alpha" in things, lambda things: things.names()])
def test_every_question_loads(package, ask):
    assert ask(registry_of(package))


def test_taken_names_are_refused_and_kept(package):
    things = registry_of(package)
    assert things.register("gamma", "first") == "first"
    with pytest.raises(ValueError, match="thing name 'gamma' is taken"):
        things.register("gamma", "second")
    assert things.get("gamma") == "first"


def test_unknown_names_are_answered_with_near_matches(package):
    with pytest.raises(UnknownNameError) as caught:
        registry_of(package).get("alhpa")
    assert str(caught.value) == "There is no thing named 'alhpa'. Did you mean 'alpha'? Known: alpha, beta."


def test_a_content_file_may_look_things_up_while_it_is_imported(package):
    (package / "curious.py").write_text(
        f"from {package.name} import THINGS\nTHINGS.register('curious', THINGS.get('alpha'))\n"
    )
    assert registry_of(package).get("curious") == "alpha entry"


def test_a_broken_content_file_is_not_forgotten(package):
    # Half a registry that answers "no such name" would hide the reason.
    (package / "broken.py").write_text("import no_such_module_anywhere\n")
    things = registry_of(package)
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
            things.get("gamma")
    (package / "broken.py").write_text("")
    assert things.names() == ["alpha", "beta"]


def test_a_missing_package_says_so():
    with pytest.raises(ModuleNotFoundError):
        Registry("thing", "no_such_package_anywhere").names()
