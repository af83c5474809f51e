"""A user's own space: choices, conditions, constraints, texts, and what a search makes of it."""

import collections
import itertools
import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from subshot._types import Arch, TaskSpec
from subshot.errors import ArchError, DataError, InfeasibleError, OptionError, UnknownNameError
from subshot.spaces._source import is_source, load_space
from subshot.spaces._space import Crossable, Describing, Encodable, Enumerable
from subshot.spaces.choices import ChoiceSpace, Space, integers, ordered, when
from subshot.studies._executors import make_executor
from subshot.studies.study import search
from subshot.testing.spaces import SpaceContract

CHOICES = {
    "depth": integers(1, 3),
    "width": ordered([4, 8, 12, 16]),
    "act": ["relu", "gelu", "none"],
    "slope": when({"act": "relu"}, [0.0, 0.1]),
    "norm": when({"act": ["relu", "gelu"]}, [True, False]),
    "groups": when({"norm": True, "depth": [2, 3]}, [1, 2]),
}
SEEDS = st.integers(0, 2**32 - 1)


def build(depth, width, act, slope, norm, groups, task):
    channels = task.image_shape[0]
    layers = []
    for _ in range(depth):
        layers.append(nn.Conv2d(channels, width, 3, padding=1))
        layers += [nn.GroupNorm(groups or 1, width)] if norm else []
        layers += [nn.LeakyReLU(slope)] if act == "relu" else [nn.GELU()] if act == "gelu" else []
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.outputs))


def not_too_large(depth, width):
    return depth * width <= 32


SPACE = Space(CHOICES, build, constraints=[not_too_large], task=TaskSpec.images(3, 8, 8, classes=4))


class OwnContract(SpaceContract):
    def test_settings_rebuild_the_space(self, space):
        # A space made in Python has no name in the registry; its settings are digests.
        copy = pickle.loads(pickle.dumps(space))  # noqa: S301 - our own bytes
        assert copy == space
        assert hash(copy) == hash(space)


class TestContract(OwnContract):
    @pytest.fixture
    def space(self):
        return SPACE


class TestWithoutConditions(OwnContract):
    @pytest.fixture
    def space(self):
        return Space({"width": range(8, 33, 8)}, widths_only, start={"width": 16}, name="narrow")


def widths_only(choices, task):
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, choices["width"]), nn.Linear(choices["width"], task.outputs)
    )


# --- texts -----------------------------------------------------------------------------------------------------------


def test_text_names_what_plays_a_role() -> None:
    arch = SPACE.parse("depth=2 width=8 act=relu slope=0.1 norm=true groups=2")
    assert SPACE.format(arch) == "depth=2 width=8 act=relu slope=0.1 norm=true groups=2"
    assert SPACE.values(arch) == {"depth": 2, "width": 8, "act": "relu", "slope": 0.1, "norm": True, "groups": 2}
    assert SPACE.parse("act=none  width=16\tdepth=1") == SPACE.parse("depth=1 width=16 act=none")
    assert SPACE.format(SPACE.parse("act=none width=16 depth=1")) == "depth=1 width=16 act=none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth=2 width=8", "choice act of own is missing"),
        ("depth=2 width=9 act=none", "width=9 is no value"),
        ("depth=2 width=8 act=none slope=0.1", "slope plays no role here"),
        ("depth=2 width=8 act=none act=none", "given twice"),
        ("depth=2 width=8 act=none colour=red", "no choice of own named 'colour'"),
        ("depth=2 width 8", "'width' in .* is no choice"),
        ("depth=3 width=12 act=none", "against the constraint not_too_large"),
    ],
)
def test_refuses_other_texts_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(ArchError, match=message) as caught:
        SPACE.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize("genes", [(0,), (0, 0, 2, -1, -1, 0), (0, 0, 0, -1, 0, -1), (0, 9, 2, -1, -1, -1), "abcdef"])
def test_refuses_genes_that_cannot_be(genes) -> None:
    with pytest.raises(ArchError):
        SPACE.format(Arch("own", tuple(genes)))


# --- how many --------------------------------------------------------------------------------------------------------


def by_hand() -> set[tuple[tuple[str, object], ...]]:
    """All value combinations, written as nested loops."""
    found = set()
    for depth, width, act in itertools.product((1, 2, 3), (4, 8, 12, 16), ("relu", "gelu", "none")):
        if depth * width > 32:
            continue
        for slope in (0.0, 0.1) if act == "relu" else (None,):
            for norm in (True, False) if act != "none" else (None,):
                for groups in (1, 2) if norm and depth > 1 else (None,):
                    values = {
                        "depth": depth,
                        "width": width,
                        "act": act,
                        "slope": slope,
                        "norm": norm,
                        "groups": groups,
                    }
                    found.add(tuple((name, value) for name, value in values.items() if value is not None))
    return found


