import pickle

import pytest

from subshot import errors
from subshot.errors import ArchError, SubshotError, UnknownNameError


def test_text_is_message_and_hint():
    assert str(SubshotError("This is wrong.", "Do that.")) == "This is wrong. Do that."
    assert str(SubshotError("This is wrong.")) == "This is wrong."
    assert SubshotError("This is wrong.").hint == ""


def test_near_matches_come_first_and_all_names_after():
    error = UnknownNameError.of("proxy", "swpa", {"swap", "synflow", "zico"})
    assert error.message == "There is no proxy named 'swpa'."
    assert error.hint == "Did you mean 'swap'? Known: swap, synflow, zico."


def test_without_near_matches_nothing_is_suggested():
    assert UnknownNameError.of("proxy", "qqq", ["b", "a"]).hint == "Known: a, b."
    assert UnknownNameError.of("proxy", "qqq", []).hint == "Known: none."


ALL = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, SubshotError) and value.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", ALL)
def test_errors_come_back_from_worker_processes(kind):
    # An exception crosses processes by pickling; the default way would lose the hint or fail.
    back = pickle.loads(pickle.dumps(kind("message", "hint")))  # noqa: S301 - our own bytes
    assert type(back) is kind
    assert (back.message, back.hint, str(back)) == ("message", "hint", "message hint")
    back = pickle.loads(pickle.dumps(UnknownNameError.of("proxy", "a", ["ab"])))  # noqa: S301
    assert back.hint == "Did you mean 'ab'? Known: ab."


def test_one_except_catches_everything_raised_on_purpose():
    assert len(ALL) >= 9
    with pytest.raises(SubshotError):
        raise ArchError("no arch")
