"""Rules of the house that hold for every file: who may import whom, what stays fast, what is registered."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import subshot
from subshot.aggregators._aggregator import AGGREGATORS
from subshot.proxies._proxy import PROXIES
from subshot.spaces._space import SPACES
from subshot.strategies._strategy import STRATEGIES
from subshot.supernets.samplers import PATH_SAMPLERS

SOURCE = Path(subshot.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

# Rooms of one line know nothing of each other, but for FRIENDS; every room may import those above it.
ORDER = [
    ["errors", "_registry", "_types", "_seeds", "_choice"],
    ["data", "networks", "aggregators"],
    ["spaces"],
    ["proxies", "costs", "benchmarks", "training"],
    ["supernets"],
    ["strategies"],
    ["studies"],
    ["report", "export", "trackers"],
    ["cli"],
    ["__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
FRIENDS = {(a, b) for a in ORDER[0] for b in ORDER[0]}

# Stricter than the order: a proxy sees a network and a batch, a space holds no data.
NEVER = {"proxies": {"spaces", "data", "benchmarks"}, "spaces": {"data"}, "benchmarks": {"proxies"}}

# The contract suites are for third parties: they may use everything but the command line, and nothing uses them.
SUITES = "testing"


def room_of(path):
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports(text):
    """Modules of subshot that a file imports, also inside functions and for annotations only."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            found += [f"subshot.{alias.name}" for alias in node.names] if node.module == "subshot" else [node.module]
    return [name for name in found if name.partition(".")[0] == "subshot"]


def violations(room, text):
    """What a file of ``room`` imports against the order."""
    bad = []
    for module in imports(text):
        other = module.split(".")[1] if "." in module else ""
        if other in ("", "__version__", room):
            continue
        if room == SUITES:
            allowed = other != "cli"
        elif other == SUITES or other not in LEVEL or other in NEVER.get(room, ()):
            allowed = False
        else:
            allowed = LEVEL[other] < LEVEL[room] or (room, other) in FRIENDS
        if not allowed:
            bad.append(f"{room} imports {module}")
    return bad


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_run_one_way(path):
    room = room_of(path)
    if room == "__init__":  # the public names, which are loaded when they are used
        return
    assert room in LEVEL or room == SUITES, f"{room} has no place in the order of imports"
    assert violations(room, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("proxies", "import subshot.spaces._space"),
        ("proxies", "from subshot.data import take"),
        ("proxies", "from subshot import data"),
        ("proxies", "def f():\n    from subshot.benchmarks.ranking import rank"),
        ("proxies", "from subshot.costs.macs import count_macs"),
        ("spaces", "from subshot.data import take"),
        ("spaces", "from subshot.networks.darts import x\nfrom subshot.proxies.swap import swap"),
        ("errors", "from subshot.data import take"),
        ("data", "from subshot.networks import darts"),
        ("studies", "from subshot.cli.main import main"),
        ("strategies", "if TYPE_CHECKING:\n    from subshot.studies.study import Study"),
        ("studies", "if TYPE_CHECKING:\n    from subshot.report.terminal import show_study"),
        ("studies", "from subshot.testing.spaces import SpaceContract"),
        ("testing", "from subshot.cli.main import main"),
        ("training", "from subshot.supernets.warm_up import warm_up"),
        ("supernets", "from subshot.strategies._strategy import STRATEGIES"),
        ("networks", "from subshot.spaces._space import Space"),
        ("cli", "from subshot.cellar import wine"),
    ],
)
def test_the_check_finds_what_it_looks_for(room, text):
    assert len(violations(room, text)) == 1


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("cli", "from subshot import __version__\nfrom subshot.studies.study import search\nimport numpy"),
        ("report", "if TYPE_CHECKING:\n    from subshot.studies.study import Study\nelse:\n    import os"),
        ("_choice", "from subshot.errors import OptionError"),
        ("studies", "from subshot.studies._store import Store\nfrom subshot.data import take"),
        ("supernets", "from subshot.training._fit import fit\nfrom subshot.proxies._prepare import prepared"),
    ],
)
def test_the_check_lets_the_rest_through(room, text):
    assert violations(room, text) == []