def test_lists_and_counts_what_loops_give() -> None:
    listed = [tuple(SPACE.values(arch).items()) for arch in SPACE.architectures()]
    assert set(listed) == by_hand()
    assert len(listed) == SPACE.size == len(by_hand())


def test_counts_without_listing() -> None:
    free = Space(CHOICES, build)
    assert free.size == sum(1 for _ in free.architectures())
    chain = {"a": [0, 1], **{f"{b}": when({a: 1}, [0, 1]) for a, b in itertools.pairwise("abcdefgh")}}
    assert Space(chain, lambda choices: nn.Identity()).size == 9
    large = Space({f"x{n}": integers(1, 10) for n in range(40)}, lambda choices: nn.Identity())
    assert large.size == 10**40


# --- moves -----------------------------------------------------------------------------------------------------------


def test_samples_reach_everything_that_is_allowed() -> None:
    rng = np.random.default_rng(0)
    drawn = {tuple(SPACE.values(SPACE.sample(rng)).items()) for _ in range(4000)}
    assert drawn == by_hand()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_mutation_changes_one_choice_that_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = SPACE.values(arch := SPACE.sample(rng))
    after = SPACE.values(SPACE.mutate(arch, rng))
    changed = [name for name in before if name in after and before[name] != after[name]]
    assert len(changed) == 1


