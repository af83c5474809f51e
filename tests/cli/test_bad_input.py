"""Everything a user can get wrong: one clear paragraph, exit code 2, and nothing lost or written."""

import io
import json
import sqlite3
from dataclasses import dataclass

import numpy as np
import pytest
from rich.console import Console

from subshot._types import Arch, TaskSpec
from subshot.report.terminal import show_study
from subshot.spaces._space import SPACES
from subshot.studies.study import search

SMALL = ["search", "--space", "nasbench201(channels=2,cells=1)", "--workers", "1", "--budget", "5"]


def contents(folder):
    """Every file below a folder with its bytes."""
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.fixture
def refused(run, folder):
    """Runs a command that must be refused, for people and for machines, and returns its message."""

    def refused(*arguments):
        before = contents(folder)
        for_people = run(*arguments)
        assert (for_people.code, for_people.out) == (2, "")
        assert for_people.err.startswith("Error: ")
        assert for_people.err.count("\n") == 1, "one paragraph"
        for_machines = run(*arguments, "--json")
        assert (for_machines.code, for_machines.err) == (2, "")
        error = for_machines.json["error"]
        assert set(error) == {"message", "hint"}
        assert error["message"].endswith((".", "!", "?"))
        text = f"Error: {error['message']} {error['hint']}".rstrip()
        assert for_people.err == f"{text}\n"
        assert contents(folder) == before
        return text

    return refused


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # Names
        (["search", "--space", "nasbnch201"], "no space named 'nasbnch201'. Did you mean 'nasbench201'"),
        (["search", "--proxy", "swpa"], "no proxy named 'swpa'. Did you mean 'swap'"),
        (["search", "--strategy", "randon"], "no strategy named 'randon'. Did you mean 'random'? Known: "),
        (
            ["search", "--data", "cifar01"],
            "no data set named 'cifar01', and no file or folder of that name. Did you mean",
        ),
        (["search", "--variant", "oficial"], "no variant of nasbench201 named 'oficial'. Did you mean 'official'"),
        (["search", "--trained-variant", "oficial"], "no variant of nasbench201 named 'oficial'. Did you mean"),
        (["profile", "--variant", "oficial"], "no variant of nasbench201 named 'oficial'. Did you mean 'official'"),
        (["profile", "--classes", "0"], "'--classes'"),
        (["search", "--init", "magic"], "no initialisation 'magic'. Use one of "),
        (["search", "--bn-mode", "magic"], "no batch-norm mode 'magic'. Use one of "),
        (["search", "--samples", "magic"], "samples was given as 'magic'. It is 'random' or 'first'."),
        (["search", "--unreal", "smoth_noise"], "no kind of unreal data named 'smoth_noise'. Did you mean 'smooth"),
        (["search", "--executor", "magic"], "no executor 'magic'. Use one of "),
        (["search", "--device", "magic"], "The device 'magic' can't be used: "),
        (["search", "--device", "meta"], "The device 'meta' can't be used: "),
        (["profile", "--space", "dart"], "Did you mean 'darts'"),
        (["list", "proxys"], "Did you mean 'proxies'? Known: aggregators, benchmarks, data, proxies, "),
        (["serach"], "No such command 'serach'"),
        (["search", "--spcae", "darts"], "No such option: --spcae"),
        (["list"], "Missing argument"),
        (["score"], "Missing argument"),
        # Settings
        (
            ["search", "--space", "nasbench201(chanels=3)"],
            "no setting of space nasbench201 named 'chanels'. Did you mean",
        ),
        (["search", "--space", "nasbench201(channels=wide)"], "channels takes a whole number, like 16."),
        (["search", "--space", "nasbench201(channels=0)"], "channels is a whole number from 1 on"),
        (["search", "--space", "nasbench201(channels"], "is not a name with settings"),
        (["search", "--strategy", "swap_evolution(population=1)"], "population >= sample >= 2"),
        (["search", "--strategy", "swap_evolution(crossover=nan)"], "crossover takes a number"),
        (["search", "--proxy", ","], "',' is not a name with settings"),
        (["search", "--proxy", ""], "'' is not a name with settings"),
        (["search", "--proxy", "swap_regularized(mu=1,sigma=-1)"], "sigma is -1. It must be positive."),
        (["search", "--proxy", "swap,swap_regularized(unit=parsec)"], "no unit 'parsec' of size"),
        (["search", "--proxy", "swap,zen(variance=nonsense)"], "no variance 'nonsense' of zen. Use batch or running."),
        (["search", "--proxy", "epe_nas(branch=nonsense)"], "no branch 'nonsense' of epe_nas. Use auto, few or many."),
        (["search", "--init", "keep"], "no weights to keep"),
        # Numbers
        (["search", "--budget", "-3"], "'--budget'"),
        (["search", "--budget", "0"], "'--budget'"),
        (["search", "--budget", "many"], "'--budget'"),
        (["search", "--workers", "0"], "'--workers'"),
        (["search", "--batch-size", "0"], "'--batch-size'"),
        (["search", "--repeats", "0"], "'--repeats'"),
        (["search", "--max-params", "1Q"], "'1Q' is not a size; write a number, 250k, 1M or 1.5G."),
        (["search", "--max-macs", "1.5.5M"], "'1.5.5M' is not a size"),
        (["profile", "--max-params", "-5"], "'-5' is not a size"),
    ],
)
def test_settings(refused, arguments, expected):
    assert expected in refused(*arguments)


