"""What all spaces of named choices share: the moves, texts and vectors of their architectures."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from subshot._choice import Value
from subshot._types import Arch
from subshot.errors import ArchError
from subshot.spaces import _choice_moves
from subshot.spaces._choices import ChoiceSet, Genes


class ChosenSpace(ABC):
    """What all spaces of named choices share; a subclass adds what is built."""

    @property
    @abstractmethod
    def choice_set(self) -> ChoiceSet:
        """The choices."""

    @property
    def size(self) -> int:
        """Number of architectures; beyond 100,000 constraints aren't counted."""
        return self.choice_set.size

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw each active choice uniformly, and anew until the constraints hold.

        Raises:
            InfeasibleError: The constraints never held; it names the one that rejects most.
        """
        return self._arch(_choice_moves.sample(self.choice_set, rng))

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Change one choice; near values of an ordered choice are more likely.

        Raises:
            ArchError: Not an architecture of this space.
            InfeasibleError: There is no other architecture.
        """
        return self._arch(_choice_moves.mutate(self.choice_set, self._genes(arch), rng))

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Take each choice from either parent.

        Raises:
            ArchError: Not an architecture of this space.
        """
        return self._arch(_choice_moves.crossover(self.choice_set, self._genes(first), self._genes(second), rng))

    def parse(self, text: str) -> Arch:
        """Read ``name=value name=value``, in any order.

        Raises:
            ArchError: The text is no architecture of this space.
        """
        return self._arch(self.choice_set.parse(text))

    def format(self, arch: Arch) -> str:
        """The choices that play a role, in their order: ``width=32 depth=3 act=relu``.

        Raises:
            ArchError: Not an architecture of this space.
        """
        return self.choice_set.format(self._genes(arch))

    def values(self, arch: Arch) -> dict[str, Value]:
        """The choices that play a role, with their values.

        Raises:
            ArchError: Not an architecture of this space.
        """
        return self.choice_set.values(self._genes(arch))

    def encode(self, arch: Arch) -> np.ndarray:
        """One number for each value of each choice: one-hot, ordered choices 1 up to their value, float32.

        Raises:
            ArchError: Not an architecture of this space.
        """
        return self.choice_set.encode(self._genes(arch))

    def decode(self, vector: np.ndarray) -> Arch | None:
        """The inverse of :meth:`encode`; ``None`` if the vector is no architecture."""
        genes = self.choice_set.decode(vector)
        return None if genes is None else self._arch(genes)

    def architectures(self) -> Iterator[Arch]:
        """Every architecture, the last choice varying fastest."""
        return map(self._arch, self.choice_set.all())

    def _arch(self, genes: Genes) -> Arch:
        return Arch(self.choice_set.owner, genes)

    def _genes(self, arch: Arch) -> Genes:
        if arch.space != self.choice_set.owner:
            raise ArchError(
                f"{arch!s:.200} is no architecture of {self.choice_set.owner}.", "Get one from its parse or sample."
            )
        return self.choice_set.check(arch.genes)
