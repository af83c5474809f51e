"""One text form for everything chosen by name with settings: ``name`` or ``name(key=value, key=value)``.

Spaces, proxies and strategies are chosen this way on the command line and in stored settings:
``nasbench201(channels=8)``, ``swap(ternary=true)``, ``swap_evolution(population=50)``.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from subshot.errors import OptionError, UnknownNameError

Value = bool | int | float | str | None

_FORM = re.compile(r"\s*([A-Za-z][\w.-]*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number"}
_WORDS: dict[str, Value] = {"true": True, "false": False, "none": None}


@dataclass(frozen=True)
class Choice:
    """A registered name and the settings given to it.

    Attributes:
        name: The registry's name.
        options: Settings that differ from the entry's defaults, as given.
    """

    name: str
    options: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}({', '.join(f'{k}={_format(v)}' for k, v in sorted(self.options.items()))})"

    @classmethod
    def parse(cls, text: str) -> "Choice":
        """Read ``name`` or ``name(key=value, ...)``; values are numbers, ``true``, ``false``, ``none`` or bare words.

        Raises:
            OptionError: The text has another form.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise OptionError(f"{text!r} is not a name with settings.", "Write name or name(key=value, key=value).")
        options: dict[str, Value] = {}
        for part in split_top_level(match[2] or ""):
            key, equals, value = part.partition("=")
            if not equals or not key.strip().isidentifier():
                raise OptionError(f"{part.strip()!r} in {text!r} is not a setting.", "Write key=value.")
            options[key.strip()] = _value(value.strip())
        return cls(match[1], options)


def split_top_level(text: str) -> list[str]:
    """Split at the commas that stand outside round brackets; empty parts are dropped."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def parse_choices(texts: str | Choice | Sequence[str | Choice]) -> list[Choice]:
    """Read one choice, a comma-separated text of choices, or a sequence of either.

    Raises:
        OptionError: A text has another form, or no name in it.
    """
    items = [texts] if isinstance(texts, (str, Choice)) else list(texts)
    return [
        choice
        for item in items
        for choice in ([item] if isinstance(item, Choice) else map(Choice.parse, split_top_level(item) or [item]))
    ]


def option_defaults(function: Callable[..., object]) -> dict[str, Value]:
    """The keyword-only parameters of ``function`` that have a plain default: its settings."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        and (parameter.default is None or isinstance(parameter.default, (bool, int, float, str)))
    }


def check_options(owner: str, options: Mapping[str, Value], defaults: Mapping[str, Value]) -> dict[str, Value]:
    """Check names and types of ``options`` against ``defaults`` and return them converted.

    An integer is accepted for a float setting, an infinity or NaN isn't; a setting whose default is ``None`` or a word
    accepts any value.

    Raises:
        UnknownNameError: A setting the owner doesn't have.
        OptionError: A value of the wrong type.
    """
    checked: dict[str, Value] = {}
    for key, value in options.items():
        if key not in defaults:
            raise UnknownNameError.of(f"setting of {owner}", key, defaults)
        default = defaults[key]
        if isinstance(default, bool):
            fits = isinstance(value, bool)
        elif isinstance(default, int):
            fits = isinstance(value, int) and not isinstance(value, bool)
        elif isinstance(default, float):
            fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            value = float(value) if fits and value is not None else value
        else:
            fits = True
        if not fits:
            raise OptionError(
                f"{owner} was given {key}={value!r}.", f"{key} takes {_KINDS[type(default)]}, like {_format(default)}."
            )
        checked[key] = value
    return checked


def _value(text: str) -> Value:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")


def _format(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