OFFICIAL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"
CODE = (
    "Genotype(normal=__import__('pathlib').Path('written').touch(), normal_concat=[2, 3, 4, 5], "
    "reduce=[], reduce_concat=[2, 3, 4, 5])"
)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("nasbench201", "'nasbench201' names no network. Write SPACE:ARCH"),
        ("nasbench201:", "names no network"),
        (":cnn", "no space named ''"),
        ("nasbench20:x", "no space named 'nasbench20'. Did you mean 'nasbench201'"),
        ("nasbench201:abc", "'abc' has 1 groups of edges, a cell has 3"),
        (f"nasbench201:{OFFICIAL[:-1]}", "is not the group of node 3"),
        (f"nasbench201:{OFFICIAL.replace('skip', 'skpi')}", "Did you mean 'skip_connect'"),
        (f"nasbench201:{OFFICIAL.replace('~1', '~2', 1)}", "names source '2'"),
        ("nasbench201:423121", "doesn't say whose digits these are"),
        (f"darts:{CODE}", "is no DARTS genotype"),
        ("darts:Genotype()", "is no DARTS genotype"),
        ("darts:" + "(" * 5_000, "is no DARTS genotype"),
        ("missing.py:cnn", "There is no file missing.py."),
        ("broken.py:cnn", "broken.py:cnn raised SyntaxError: "),
        (
            "own.py:cnnn",
            "no function in own.py named 'cnnn'. Did you mean 'cnn'? Known: boom, cnn, lazy, number, quits",
        ),
        ("own.py:constant", "no function in own.py named 'constant'"),
        ("own.py:boom", "own.py:boom raised RuntimeError: boom. Mend the file first."),
        ("own.py:quits", "own.py:quits raised SystemExit: 0. Mend the file first."),
        ("own.py:number", "own.py:number returned an object of type int. It must return a torch.nn.Module."),
        ("own.py:lazy", "lazy parameters, which have no shape yet"),
        ("own.py:takes", "missing 1 required positional argument"),
    ],
)
def test_targets(refused, folder, npz, target, expected):
    (folder / "broken.py").write_text("def cnn(:\n")
    (folder / "own.py").write_text(
        "from torch import nn\nconstant = 3\ndef cnn(): return nn.ReLU()\ndef number(): return 3\n"
        "def boom(): raise RuntimeError('boom')\ndef quits(): raise SystemExit(0)\n"
        "def lazy(): return nn.LazyLinear(3)\ndef takes(x): return x\n"
    )
    assert expected in refused("score", target, "--data", npz)
    assert not (folder / "written").exists()


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_packages_that_are_not_installed(refused, npz, package):
    try:
        __import__(package)
    except ImportError:
        text = refused("score", f"{package}:resnet18", "--data", npz)
        assert f"{package} can't be imported" in text
        assert f"pip install {package} -c constraints.txt" in text
    else:
        pytest.skip(f"{package} is installed")


