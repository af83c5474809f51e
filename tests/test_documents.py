"""The code and commands in README and CONTRIBUTING do what they say."""

import importlib.util
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

import subshot
from subshot.proxies._proxy import PROXIES
from subshot.spaces._space import SPACES
from subshot.strategies._strategy import STRATEGIES, make_strategy
from subshot.testing.spaces import SpaceContract
from subshot.testing.strategies import OneMax, StrategyContract, drive

ROOT = Path(__file__).parent.parent


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)


def example(name: str) -> str:
    (found,) = [block for block in blocks("CONTRIBUTING.md", "python") if name in block]
    return found


@pytest.fixture(scope="module")
def added():
    """The worked examples, registered for the time of these tests."""
    names = [(PROXIES, "pattern_share"), (SPACES, "perceptron"), (STRATEGIES, "hill_climbing")]
    module = types.ModuleType("contributing_example")
    sys.modules["contributing_example"] = module
    for registry, name in names:
        len(registry)  # loads what is there, so that the example comes last
        exec(compile(example(name), f"CONTRIBUTING.md ({name})", "exec"), module.__dict__)
    yield module
    for registry, name in names:
        del registry._entries[name]
    del sys.modules["contributing_example"]


def test_the_proxy_example_works(added):
    network = torch.nn.Sequential(torch.nn.Linear(6, 20), torch.nn.ReLU(), torch.nn.Linear(20, 2))
    score = subshot.score(network, torch.randn(12, 6), proxies="pattern_share(minimum=10)")["pattern_share(minimum=10)"]
    assert score.ok
    assert 0 < score.value <= 1
    refused = subshot.score(network, torch.randn(12, 6), proxies="pattern_share(minimum=99)")
    assert refused["pattern_share(minimum=99)"].status == "not_applicable"


class TestSpaceExample(SpaceContract):
    @pytest.fixture
    def space(self, added):
        return subshot.get_space("perceptron")


class TestStrategyExample(StrategyContract):
    @pytest.fixture
    def make(self, added):
        return lambda space, seed: make_strategy("hill_climbing", space, objective="score", seed=seed)


def test_the_strategy_example_climbs(added):
    strategy = make_strategy("hill_climbing(neighbours=12)", OneMax(30), objective="score", seed=0)
    drive(strategy, 500)
    assert strategy.best()[1]["score"].value >= 27


def test_the_examples_work_together(added):
    study = subshot.search(
        "perceptron(depth=2)", data="digits", proxy="pattern_share", strategy="hill_climbing", budget=10, batch_size=12
    )
    assert study.evaluations == 10
    assert study.best is not None


def test_the_papers_behind_proxies_and_spaces_are_cited():
    references = (ROOT / "CITATION.cff").read_text().partition("\nreferences:\n")[2].split("\n  - ")
    for reference in references:
        for key in ("type", "title", "authors", "year", "url"):
            assert re.search(rf"^\s*(- )?{key}:", reference, flags=re.MULTILINE), (key, reference)
    cited = {number for reference in references for number in re.findall(r"arxiv\.org/abs/([\d.]+)", reference)}
    # SWAP-NAS, NWOT, zero-cost proxies, NAS-Bench-201, DARTS.
    assert cited >= {"2403.04161", "2006.04647", "2101.08134", "2001.00326", "1806.09055"}
    assert len(cited) == len(references)


PAGES = ["README.md", *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize(("page", "number"), [(page, n) for page in PAGES for n in range(len(blocks(page, "python")))])
def test_python_in_the_documents_runs(page, number, tmp_path):
    code = blocks(page, "python")[number]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def _scripts() -> list[list[str]]:
    """The README's commands: the way from images to a network in its order, all others each by itself."""
    way, *others = (
        [line for line in block.splitlines() if line.startswith("subshot ")]
        for block in blocks("README.md", "bash")[2:]
    )
    return [way, *([command] for block in others for command in block)]


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A folder with the photographs and the model file that the README's commands name."""
    from PIL import Image

    from subshot.data import load_images

    folder = tmp_path_factory.mktemp("readme")
    pictures = load_images("photographs", limit=40).images
    for number, picture in enumerate(pictures):
        home = folder / "photos" / ("cats" if number % 2 else "dogs")
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(home / f"{number}.png")
    (folder / "model.py").write_text(
        "from torch import nn\n\n\ndef make():\n"
        "    features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))\n"
        "    return nn.Sequential(features, nn.Flatten(), nn.Linear(8, 10))\n"
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("script", _scripts(), ids=lambda script: script[0])
def test_commands_in_the_readme_run(script, workplace):
    for command in script:
        program, *arguments = shlex.split(command)
        assert program == "subshot"
        if "onnx" in arguments and not all(map(importlib.util.find_spec, ("onnx", "onnxscript", "onnxruntime"))):
            arguments[arguments.index("onnx")] = "torch"  # the extra isn't there
        main = "from subshot.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", main, *arguments], cwd=workplace, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
