"""Named choices with values, conditions and constraints: what own and ready-made spaces are made of.

An architecture is one value for each choice, held as a position among the choice's values; a choice whose condition
isn't met is inactive and has the position -1, so that equal networks are equal architectures.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from subshot._choice import Value
from subshot.errors import ArchError, OptionError, UnknownNameError

Genes = tuple[int, ...]

INACTIVE = -1
UNCHANGED = "unchanged"

_NAME = re.compile(r"\w[\w.\-]*")
LISTABLE = 100_000  # as elsewhere: spaces up to this size are listed where luck doesn't help


@dataclass(frozen=True)
class Domain:
    """The values of one choice.

    Attributes:
        values: Plain values with distinct texts.
        ordered: Whether neighbours in ``values`` are alike, as for widths; a mutation then prefers near values.
        condition: Values of earlier choices, any of which each must have for this one to be active.
    """

    values: tuple[Value, ...]
    ordered: bool = False
    condition: tuple[tuple[str, tuple[Value, ...]], ...] = ()


class Constraint(Protocol):
    """A named predicate over the active choices."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    def __call__(self, values: Mapping[str, Value]) -> bool:
        """Whether the values are allowed."""
        ...


def value_text(value: Value) -> str:
    """How a value is written: ``true``, ``none``, ``0.5``, ``relu``."""
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