def make_npz(folder):
    np.savez(folder / "two.npz", x=np.zeros((20, 2, 8, 8), np.uint8))


def make_large(folder):
    np.savez(folder / "few.npz", x=np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8))


def make_empty(folder):
    (folder / "empty").mkdir()


def make_corrupt(folder):
    for name in ("cats", "dogs"):
        (folder / "pets" / name).mkdir(parents=True)
        (folder / "pets" / name / "one.png").write_text("no picture")


def make_text(folder):
    (folder / "notes.txt").write_text("no images")


@pytest.mark.parametrize(
    ("make", "arguments", "expected"),
    [
        (make_npz, ["--data", "two.npz"], "(20, 2, 8, 8): neither 8 nor 2 is a number of channels"),
        (
            make_large,
            ["--data", "few.npz", "--batch-size", "21"],
            "A batch of 21 was asked for, and few.npz has 20 images",
        ),
        (make_empty, ["--data", "empty"], "The image folder empty is empty"),
        (make_corrupt, ["--data", "pets"], "2 of 2 images read from pets can't be decoded: "),
        (make_text, ["--data", "notes.txt"], "notes.txt is no image data that subshot can read. It reads: "),
        (make_text, ["--data", ""], "no data set named ''"),
    ],
)
def test_data(refused, folder, make, arguments, expected):
    make(folder)
    assert expected in refused(*SMALL, *arguments)
    assert expected in refused("score", f"nasbench201(channels=2,cells=1):{OFFICIAL}", *arguments)


# --- run folders -----------------------------------------------------------------------------------------------------


def test_a_folder_that_can_not_be_made(refused, folder, npz):
    (folder / "file").write_text("precious")
    for out in ("file", "file/below"):
        assert "study.db can't be written: " in refused(*SMALL, "--data", npz, "--out", out)
        assert "can't be written: " in refused(*SMALL, "--data", npz, "--out", out, "--fresh")


def test_a_study_of_other_settings_is_kept(run, refused, npz):
    run(*SMALL, "--data", npz, "--out", "mine")
    text = refused(*SMALL, "--data", npz, "--out", "mine", "--seed", "3")
    assert "mine/study.db belongs to another study (protocol.data_digest: " in text
    assert "protocol.seed: 0 there, 3 asked for" in text
    assert "--fresh" in text


def test_a_study_of_a_newer_version_is_kept(run, refused, folder, npz):
    run(*SMALL, "--data", npz, "--out", "mine")
    with sqlite3.connect(folder / "mine" / "study.db") as database:
        database.execute("UPDATE meta SET value = '2' WHERE key = 'schema'")
    database.close()
    assert "has schema 2; this version of subshot knows up to 1. It was written by a newer version: " in refused(
        *SMALL, "--data", npz, "--out", "mine"
    )


def test_a_refused_fresh_start_leaves_the_old_study_in_place(run, refused, npz):
    run(*SMALL, "--data", npz, "--out", "mine")
    for wrong in (["--executor", "magic"], ["--device", "magic"], ["--max-params", "1Q"], ["--init", "magic"]):
        refused(*SMALL, "--data", npz, "--out", "mine", "--fresh", *wrong)


def test_impossible_limits_write_nothing(run, folder, npz):
    done = run(*SMALL, "--data", npz, "--out", "mine", "--max-params", "10", "--json")
    assert done.code == 2
    assert (done.json["status"], set(done.json["error"])) == ("infeasible", {"message", "hint"})
    assert contents(folder) == {}


