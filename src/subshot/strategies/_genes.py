"""Architectures of any space as named choices, for samplers that know parameters only.

A gene is a parameter, and its values are those that occur. In many spaces not every combination is an architecture, or
inside the limits; then as much of a wish is granted as can be, gene by gene.
"""

from typing import Any

from subshot._seeds import stable_rng
from subshot._types import Arch
from subshot.errors import ArchError
from subshot.strategies._strategy import Moves

# Architectures drawn to see which values genes have, and in which shapes.
_DRAWN = 1_000

# Rounds through the genes when a wish is granted piece by piece.
_ROUNDS = 3


class GeneCode:
    """Turns genes into a flat dictionary of texts and numbers, and back.

    The values that genes may have are those of many random architectures, always the same ones.

    Args:
        space: Whose architectures; its ``canonical`` or ``parse`` and ``format``, if there, tell what is one.
    """

    def __init__(self, space: Moves) -> None:
        self._space = space
        rng = stable_rng("gene code")
        archs = [space.sample(rng) for _ in range(_DRAWN)]
        self._name = archs[0].space
        self.shapes = tuple(sorted({_shape(arch.genes) for arch in archs}))
        seen: dict[str, set[int]] = {}
        for arch in archs:
            for key, value in self.choices(arch).items():
                if key != "shape":
                    seen.setdefault(key, set()).add(value)
        self.values = {key: tuple(sorted(values)) for key, values in seen.items()}

    def names(self, shape: str) -> list[str]:
        """The genes of a shape."""
        return [f"gene{position}" for position in range(shape.count("_"))]

    def choices(self, arch: Arch) -> dict[str, Any]:
        """Shape, where there are several, and value of each gene."""
        shape = _shape(arch.genes)
        flat = dict(zip(self.names(shape), _flat(arch.genes), strict=True))
        return {"shape": shape, **flat} if len(self.shapes) > 1 else flat

    def grant(self, wish: dict[str, Any], base: Arch) -> Arch:
        """The architecture that a wish describes, or else one between it and ``base``.

        Args:
            wish: As :meth:`choices` gives it.
            base: Where to start if the wish is no architecture of the space.
        """
        shape = wish.get("shape", self.shapes[0])
        genes = [wish[name] for name in self.names(shape)]
        arch = self._canonical(shape, genes)
        if arch is not None or _shape(base.genes) != shape:
            return arch or base
        known = _flat(base.genes)
        for _ in range(_ROUNDS):
            before = list(known)
            for position, wanted in enumerate(genes):
                changed = [*known[:position], wanted, *known[position + 1 :]]
                if known[position] != wanted and self._canonical(shape, changed) is not None:
                    known = changed
            if known == before:
                break
        return self._canonical(shape, known) or base

    def _canonical(self, shape: str, genes: list[int]) -> Arch | None:
        return canonical(self._space, Arch(self._name, _fill(shape, genes)))


def canonical(space: Any, arch: Arch) -> Arch | None:
    """The architecture in the space's own order of genes; ``None`` if it is none, or outside the limits."""
    if hasattr(space, "canonical"):
        found: Arch | None = space.canonical(arch)
        return found
    if not hasattr(space, "parse"):
        return arch
    try:
        found = space.parse(space.format(arch))
    except ArchError:
        return None
    return found


def _shape(genes: Any) -> str:
    """The brackets of nested genes: ``((1, 2), 3)`` is ``((__)_)``."""
    return f"({''.join(map(_shape, genes))})" if isinstance(genes, tuple) else "_"


def _flat(genes: Any) -> list[int]:
    return [value for part in genes for value in _flat(part)] if isinstance(genes, tuple) else [genes]


def _fill(shape: str, genes: list[int]) -> tuple[Any, ...]:
    values = iter(genes)
    stack: list[list[Any]] = [[]]
    for char in shape:
        if char == "(":
            stack.append([])
        elif char == ")":
            inner = tuple(stack.pop())
            stack[-1].append(inner)
        else:
            stack[-1].append(next(values))
    filled: tuple[Any, ...] = stack[0][0]
    return filled
