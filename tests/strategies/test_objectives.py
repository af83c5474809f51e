import math

import pytest

from subshot._types import Score
from subshot.errors import OptionError, UnknownNameError
from subshot.strategies._objectives import Outcome, check_objectives, names_of, outcome, with_costs
from subshot.strategies._strategy import STRATEGIES, fitness, make_strategy
from subshot.testing.strategies import OneMax


def scores(**values):
    return {name: Score.of(value) for name, value in values.items()}


def test_values_stand_in_the_order_of_the_objectives():
    assert outcome(scores(a=1, b=2, c=3), ("c", "a")) == Outcome((3.0, 1.0))


@pytest.mark.parametrize(
    "evaluation",
    [
        scores(a=1),
        scores(a=1, b=math.nan),
        scores(a=1, b=math.inf),
        scores(a=1, b=-math.inf),
        {"a": Score.of(1), "b": Score.failed("broken")},
        {"a": Score.of(1), "b": Score.not_applicable("no")},
    ],
)
def test_without_one_finite_value_nothing_counts(evaluation):
    assert outcome(evaluation, ("a", "b")) == Outcome((-math.inf, -math.inf), math.inf)


@pytest.mark.parametrize(("slack", "violation"), [(2.5, 0.0), (0.0, 0.0), (-1.5, 1.5), (math.nan, math.inf)])
def test_a_negative_slack_is_a_violation(slack, violation):
    found = outcome(scores(a=1, spare=slack), ("a",), slack="spare")
    assert found.violation == violation
    assert found.ok == (violation == 0)


def test_costs_are_negative_scores_and_never_taken_for_proxies():
    told = with_costs(scores(macs=7, swap=3), {"macs": 100, "params": 5})
    assert {name: score.value for name, score in told.items()} == {"macs": 7, "swap": 3, "-macs": -100, "-params": -5}
    assert fitness(told, "-macs") == -100
    # A network that can't be built has no costs.
    assert not outcome(with_costs(scores(swap=3), {}), ("swap", "-macs")).ok


def test_texts_with_commas_are_names():
    assert names_of("swap(ternary=true), -macs") == ("swap(ternary=true)", "-macs")
    assert names_of(["a", "b"]) == ("a", "b")
    assert check_objectives("swap,-params", scores=["swap"], costs=["params", "macs"]) == ("swap", "-params")


@pytest.mark.parametrize("given", ["", [], "swap,swap", "-macs,swap", ["-macs"]])
def test_objectives_begin_with_a_score_and_dont_repeat(given):
    with pytest.raises(OptionError, match="Give each once and a score first") as caught:
        check_objectives(given, scores=["swap"], costs=["macs"])
    assert "none" in caught.value.message or "swap" in caught.value.message or "-macs" in caught.value.message


def test_unknown_objectives_are_answered_with_what_there_is():
    with pytest.raises(
        UnknownNameError, match=r"no objective named 'macs'.*Did you mean '-macs'.*-macs, -params, swap"
    ):
        check_objectives("swap,macs", scores=["swap"], costs=["params", "macs"])


def test_a_strategy_of_one_objective_refuses_two():
    with pytest.raises(OptionError, match=r"local_search was given 2 objectives: a, b\. It maximises one"):
        make_strategy("local_search", OneMax(), objective=("a", "b"), seed=0)
    assert make_strategy("local_search", OneMax(), objective=("a",), seed=0).ask(1)


def test_the_strategies_offered_instead_take_several():
    assert all(STRATEGIES.get(name).several for name in ("nsga2", "swap_evolution", "random"))