# --- spaces whose networks misbehave ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Moody:
    """Thirty networks, of which every fifth kind is fit to be scored."""

    name = "moody"
    size = 30
    variants = ("whole",)
    scoring_variant = "whole"
    task = TaskSpec.images(3, 16, 16, classes=4)
    kinds = ("fine", "nan", "raises", "linear", "unbuildable")

    def sample(self, rng):
        return Arch("moody", (int(rng.integers(self.size)),))

    def mutate(self, arch, rng):
        return Arch("moody", ((arch.genes[0] + 1 + int(rng.integers(self.size - 1))) % self.size,))

    def parse(self, text):
        return Arch("moody", (int(text.partition(" ")[2]),))

    def format(self, arch):
        return f"{self.kinds[arch.genes[0] % 5]} {arch.genes[0]}"

    def measure(self, arch, task=None, *, variant=None):
        from subshot.spaces._space import Size

        return Size(1_000 + arch.genes[0], 10)

    def build(self, arch, task=None, *, variant=None):
        import torch
        from torch import nn

        kind = self.kinds[arch.genes[0] % 5]
        if kind == "unbuildable":
            raise MemoryError("too [large] [/for] this machine")

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 4 + arch.genes[0], 3)

            def forward(self, images):
                if kind == "raises":
                    raise ValueError("no [way] [/out]")
                features = self.conv(images)
                if kind == "linear":
                    return features
                return torch.relu(features) * (float("nan") if kind == "nan" else 1.0)

        return Net()


@pytest.fixture
def moody(monkeypatch):
    SPACES.names()
    monkeypatch.setitem(SPACES._entries, "moody", _Moody)
    rng = np.random.default_rng(0)
    return {"space": "moody", "data": rng.normal(size=(12, 3, 16, 16)).astype(np.float32), "batch_size": 12}


def shown(study):
    console = Console(file=io.StringIO(), width=400)
    show_study(study, console)
    return console.file.getvalue()


@pytest.mark.parametrize("strategy", ["random", "swap_evolution(population=8,sample=4,mutations=3)"])
def test_networks_that_misbehave_are_recorded_and_never_chosen(moody, tmp_path, strategy):
    study = search(**moody, strategy=strategy, budget=30, out=tmp_path)
    first = {row.arch: row for row in study.rows if row.same_as is None}
    assert len(first) == study.evaluations == 30
    expected = {
        "fine": ("ok", ""),
        "nan": ("nan", "non-finite"),
        "raises": ("failed", "ValueError while the network ran: no [way] [/out]"),
        "linear": ("not_applicable", "no activation"),
        "unbuildable": ("failed", "MemoryError while the network was built: too [large] [/for] this machine"),
    }
    for arch, row in first.items():
        status, reason = expected[arch.partition(" ")[0]]
        assert row.scores["swap"].status == status
        assert reason in row.scores["swap"].reason
    assert study.failed == 24
    assert study.explanation == ""
    beyond = search(**moody, strategy=strategy, budget=31)
    assert beyond.evaluations == 30
    why = "has nothing left to try" if strategy == "random" else "only repeats itself, 200 groups of trials in a row"
    assert beyond.explanation == (
        f"Ended after 30 of 31 architectures: the strategy {why}, and no architecture of the space is left."
    )
    best = max((row for row in first.values() if row.scores["swap"].ok), key=lambda row: row.scores["swap"].value)
    assert study.best.score.value == best.scores["swap"].value
    assert study.best.arch.startswith("fine")
    assert all(found.arch.startswith("fine") for found in (*study.front, *study.top(100)))
    text = shown(study)
    for count in ("6 nan (", "12 failed (", "6 not_applicable ("):
        assert count in text
    assert json.loads((tmp_path / "best.json").read_text())["failed"] == 24
    # And all of it is there again when the study is read back.
    assert (
        shown(search(**moody, strategy=strategy, budget=30, out=tmp_path)).split("Without")[1]
        == text.split("Without")[1]
    )


def test_a_search_in_which_nothing_works_ends_without_a_best(moody, monkeypatch):
    monkeypatch.setattr(_Moody, "kinds", ("raises",) * 5)
    study = search(**moody, strategy="random", budget=6)
    assert (study.status, study.best, study.front, study.failed) == ("done", None, (), 6)
    assert study.to_dict()["best"] is None
    text = shown(study)
    assert "No architecture has a finite swap score." in text
    assert "6 failed (ValueError while the network ran: no [way] [/out])" in text
