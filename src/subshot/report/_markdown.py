"""Plain texts in Markdown: what would be markup is escaped, so that names and architectures are read as they are."""

import re

# Line breaks and other control characters would end a cell or a paragraph.
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")

# What can begin markup wherever it stands, and what can in its place only: an underscore inside a word, a sign of
# comparison or an interval in square brackets can't, and stay readable in the file.
_MARKUP = re.compile(r"[\\`*|~$#]|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|&(?=[A-Za-z#])|\](?=[(\[:])|!(?=\[)")


def plain(text: str) -> str:
    """The text on one line, with a backslash before everything that Markdown would take for markup."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", _BREAKS.sub(" ", text))
