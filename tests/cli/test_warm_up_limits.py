"""Budgets of a warm-up that can't be meant: an error at once, not a training without end."""

import pytest

from subshot.errors import OptionError
from subshot.supernets.warm_up import WarmUp

SPACE = "nasbench201(channels=2,cells=1)"


@pytest.fixture
def stopped(monkeypatch):
    """Training fails instead of going on for ever."""
    monkeypatch.setattr("subshot.supernets.warm_up.fit", None)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (["--share", "1e300"], "A share of 1e+300 was given, of "),
        (["--share", "1e308"], "A share of 1e+308 was given, of "),
        (["--share", "1e12"], "At most 10^12 samples pass"),
        (["--share", "nan"], "share was given as nan. It is a number above 0."),
        (["--share", "inf"], "share was given as inf. It is a number above 0."),
        (["--share", "-1"], "share was given as -1.0. It is a number above 0."),
        (["--share", "0"], "share was given as 0.0. It is a number above 0."),
        (["--passed", 10**400], "samples was given as 1000000"),
        (["--passed", -3], "'--passed'"),
    ],
)
def test_budgets_that_cannot_be_meant(run, npz, folder, stopped, budget, expected):
    done = run("warm-up", "--space", SPACE, "--data", npz, "--batch-size", 4, *budget)
    assert (done.code, done.out) == (2, "")
    assert expected in done.err
    assert not list(folder.iterdir())


def test_the_largest_budget():
    plan = WarmUp(share=1e10)
    assert plan.steps(100) == 10**12 // plan.recipe.batch_size
    with pytest.raises(OptionError, match=r"A share of 1.01e\+10 was given, of 100 samples.*At most 10\^12"):
        WarmUp(share=1.01e10).steps(100)
    assert WarmUp(samples=10**12).samples == 10**12
    with pytest.raises(OptionError, match=r"samples was given as 1000000000001\. At most"):
        WarmUp(samples=10**12 + 1)