def test_ordered_choices_move_to_near_values_more_often() -> None:
    space = Space({"n": integers(1, 9), "kind": list("abcdefghi")}, lambda choices: nn.Identity())
    rng, arch = np.random.default_rng(0), space.parse("n=5 kind=e")
    counts = collections.Counter(space.format(space.mutate(arch, rng)) for _ in range(9000))
    assert len(counts) == 16
    kinds = [count for text, count in counts.items() if text.startswith("n=5")]
    assert max(kinds) < 1.25 * min(kinds)
    # 1/d for d = 1..4 on both sides: shares 1 : 1/2 : 1/3 : 1/4.
    for distance in (2, 3, 4):
        ratio = counts["n=4 kind=e"] / counts[f"n={5 - distance} kind=e"]
        assert ratio == pytest.approx(distance, rel=0.25)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_children_take_their_values_from_parents(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = SPACE.sample(rng), SPACE.sample(rng)
    child = SPACE.values(SPACE.crossover(first, second, rng))
    one, two = SPACE.values(first), SPACE.values(second)
    for name, value in child.items():
        if name in one or name in two:
            assert value in (one.get(name, value), two.get(name, value))
    assert tuple(child.items()) in by_hand()


def test_has_its_abilities() -> None:
    for ability in (Enumerable, Crossable, Encodable, Describing):
        assert isinstance(SPACE, ability)


def test_vectors_are_steps_for_ordered_choices() -> None:
    vector = SPACE.encode(SPACE.parse("depth=2 width=8 act=none"))
    np.testing.assert_array_equal(vector, [1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    assert SPACE.decode(np.zeros_like(vector)) is None
    gap = vector.copy()
    gap[:2] = 0, 1
    assert SPACE.decode(gap) is None


# --- constraints -----------------------------------------------------------------------------------------------------


def test_impossible_constraints_name_the_one_that_rejects_most() -> None:
    def never(width):
        return width > 16

    space = Space(CHOICES, build, constraints=[not_too_large, never])
    with pytest.raises(InfeasibleError, match=r"No architecture of own.*never rejects 1,000, not_too_large \d\d\d"):
        space.sample(np.random.default_rng(0))
    large = Space({f"x{n}": integers(0, 9) for n in range(9)}, lambda choices: None, constraints=[lambda x0: x0 > 9])
    with pytest.raises(InfeasibleError, match=r"None of 10,000.*<lambda> of line \d+ rejects 1,000"):
        large.sample(np.random.default_rng(0))


def test_a_rare_architecture_is_found() -> None:
    space = Space({"a": integers(0, 99), "b": integers(0, 99)}, pair, constraints=[lambda a, b: a + b >= 197])
    rng = np.random.default_rng(0)
    drawn = {space.format(space.sample(rng)) for _ in range(60)}
    assert drawn == {f"a={a} b={b}" for a, b in [(99, 99), (98, 99), (99, 98)]}
    arch = space.sample(rng)
    assert {space.format(space.mutate(arch, rng)) for _ in range(30)} <= drawn - {space.format(arch)}


def pair(a, b):
    return nn.Linear(a + 1, b + 1)


def test_one_architecture_cannot_be_mutated() -> None:
    space = Space({"a": [1]}, lambda a: nn.Identity())
    with pytest.raises(InfeasibleError, match="no other architecture"):
        space.mutate(space.sample(np.random.default_rng(0)), np.random.default_rng(0))


def test_a_raising_constraint_is_named() -> None:
    space = Space({"a": ["x", "y"]}, lambda a: nn.Identity(), constraints=[lambda a: a > 1])
    with pytest.raises(OptionError, match=r"constraint <lambda> of line \d+ raised TypeError.* for a=[xy]"):
        space.sample(np.random.default_rng(0))


# --- what is refused when a space is made ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "has no choices"),
        ({"a b": [1]}, "'a b' was given as the name"),
        ({"a": []}, "has the values none"),
        ({"a": [1, 2, 1]}, "has the values 1, 2, 1"),
        ({"a": ["two words"]}, "has the value 'two words'"),
        ({"a": [math.nan]}, "has the value nan"),
        ({"a": [nn.ReLU]}, "choose between names"),
        ({"a": "relu"}, "'relu' was given as the values"),
        ({"a": when({"b": 1}, [1]), "b": [1]}, "depends on 'b'.*it is the first"),
        ({"b": [1], "a": when({"b": 2}, [1])}, "depends on b=.2.*b is one of 1"),
        ({"task": [1]}, "called 'task'"),
    ],
)
def test_refuses_choices_that_cannot_be(choices, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Space(choices, lambda choices, task: nn.Identity())


def test_refuses_functions_that_ask_for_something_else() -> None:
    with pytest.raises(
        OptionError, match=r"build function pair asks for 'b', which is no choice.*may ask for a, choices"
    ):
        Space({"a": [1]}, pair)
    with pytest.raises(OptionError, match="doesn't ask for the choice 'c'"):
        Space({"a": [1], "b": [1], "c": [1]}, pair)
    with pytest.raises(OptionError, match="constraint not_too_large asks for 'depth'"):
        Space({"a": [1], "b": [1]}, pair, constraints=[not_too_large])
    with pytest.raises(OptionError, match="from 3 to 1"):
        integers(3, 1)
    with pytest.raises(OptionError, match="build of type int"):
        Space({"a": [1]}, 3)


def test_functions_get_what_they_ask_for() -> None:
    seen = []

    def everything(**choices):
        seen.append(choices)
        return nn.Identity()

    def mapping(choices, task, scale=2):
        seen.append((choices, task, scale))
        return nn.Identity()

    choices = {"a": [1, 2], "b": when({"a": 2}, [5])}
    task = TaskSpec.images(1, 4, 4, classes=2)
    for function in (everything, mapping):
        space = Space(choices, function, task=task)
        space.build(space.parse("a=1"))
    assert seen == [{"a": 1, "b": None}, ({"a": 1}, task, 2)]


def test_start_is_an_architecture() -> None:
    space = Space(CHOICES, build, start={"depth": 1, "width": 8, "act": "none"})
    assert space.format(space.start) == "depth=1 width=8 act=none"
    assert SPACE.start is None
    with pytest.raises(ArchError, match="slope of own is missing"):
        Space(CHOICES, build, start={"depth": 1, "width": 8, "act": "relu"})


# --- in a study ------------------------------------------------------------------------------------------------------


def fails_sometimes(width, depth):
    if width == 8:
        raise ValueError("eight is not allowed")
    if width == 12:
        return "no module"
    if width == 16:
        raise OptionError("sixteen neither", "Take less.")
    if width == 20:
        return nn.LazyLinear(10)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def test_a_build_that_raises_is_recorded_and_the_search_goes_on() -> None:
    space = Space({"width": [4, 6, 8, 12, 16, 20], "depth": [1, 2]}, fails_sometimes)
    images = np.random.default_rng(0).random((8, 1, 8, 8), dtype=np.float32)
    study = search(space, data=images, strategy="random", budget=12, batch_size=8)
    assert study.status == "done"
    assert study.evaluations == 12
    reasons = {row.arch: row.scores["swap"].reason for row in study.rows if row.scores["swap"].status == "failed"}
    assert len(reasons) == 8
    assert "ValueError while the network was built: eight is not allowed" in reasons["width=8 depth=1"]
    assert "object of type str" in reasons["width=12 depth=2"]
    assert "sixteen neither" in reasons["width=16 depth=1"]
    assert "lazy parameters" in reasons["width=20 depth=1"]
    assert study.best.arch.split()[0] in ("width=4", "width=6")


def test_other_choices_are_another_study(tmp_path: Path) -> None:
    digests = {
        Space(CHOICES, build).network_settings("own")["choices"],
        Space(CHOICES, build, constraints=[not_too_large]).network_settings("own")["choices"],
        Space({**CHOICES, "depth": integers(1, 4)}, build).network_settings("own")["choices"],
    }
    assert len(digests) == 3
    assert Space(CHOICES, build).network_settings("own")["choices"] in digests


@pytest.mark.parametrize("where", ["build", "constraint"])
def test_worker_processes_refuse_functions_without_a_name(where: str) -> None:
    if where == "build":
        space = Space({"a": [1], "b": [1]}, lambda a, b: pair(a, b))
    else:
        space = Space({"a": [1], "b": [1]}, pair, constraints=[lambda a: True])
    with pytest.raises(OptionError, match=r"is a lambda.*Define it by 'def' at the top of a module"):
        pickle.dumps(space)
    with pytest.raises(OptionError, match=r"can't be sent to worker processes.*is a lambda"):
        make_executor(space, 2)  # an evaluator is pickled with its space


# --- from a file -----------------------------------------------------------------------------------------------------

FILE = """
from torch import nn
from subshot.spaces.choices import Space, integers

def build(width, task):
    pixels = task.image_shape[0] * task.image_shape[1] ** 2
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, task.outputs))

def space(*, largest: int = 16):
    return Space({"width": integers(2, largest)}, build)

ready = space(largest=8)

def broken():
    raise KeyError("oh")

def nothing():
    return 3
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / f"own_space_{abs(hash(tmp_path))}.py"
    path.write_text(FILE)
    return path


def test_a_file_gives_a_space_named_after_it(file: Path) -> None:
    space = load_space(f"{file}:space(largest=20)")
    assert isinstance(space, ChoiceSpace)
    assert space.size == 19
    assert space.name == f"{file}:space(largest=20)"
    assert load_space(space.name) == space
    assert load_space(f"{file}:ready").size == 7
    assert is_source(space.name)
    assert not is_source("nasbench201(channels=8)")


@pytest.mark.parametrize(
    ("rest", "error", "message"),
    [
        ("spase", UnknownNameError, "Did you mean 'space'"),
        ("space(smallest=1)", UnknownNameError, "no setting of .* named 'smallest'"),
        ("ready(largest=3)", OptionError, "made already"),
        ("broken", DataError, "broken raised KeyError: 'oh'"),
        ("nothing", OptionError, "returned an object of type int, which is no space"),
        ("FILE", UnknownNameError, "no function"),
    ],
)
def test_what_a_file_may_do_wrong(file: Path, rest: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_space(f"{file}:{rest}")


def test_files_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(DataError, match="There is no file"):
        load_space(f"{tmp_path}/nowhere.py:space")
    (tmp_path / "json.py").write_text("")
    with pytest.raises(DataError, match="name of another module"):
        load_space(f"{tmp_path}/json.py:space")
    (tmp_path / "raises_when_imported.py").write_text("1 / 0")
    with pytest.raises(DataError, match="raised ZeroDivisionError"):
        load_space(f"{tmp_path}/raises_when_imported.py:space")


def test_workers_build_a_space_of_a_file(file: Path) -> None:
    images = np.random.default_rng(0).random((8, 1, 8, 8), dtype=np.float32)
    space = load_space(f"{file}:space")
    one, two = (
        search(space, data=images, strategy="random", budget=6, batch_size=8, workers=workers) for workers in (1, 2)
    )
    assert [row.scores["swap"].value for row in one.rows] == [row.scores["swap"].value for row in two.rows]
    assert all(row.scores["swap"].ok for row in two.rows)
    assert one.settings["space"] == space.name


def test_ten_lines_are_enough() -> None:
    # The example of the documentation, in one piece.
    space = Space(choices={"width": ordered([8, 16]), "act": ["relu", "gelu"]}, build=two_layers)
    study = search(space, data=torch.rand(8, 3, 8, 8), strategy="random", budget=4, batch_size=8)
    assert len({row.arch for row in study.rows}) == 4


def two_layers(width, act, task):
    activation = {"relu": nn.ReLU(), "gelu": nn.GELU()}[act]
    return nn.Sequential(nn.Flatten(), nn.Linear(192, width), activation, nn.Linear(width, task.outputs))
