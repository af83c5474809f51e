"""Names in Markdown: whatever a user calls a table, a column or an architecture, it is read and does nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subshot.report._markdown import plain

# A character that Markdown lets be escaped, and what a reader of the rest of a line then sees.
ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("l2_norm [0.1, 0.2], a < b, x <= 2 & y, (z)!", "l2_norm [0.1, 0.2], a < b, x <= 2 & y, (z)!"),
        ("a|b", r"a\|b"),
        ("one\ntwo\r\nthree\u2028four", "one two three four"),
        ("`rm`", r"\`rm\`"),
        ("*bold* **b** _it_ __b__", r"\*bold\* \*\*b\*\* \_it\_ \_\_b\_\_"),
        ("<script>alert(1)</script><!-- -->", r"\<script>alert(1)\</script>\<!-- -->"),
        ("<https://a.example>", r"\<https://a.example>"),
        ("[a](http://b) ![i](j) [c][d]", r"[a\](http://b) \![i\](j) [c\][d]"),
        ("&lt;b&#62;", r"\&lt;b\&\#62;"),
        ("~x~ $y$ # z", r"\~x\~ \$y\$ \# z"),
        ("a\\|b", r"a\\\|b"),
    ],
)
def test_what_is_escaped(text: str, expected: str) -> None:
    assert plain(text) == expected


@given(st.text(alphabet=st.sampled_from("ab_ *`<>|\\[](!&#~$\n\r/")))
def test_nothing_is_lost_and_nothing_is_markup(text: str) -> None:
    escaped = plain(text)
    assert ESCAPED.sub(r"\1", escaped) == re.sub(r"[\n\r]+", " ", text)
    bare = ESCAPED.sub("", escaped)  # what is left of the text outside escapes
    assert not re.search(r"[\n\r`*|~$#\\]", bare)
    left = ESCAPED.sub("\x00", escaped)
    assert not re.search(r"<[A-Za-z/!?]|\]\(|&[A-Za-z#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", left)