def content_files(room):
    return sorted(path.stem for path in (SOURCE / room).glob("*.py") if not path.name.startswith("_"))


def module_of(room, name):
    return f"subshot.{room}.{name}".replace("/", ".")


def test_every_content_file_registers_something():
    homes = {
        "spaces": {SPACES.get(name).__module__ for name in SPACES},
        "proxies": {PROXIES.get(name).reduce.__module__ for name in PROXIES},
        "strategies": {STRATEGIES.get(name).make.__module__ for name in STRATEGIES},
        "aggregators": {AGGREGATORS.get(name).combine.__module__ for name in AGGREGATORS},
        "supernets/samplers": {PATH_SAMPLERS.get(name).draw.__module__ for name in PATH_SAMPLERS},
    }
    makers = {"choices", "around"}  # spaces that a user's own function or network makes
    for room, modules in homes.items():
        assert content_files(room), room
        files = [name for name in content_files(room) if (room, name) not in {("spaces", one) for one in makers}]
        missing = [name for name in files if module_of(room, name) not in modules]
        assert missing == [], room


def test_one_name_everywhere():
    # File = function = registry key: what a reader types is where the reader looks.
    for name in PROXIES:
        assert PROXIES.get(name).reduce.__module__ == f"subshot.proxies.{name}"
    for name in STRATEGIES:
        assert STRATEGIES.get(name).make.__module__ == f"subshot.strategies.{name}"
    for name in AGGREGATORS:
        assert AGGREGATORS.get(name).combine.__module__ == f"subshot.aggregators.{name}"
    for name in PATH_SAMPLERS:
        assert PATH_SAMPLERS.get(name).draw.__module__ == f"subshot.supernets.samplers.{name}"
    for name in SPACES:
        assert SPACES.get(name).__module__ == f"subshot.spaces.{name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_nothing_is_printed_or_left_to_do(path):
    text = path.read_text(encoding="utf-8")
    calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id in ("print", "eval", "exec")]
    assert re.findall(r"\b(TODO|FIXME|XXX|HACK)\b", text) == []


LIGHT = """
import importlib, io, json, contextlib, sys
heavy = []
def check(what):
    if "torch" in sys.modules and not heavy:
        heavy.append(what)
for name in {modules!r}:
    importlib.import_module(name)
    check(name)
from subshot.cli.main import main
for arguments in {commands!r}:
    sys.argv = ["subshot", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main()
        except SystemExit as end:
            assert end.code == 0, (arguments, end.code)
    assert out.getvalue().strip(), arguments
    check(arguments)
import subshot
for names in (subshot.list_spaces, subshot.list_proxies, subshot.list_strategies, subshot.list_aggregators):
    assert names()
    check(names.__name__)
sys.stdout.write(json.dumps(heavy))
"""


def run_light(modules, commands):
    code = LIGHT.format(modules=modules, commands=commands)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_names_are_listed_without_importing_torch():
    # torch takes seconds; help, lists and completion must not wait for it.
    modules = ["subshot", "subshot.cli.main"]
    for room in ("spaces", "proxies", "strategies", "aggregators", "data", "supernets/samplers"):
        modules += [module_of(room, name) for name in content_files(room)]
    commands = [["--help"], ["search", "--help"], ["--version"], ["data"], ["data", "--json"]]
    commands += [["list", kind] for kind in ("spaces", "proxies", "strategies", "aggregators", "data")]
    commands += [["profile", "--space", "nasbench201", "--json"]]
    assert run_light(modules, commands) == []


def test_the_check_for_torch_can_fail():
    assert run_light(["subshot", "subshot.proxies._evidence"], []) == ["subshot.proxies._evidence"]
