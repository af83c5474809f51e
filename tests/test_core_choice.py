import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subshot._choice import Choice, check_options, option_defaults, parse_choices, split_top_level
from subshot.errors import OptionError, UnknownNameError


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("swap", "swap", {}),
        (" swap ( ) ", "swap", {}),
        ("swap(ternary=true)", "swap", {"ternary": True}),
        ("swap(ternary=False, a=none)", "swap", {"ternary": False, "a": None}),
        ("a-b.c(x=1, y=-2.5,z=1e-3,)", "a-b.c", {"x": 1, "y": -2.5, "z": 1e-3}),
        ("s(unit=k, word='two words')", "s", {"unit": "k", "word": "two words"}),
        ("s(inner=f(1, 2), last=3)", "s", {"inner": "f(1, 2)", "last": 3}),
    ],
)
def test_forms(text, name, options):
    choice = Choice.parse(text)
    assert (choice.name, dict(choice.options)) == (name, options)
    assert [type(value) for value in choice.options.values()] == [type(value) for value in options.values()]


@pytest.mark.parametrize("text", ["", "  ", "3x", "swap(", "swap)", "swap(a=1)b", "a b", "(a=1)", "swap(a=1"])
def test_other_texts_are_refused(text):
    with pytest.raises(OptionError, match=r"not a name with settings\. Write name or name\(key=value"):
        Choice.parse(text)


@pytest.mark.parametrize("text", ["swap(ternary)", "swap(=1)", "swap(1=2)", "swap(a b=2)"])
def test_settings_need_a_key_and_a_value(text):
    with pytest.raises(OptionError, match=r"is not a setting\. Write key=value"):
        Choice.parse(text)


names = st.text(string.ascii_letters, min_size=1)
keys = st.text(string.ascii_lowercase + "_", min_size=1).filter(str.isidentifier)
reserved = {"true", "false", "none", "nan", "inf", "infinity"}
values = (
    st.booleans()
    | st.none()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | names.filter(lambda word: word.lower() not in reserved)
)


@given(names, st.dictionaries(keys, values, max_size=4))
def test_text_and_choice_are_inverse(name, options):
    choice = Choice(name, options)
    back = Choice.parse(str(choice))
    assert back == choice
    assert {key: type(value) for key, value in back.options.items()} == {
        key: type(value) for key, value in options.items()
    }
    assert str(back) == str(choice)


def test_text_does_not_depend_on_the_order_of_settings():
    assert str(Choice("s", {"b": 1, "a": True})) == str(Choice("s", {"a": True, "b": 1})) == "s(a=true, b=1)"


@given(st.text("ab,()", max_size=12))
def test_split_keeps_everything_but_commas(text):
    parts = split_top_level(text)
    assert all(parts)
    assert "".join(parts).replace(",", "") == text.replace(",", "")


def test_split_at_commas_outside_brackets():
    assert split_top_level("a, b(c=1, d=(2,3)),, e ,") == ["a", "b(c=1, d=(2,3))", "e"]


def test_choices_come_from_texts_choices_and_lists():
    own = Choice("c", {"x": 1})
    assert parse_choices("a,b(x=1,y=2)") == [Choice("a"), Choice("b", {"x": 1, "y": 2})]
    assert parse_choices(own) == [own]
    assert parse_choices(["a,b", own]) == [Choice("a"), Choice("b"), own]


@pytest.mark.parametrize("text", ["", " ", ",", ", ,"])
def test_no_choice_is_not_quietly_nothing(text):
    with pytest.raises(OptionError, match="not a name"):
        parse_choices(text)


def test_defaults_are_the_plain_keyword_only_parameters():
    def function(a, b=1, *, c, d=2, e=None, f="x", g=(1, 2), h=True):
        pass

    assert option_defaults(function) == {"d": 2, "e": None, "f": "x", "h": True}


DEFAULTS = {"flag": False, "count": 3, "rate": 0.5, "word": "k", "free": None}


@pytest.mark.parametrize(
    ("given_options", "checked"),
    [
        ({"flag": True}, {"flag": True}),
        ({"count": -4}, {"count": -4}),
        ({"rate": 1}, {"rate": 1.0}),
        ({"word": "M"}, {"word": "M"}),
        ({"free": 7}, {"free": 7}),
        ({}, {}),
    ],
)
def test_options_that_fit(given_options, checked):
    result = check_options("proxy p", given_options, DEFAULTS)
    assert result == checked
    assert [type(value) for value in result.values()] == [type(value) for value in checked.values()]


@pytest.mark.parametrize(
    ("key", "value", "takes"),
    [
        ("flag", 1, "true or false, like false"),
        ("count", 1.0, "a whole number, like 3"),
        ("count", True, "a whole number, like 3"),
        ("count", "many", "a whole number, like 3"),
        ("rate", True, "a number, like 0.5"),
        ("rate", None, "a number, like 0.5"),
        ("rate", float("nan"), "a number, like 0.5"),
        ("rate", float("inf"), "a number, like 0.5"),
    ],
)
def test_options_of_the_wrong_type(key, value, takes):
    with pytest.raises(OptionError) as caught:
        check_options("proxy p", {key: value}, DEFAULTS)
    assert caught.value.message == f"proxy p was given {key}={value!r}."
    assert caught.value.hint == f"{key} takes {takes}."


def test_unknown_options_are_answered_with_near_matches():
    with pytest.raises(UnknownNameError, match="There is no setting of proxy p named 'cuont'"):
        check_options("proxy p", {"cuont": 1}, DEFAULTS)
