"""Draws that shouldn't repeat."""

from collections.abc import Callable, Container

from subshot._types import Arch

# Draws per wanted architecture before taking what there is: small or narrow spaces run out of new ones.
_PATIENCE = 100


def distinct(draw: Callable[[], Arch], n: int, *, known: Container[Arch] = (), patience: int = _PATIENCE) -> list[Arch]:
    """Draw until there are ``n`` distinct architectures that aren't known, or ``patience * n`` draws were made."""
    found: dict[Arch, None] = {}
    for _ in range(patience * n):
        if len(found) == n:
            break
        arch = draw()
        if arch not in known:
            found.setdefault(arch)
    return list(found)