@final
class ChoiceSet:
    """Choices in order, with what may be done to them.

    Args:
        owner: Name of the space, for messages and architectures.
        domains: By the name of the choice; a condition refers to earlier ones only.
        constraints: What an architecture must satisfy.
        start: Values of an architecture to write others as changes of: the text then names what differs.

    Raises:
        OptionError: A name, value or condition that can't be.
    """

    def __init__(
        self,
        owner: str,
        domains: Mapping[str, Domain],
        *,
        constraints: Sequence[Constraint] = (),
        start: Mapping[str, Value] | None = None,
    ) -> None:
        if not domains:
            raise OptionError(f"The space {owner!r} has no choices.", "Give at least one, with its values.")
        self.owner = owner
        self.domains = dict(domains)
        self.constraints = tuple(constraints)
        self.names = tuple(domains)
        self.texts = [_checked_texts(name, domain) for name, domain in domains.items()]
        self._genes_of = [{text: gene for gene, text in enumerate(texts)} for texts in self.texts]
        self._conditions = [self._condition(position) for position in range(len(self.names))]
        self._listed: list[Genes] | None = None
        self._start: Genes | None = None
        if start is not None:
            self._start = self.read(start)

    def _condition(self, position: int) -> list[tuple[int, frozenset[int]]]:
        """Positions of the choices that this one depends on, with their allowed genes."""
        found = []
        for parent, allowed in self.domains[self.names[position]].condition:
            if parent not in self.names[:position]:
                raise OptionError(
                    f"The choice {self.names[position]!r} depends on {parent!r}.",
                    f"It can depend on choices before it: {', '.join(self.names[:position]) or 'it is the first'}.",
                )
            index = self.names.index(parent)
            unknown = [value for value in allowed if value_text(value) not in self._genes_of[index]]
            if unknown or not allowed:
                raise OptionError(
                    f"The choice {self.names[position]!r} depends on {parent}={list(unknown)}.",
                    f"{parent} is one of {', '.join(self.texts[index])}.",
                )
            found.append((index, frozenset(self._genes_of[index][value_text(value)] for value in allowed)))
        return found

    # --- values and texts ---------------------------------------------------------------------------------------------

    def values(self, genes: Genes) -> dict[str, Value]:
        """The active choices and their values, in order."""
        return {
            name: self.domains[name].values[gene]
            for name, gene in zip(self.names, genes, strict=True)
            if gene != INACTIVE
        }

    def read(self, values: Mapping[str, Value]) -> Genes:
        """Genes of the given values; those that are missing are the start's, if there is one.

        Raises:
            ArchError: A name or value is unknown, missing, given though inactive, or against a constraint.
        """
        unknown = [name for name in values if name not in self.domains]
        if unknown:
            raise ArchError(*_parts(UnknownNameError.of(f"choice of {self.owner}", unknown[0], self.names)))
        genes: list[int] = []
        start = self._start
        for position, name in enumerate(self.names):
            if not self.active(position, genes):
                if name in values:
                    raise ArchError(
                        f"{name}={value_text(values[name])} was given, but {name} plays no role here.",
                        f"It is chosen where {self._describe(name)}.",
                    )
                genes.append(INACTIVE)
            elif name in values:
                text = value_text(values[name])
                if text not in self._genes_of[position]:
                    raise ArchError(
                        f"{name}={text[:60]} is no value of {self.owner}.",
                        f"{name} is one of {', '.join(self.texts[position])}.",
                    )
                genes.append(self._genes_of[position][text])
            elif start is not None:
                genes.append(start[position])
            else:
                raise ArchError(
                    f"The choice {name} of {self.owner} is missing.",
                    f"Write {name}= and one of {', '.join(self.texts[position])}.",
                )
        return self._permitted(tuple(genes))

    def parse(self, text: str) -> Genes:
        """Read ``name=value name=value``, in any order.

        Raises:
            ArchError: The text is no architecture.
        """
        values: dict[str, Value] = {}
        words = text.split()
        if self._start is not None and words == [UNCHANGED]:
            return self._start
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or name in values:
                raise ArchError(
                    f"{word[:60]!r} in {text[:60]!r} is {'given twice' if equals else 'no choice'}.", self._form()
                )
            values[name] = value
        if not values:
            raise ArchError(f"{text[:60]!r} is no architecture of {self.owner}.", self._form())
        return self.read(values)

    def format(self, genes: Genes) -> str:
        """The canonical text; with a start, what differs from it, or ``unchanged``."""
        shown = [
            f"{name}={texts[gene]}"
            for position, (name, texts, gene) in enumerate(zip(self.names, self.texts, genes, strict=True))
            if gene != INACTIVE and (self._start is None or gene != self._start[position])
        ]
        return " ".join(shown) or UNCHANGED

    def check(self, genes: tuple[Any, ...]) -> Genes:
        """Return ``genes`` if they are an architecture.

        Raises:
            ArchError: They aren't.
        """
        hint = f"Get one from parse, sample or mutate of {self.owner}."
        if len(genes) != len(self.names):
            raise ArchError(f"{genes!s:.100} are no genes of {self.owner}, which has {len(self.names)} choices.", hint)
        for position, gene in enumerate(genes):
            allowed = range(len(self.texts[position])) if self.active(position, genes) else (INACTIVE,)
            if gene not in allowed:
                raise ArchError(f"Gene {gene!r} of {genes!s:.100} is no choice of {self.names[position]}.", hint)
        return self._permitted(genes)

    def _permitted(self, genes: Genes) -> Genes:
        violated = self.violated(genes)
        if violated:
            raise ArchError(
                f"{self.format(genes)[:200]} is against the constraint {violated[0].name} of {self.owner}.",
                "Change a choice so that the constraint holds.",
            )
        return genes

    def _form(self) -> str:
        example = " ".join(f"{n}={t[0]}" for n, t in itertools.islice(zip(self.names, self.texts, strict=True), 3))
        more = " ..." if len(self.names) > 3 else ""
        what = f"{UNCHANGED}, or the changes: " if self._start is not None else ""
        return f"Write {what}{example}{more}"

    def _describe(self, name: str) -> str:
        return " and ".join(
            f"{parent}={'|'.join(map(value_text, allowed))}" for parent, allowed in self.domains[name].condition
        )

    def active(self, position: int, genes: Sequence[Any]) -> bool:
        """Whether the choice at ``position`` plays a role, given those before it."""
        return all(genes[parent] in allowed for parent, allowed in self._conditions[position])

    def violated(self, genes: Genes) -> list[Constraint]:
        """Constraints that don't hold."""
        if not self.constraints:
            return []
        values = self.values(genes)
        return [constraint for constraint in self.constraints if not constraint(values)]

    # --- all of them --------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of architectures; beyond 100,000 without regard to constraints, which can't be counted."""
        bound = self.bound()
        return len(self.listed()) if self.constraints and bound <= LISTABLE else bound

    def listed(self) -> list[Genes]:
        """Every architecture of a small space, listed once."""
        if self._listed is None:
            self._listed = list(self.all())
        return self._listed

    def all(self) -> Iterator[Genes]:
        """Every architecture, the last choice varying fastest."""
        stack: list[Genes] = [()]
        while stack:
            genes = stack.pop()
            if len(genes) == len(self.names):
                if not self.violated(genes):
                    yield genes
                continue
            active = self.active(len(genes), genes)
            here = range(len(self.texts[len(genes)])) if active else (INACTIVE,)
            stack += [(*genes, gene) for gene in reversed(here)]

    def bound(self) -> int:
        """Architectures without regard to constraints: counted choice by choice, for each state of what still matters.

        What matters of the choices so far is the genes of those that a later one depends on.
        """
        last_use = {parent: i for i, needed in enumerate(self._conditions) for parent, _ in needed}
        states: dict[tuple[tuple[int, int], ...], int] = {(): 1}
        for position, texts in enumerate(self.texts):
            following: dict[tuple[tuple[int, int], ...], int] = {}
            for state, count in states.items():
                known = dict(state)
                active = all(known[parent] in allowed for parent, allowed in self._conditions[position])
                kept = tuple(item for item in state if last_use[item[0]] > position)
                if position not in last_use:
                    following[kept] = following.get(kept, 0) + count * (len(texts) if active else 1)
                    continue
                for gene in range(len(texts)) if active else (INACTIVE,):
                    key = (*kept, (position, gene))
                    following[key] = following.get(key, 0) + count
            states = following
        return sum(states.values())

    # --- vectors ------------------------------------------------------------------------------------------------------

    def encode(self, genes: Genes) -> np.ndarray:
        """One number for each value: one-hot, for an ordered choice 1 up to its value; zeros where inactive."""
        parts = []
        for name, texts, gene in zip(self.names, self.texts, genes, strict=True):
            steps = np.arange(len(texts))
            parts.append(steps <= gene if self.domains[name].ordered else steps == gene)
        return np.concatenate(parts).astype(np.float32)

    def decode(self, vector: np.ndarray) -> Genes | None:
        """The inverse of :meth:`encode`; ``None`` for a vector of no architecture."""
        if vector.shape != (sum(map(len, self.texts)),):
            return None
        genes, first = [], 0
        for name, texts in zip(self.names, self.texts, strict=True):
            part = vector[first : first + len(texts)]
            first += len(texts)
            ones = np.flatnonzero(part == 1)
            genes.append(INACTIVE if ones.size == 0 else int(ones[-1] if self.domains[name].ordered else ones[0]))
        try:
            found = self.check(tuple(genes))
        except ArchError:
            return None
        return found if np.array_equal(self.encode(found), vector) else None


def _checked_texts(name: str, domain: Domain) -> list[str]:
    """Texts of a choice's values.

    Raises:
        OptionError: The name can't stand in a text, or values are missing, alike, or not plain.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionError(f"{name!r} was given as the name of a choice.", "Use letters, digits, '_', '.' and '-'.")
    texts = [value_text(value) for value in domain.values]
    for value, text in zip(domain.values, texts, strict=True):
        plain = value is None or isinstance(value, (bool, int, float, str))
        if (
            not plain
            or not text
            or re.search(r"[\s=]", text)
            or (isinstance(value, float) and not math.isfinite(value))
        ):
            raise OptionError(
                f"The choice {name!r} has the value {value!r}.",
                "Values are whole or finite numbers, true or false, or words without spaces and '='; for anything else "
                "choose between names and look the thing up in the build function.",
            )
    if len(set(texts)) < len(texts) or not texts:
        raise OptionError(f"The choice {name!r} has the values {', '.join(texts) or 'none'}.", "Give each value once.")
    return texts


def _parts(error: UnknownNameError) -> tuple[str, str]:
    return error.message, error.hint
