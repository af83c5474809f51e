import pytest

from subshot._seeds import stable_rng
from subshot._types import Arch
from subshot.costs._limits import Limits
from subshot.spaces._space import SPACES, get_space
from subshot.strategies._genes import GeneCode, canonical
from subshot.strategies._limits import limited
from subshot.testing.strategies import OneMax


@pytest.mark.parametrize("name", SPACES.names())
def test_architectures_of_every_space_are_choices_and_back(name):
    space = get_space(name)
    code = GeneCode(space)
    rng = stable_rng("genes", name)
    for _ in range(10):
        arch, base = space.sample(rng), space.sample(rng)
        assert code.grant(code.choices(arch), base) == arch
        # A wish that may be no architecture: what is granted is one.
        wish = {key: values[int(rng.integers(len(values)))] for key, values in code.values.items()}
        if len(code.shapes) > 1:
            wish["shape"] = code.shapes[int(rng.integers(len(code.shapes)))]
        granted = code.grant(wish, base)
        assert space.parse(space.format(granted)) == granted


def test_the_code_is_always_the_same():
    one, other = (GeneCode(get_space("darts")) for _ in range(2))
    assert (one.shapes, one.values) == (other.shapes, other.values)


class _Ascending:
    """Three numbers of which the first is below the second."""

    def sample(self, rng):
        first, second = sorted(rng.choice(4, size=2, replace=False).tolist())
        return Arch("ascending", (first, second, int(rng.integers(9))))

    def canonical(self, arch):
        return arch if arch.genes[0] < arch.genes[1] else None


@pytest.mark.parametrize(
    ("wish", "base", "granted"),
    [
        ((1, 3, 7), (0, 1, 0), (1, 3, 7)),  # as it is
        ((2, 2, 7), (0, 1, 0), (0, 2, 7)),  # 2 before 1 isn't there, then 2 before 2 isn't either
        ((2, 1, 7), (0, 3, 0), (2, 3, 7)),  # what is granted first decides
    ],
)
def test_what_is_forbidden_is_granted_piece_by_piece(wish, base, granted):
    code = GeneCode(_Ascending())
    assert code.values == {"gene0": (0, 1, 2), "gene1": (1, 2, 3), "gene2": tuple(range(9))}
    wish = dict(zip(code.values, wish, strict=True))
    assert code.grant(wish, Arch("ascending", base)).genes == granted


def test_limits_hold():
    space = get_space("nasbench201")
    view = limited(space, Limits.of(params=400_000), lambda arch: {"params": space.measure(arch).parameters})
    code = GeneCode(view)
    heavy = Arch("nasbench201", (3,) * 6)
    assert canonical(space, heavy) == heavy
    assert canonical(view, heavy) is None
    granted = code.grant(code.choices(heavy), view.sample(stable_rng(0)))
    assert view.inside(granted)
    assert granted.genes.count(3) == 1  # more don't fit


def test_texts_that_are_no_architecture_are_none():
    assert canonical(get_space("nasbench201"), Arch("nasbench201", (9,) * 6)) is None
    assert canonical(OneMax(), Arch("one_max", (1, 0))) == Arch("one_max", (1, 0))
