"""Slots: places of a network that hold several operations, of which a pass executes those that it is told to.

A supernet's network is made of them. What a pass executes is its *path*, plain numbers for each slot, which don't
depend on how the outputs are weighed: one operation for a single path, two for two-path estimators, all for DARTS. The
factors are *gates*, one tensor for each slot; after a backward pass ``gates[slot].grad`` is all that a gradient method
needs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from subshot.errors import OptionError

# For each slot by name, the numbers of the operations to execute. A slot that isn't named executes nothing.
Path = Mapping[str, tuple[int, ...]]

# For each slot by name, one factor for each of its operations, (operations,). A slot that isn't named isn't weighed.
Gates = Mapping[str, Tensor]

# What a slot makes of its input: (slot, input, operations to execute, gates or None) to the output, None for zero.
Mix = Callable[["Slot", Tensor, tuple[int, ...], Tensor | None], Tensor | None]


class Slot(nn.Module):
    """One place with several operations.

    Args:
        name: What paths call it. Slots of one name have the same operations, and one path entry is for all of them: so
            are the cells of a cell space.
        operations: By name, in the order of their numbers in a path; ``None`` is an operation that does nothing and
            whose output is zero. The names are those of submodules, so they can't be those of a module's methods.
        drawn: Numbers of those that samplers may draw and that the full path executes; all if not given.
        required: Whether a path must execute at least one of them.

    Attributes:
        mix: How the outputs become one, :func:`sum_of_outputs` at first. Any function of that form may be put here; a
            module's own parameters become part of the network.
    """

    def __init__(
        self,
        name: str,
        operations: Mapping[str, nn.Module | None],
        *,
        drawn: Sequence[int] | None = None,
        required: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.names = tuple(operations)
        self.drawn = tuple(range(len(operations)) if drawn is None else drawn)
        self.required = required
        self.operations = nn.ModuleDict({key: one for key, one in operations.items() if one is not None})
        self.mix: Mix = sum_of_outputs

    def operation(self, number: int) -> nn.Module | None:
        """The operation of that number; ``None`` if it does nothing."""
        name = self.names[number]
        return self.operations[name] if name in self.operations else None  # noqa: SIM401 - no dict, has no get

    def forward(self, x: Tensor, path: Path, gates: Gates | None = None) -> Tensor | None:
        """The output of what ``path`` says for this slot; ``None`` for zero."""
        return self.mix(self, x, path.get(self.name, ()), None if gates is None else gates.get(self.name))


def sum_of_outputs(slot: Slot, x: Tensor, chosen: tuple[int, ...], gates: Tensor | None) -> Tensor | None:
    """The sum of the outputs, each times its gate if there are gates: the mix of DARTS."""
    total: Tensor | None = None
    for number in chosen:
        operation = slot.operation(number)
        if operation is None:
            continue
        output: Tensor = operation(x)
        if gates is not None:
            output = output * gates[number]
        total = output if total is None else total + output
    return total


class SlotNetwork(nn.Module, ABC):
    """A network with slots; a space's ``supernet(task, variant=...)`` returns a subclass.

    A subclass builds its modules, slots among them, in ``__init__`` and defines :meth:`forward` and :meth:`path`. Where
    the stand-alone network has an operation at the place where this one has the slot, and all else under the same
    names, :meth:`places` needs nothing.
    """

    @abstractmethod
    def forward(self, inputs: Tensor, path: Path, gates: Gates | None = None) -> Tensor:
        """Execute ``path``, and nothing that isn't in it."""

    @abstractmethod
    def path(self, genes: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
        """The path of an architecture, given by its genes."""

    def places(self, genes: tuple[Any, ...]) -> dict[str, str]:
        """Where the stand-alone network's operations are found here: its name of a module to the name here.

        Operations without weights may be left out; what lies outside slots has the same name in both.
        """
        path = self.path(genes)
        return {
            name: f"{name}.operations.{slot.names[number]}"
            for name, slot in self.named_slots()
            for number in path.get(slot.name, ())
            if slot.operation(number) is not None
        }

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """By the name that paths use, the first slot of that name."""
        found: dict[str, Slot] = {}
        for _, slot in self.named_slots():
            found.setdefault(slot.name, slot)
        return found

    def named_slots(self) -> Iterator[tuple[str, Slot]]:
        """Every slot with the name of its module."""
        for name, module in self.named_modules():
            if isinstance(module, Slot):
                yield name, module

    def executed(self, path: Path) -> Iterator[nn.Module]:
        """Every module that a pass over ``path`` may run, and none that it can't."""
        return _executed(self, path)

    def check(self, path: Path) -> None:
        """Check that a path can be executed.

        Raises:
            OptionError: It names another slot or operation, or leaves out a slot that must execute something.
        """
        slots = self.slots
        for name, chosen in path.items():
            if name not in slots:
                raise OptionError(f"There is no slot {name!r}.", f"The slots are {', '.join(slots)}.")
            count = len(slots[name].names)
            for number in chosen:
                if not 0 <= number < count:
                    raise OptionError(
                        f"Slot {name} was told to execute operation {number}.", f"Its numbers are 0 to {count - 1}."
                    )
        for name, slot in slots.items():
            if slot.required and not path.get(name):
                raise OptionError(
                    f"The path executes nothing in slot {name}.", f"Name one of {', '.join(slot.names)} by its number."
                )


def _executed(module: nn.Module, path: Path) -> Iterator[nn.Module]:
    yield module
    if not isinstance(module, Slot):
        for child in module.children():
            yield from _executed(child, path)
        return
    for number in dict.fromkeys(path.get(module.name, ())):
        operation = module.operation(number)
        if operation is not None:
            yield from operation.modules()
    if isinstance(module.mix, nn.Module):
        yield from module.mix.modules()
