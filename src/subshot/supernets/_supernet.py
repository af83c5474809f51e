"""A supernet: all architectures of a space in one network that share their weights."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from subshot._choice import Choice
from subshot._seeds import stable_seed
from subshot._types import Arch, TaskSpec
from subshot.errors import OptionError, UnknownNameError
from subshot.networks._slots import Gates, Mix, Path, SlotNetwork
from subshot.spaces._space import Space, get_space, resolve_variant, space_settings
from subshot.supernets._path_macs import PathMacs, count_path_macs


@runtime_checkable
class Supernettable(Protocol):
    """A space whose architectures fit into one network."""

    def supernet(self, task: TaskSpec | None = None, *, variant: str | None = None) -> SlotNetwork:
        """A network with slots such that, along its path, every architecture computes what ``build`` gives."""
        ...


@dataclass(frozen=True)
class Loaded:
    """What became of the weights that were offered.

    Attributes:
        taken: Names that fitted and were taken over.
        misfits: Names with another shape here.
        unknown: Names that there are none of here.
        untouched: Names here that nothing was offered for.
    """

    taken: tuple[str, ...]
    misfits: tuple[str, ...]
    unknown: tuple[str, ...]
    untouched: tuple[str, ...]


class Supernet(nn.Module):
    """All architectures of a space in one network.

    ``supernet(inputs, path)`` executes one of them, at the cost of that one alone; ``supernet(inputs, path, gates)``
    weighs the outputs of the operations of each slot. Only what was executed gets gradients, so an optimiser leaves all
    else alone. Batch norm keeps running statistics, as the stand-alone networks do, but in training they are those of
    all paths together and fit none: evaluate with the batch's, or recalibrate.

    Args:
        space: The space.
        network: Its network with slots.
        task: What the network is built for.
        variant: Which of the space's networks it corresponds to.

    Attributes:
        frozen: Slots whose operation is settled, and which it is.
    """

    def __init__(self, space: Space, network: SlotNetwork, *, task: TaskSpec, variant: str) -> None:
        super().__init__()
        self.space = space
        self.network = network
        self.task = task
        self.variant = variant
        self.frozen: dict[str, int] = {}
        self._macs: PathMacs | None = None

    def forward(self, inputs: Tensor, path: Path, gates: Gates | None = None) -> Tensor:
        """Execute a path.

        Args:
            inputs: (S, ...) as the task says.
            path: For each slot the numbers of the operations to execute; a slot that isn't named is zero.
            gates: For each slot a factor for each of its operations, (operations,), also for those not executed; a slot
                that isn't named isn't weighed. Without gates the outputs of several operations are summed.

        Raises:
            OptionError: The path names what there isn't, or leaves out a slot that must execute something.
        """
        self.network.check(path)
        outputs: Tensor = self.network(inputs, path, gates)
        return outputs

    @property
    def options(self) -> dict[str, tuple[int, ...]]:
        """For each slot, the numbers of the operations that may still be drawn."""
        return {
            name: (self.frozen[name],) if name in self.frozen else slot.drawn
            for name, slot in self.network.slots.items()
        }

    def path(self, arch: Arch) -> dict[str, tuple[int, ...]]:
        """The path of an architecture.

        Raises:
            ArchError: Not one of this space.
        """
        self.space.format(arch)  # checks it
        return self.network.path(arch.genes)

    def sample_path(self, rng: np.random.Generator) -> dict[str, tuple[int, ...]]:
        """The path of an architecture that the space draws; in frozen slots the operation that is settled."""
        path = self.path(self.space.sample(rng))
        return {name: (self.frozen[name],) if name in self.frozen else chosen for name, chosen in path.items()}

    def full_path(self) -> dict[str, tuple[int, ...]]:
        """Every operation of every slot that may be drawn."""
        return self.options

    def gates(self, flat: Tensor) -> dict[str, Tensor]:
        """Cut one vector into gates: as long as all slots have operations, in the order of the slots.

        Gradients of the gates then gather in ``flat.grad``, zero where nothing was executed.
        """
        sizes = {name: len(slot.names) for name, slot in self.network.slots.items()}
        return dict(zip(sizes, torch.split(flat, list(sizes.values())), strict=True))

    def set_mix(self, mix: Mix) -> None:
        """Let every slot make one output of several in another way; see :class:`subshot.networks._slots.Slot`."""
        for _, slot in self.network.named_slots():
            slot.mix = mix

    def freeze(self, slot: str, operation: int) -> None:
        """Settle the operation of a slot: samplers and the full path have no other from now on.

        Paths that are given stay free to name others. The weights of the others stay where they are.

        Raises:
            OptionError: There is no such slot or operation.
        """
        self.network.check({**self._any_path(), slot: (operation,)})
        self.frozen[slot] = operation

    def macs(self, path: Path) -> float:
        """Multiply-accumulate operations of a forward pass over one sample along a path, without running it.

        They are counted once, at the first call; do that before a mix is replaced by one that doesn't run operations.
        """
        if self._macs is None:
            self._macs = count_path_macs(self.network, self.task)
        return self._macs.of(path)

    def executes(self, slot: str, operation: int) -> bool:
        """Whether an operation does anything; ``none`` doesn't."""
        return self.network.slots[slot].operation(operation) is not None

    def operation_macs(self, slot: str, operation: int) -> float:
        """What one operation of a slot adds to :meth:`macs`."""
        return self.macs({slot: (operation,)}) - self.macs({})

    def extract(self, arch: Arch, *, with_weights: bool = True) -> nn.Module:
        """The stand-alone network of an architecture, exactly what ``space.build`` gives.

        Args:
            arch: An architecture of the space.
            with_weights: Copy the supernet's weights and statistics, so that it computes what the path does, bit for
                bit; else it is initialised anew from torch's generator.

        Raises:
            ArchError: Not one of this space.
        """
        if not with_weights:
            return self.space.build(arch, self.task, variant=self.variant)
        self.space.format(arch)
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are thrown away
            alone = self.space.build(arch, self.task, variant=self.variant)
        first = next(self.network.parameters())
        alone.to(device=first.device, dtype=first.dtype)
        alone.load_state_dict(dict(self._weights_of(arch)))
        return alone.train(self.training)

    def load_compatible(self, weights: "Supernet | Mapping[str, Tensor]") -> Loaded:
        """Take over all weights and statistics whose name and shape there is here.

        Args:
            weights: Another supernet, for example of a space that this one's is a part of, or tensors by the names of
                ``supernet.network.state_dict()``.
        """
        theirs = weights.network.state_dict() if isinstance(weights, Supernet) else weights
        ours = self.network.state_dict()
        fitting = {name: value for name, value in theirs.items() if name in ours and value.shape == ours[name].shape}
        self.network.load_state_dict({**ours, **fitting})
        return Loaded(
            taken=tuple(fitting),
            misfits=tuple(name for name in theirs if name in ours and name not in fitting),
            unknown=tuple(name for name in theirs if name not in ours),
            untouched=tuple(name for name in ours if name not in fitting),
        )

    def _weights_of(self, arch: Arch) -> Iterator[tuple[str, Tensor]]:
        """Tensors of a path by the names of the stand-alone network."""
        in_slots = tuple(f"{name}." for name, _ in self.network.named_slots())
        places = self.network.places(arch.genes)
        state = self.network.state_dict()
        yield from ((name, value) for name, value in state.items() if not name.startswith(in_slots))
        for there, here in places.items():
            module = self.network.get_submodule(here)
            for name in module.state_dict():
                yield f"{there}.{name}", state[f"{here}.{name}"]

    def _any_path(self) -> dict[str, tuple[int, ...]]:
        return {name: slot.drawn[:1] for name, slot in self.network.slots.items()}


def make_supernet(
    space: str | Choice | Space, task: TaskSpec | None = None, *, variant: str | None = None, seed: int = 0
) -> Supernet:
    """Build the supernet of a space, with torch's default initialisation.

    Args:
        space: A space that has one, or its name.
        task: Input shape and number of outputs; the space's own if not given.
        variant: Which of the space's networks; the one that is trained if not given.
        seed: Seed of the weights.

    Raises:
        OptionError: The space has no supernet.
        UnknownNameError: There is no such space or variant.
    """
    space = get_space(space)
    if not isinstance(space, Supernettable):
        raise OptionError(f"The space {space.name} has no supernet.", "Use one that has, for example nasbench201.")
    variant, task = resolve_variant(space, variant), task or space.task
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stable_seed(seed, "supernet"))
        network = space.supernet(task, variant=variant)
    return Supernet(space, network, task=task, variant=variant)


def describe(supernet: Supernet) -> dict[str, Any]:
    """What a supernet is, as JSON values, without its weights."""
    return {
        "space": str(Choice(supernet.space.name, space_settings(supernet.space))),
        "variant": supernet.variant,
        "task": dataclasses.asdict(supernet.task),
        "frozen": dict(supernet.frozen),
    }


def slot_number(supernet: Supernet, slot: str, operation: str) -> int:
    """The number of an operation of a slot by its name.

    Raises:
        UnknownNameError: There is no such slot or operation.
    """
    slots = supernet.network.slots
    if slot not in slots:
        raise UnknownNameError.of("slot", slot, slots)
    names = slots[slot].names
    if operation not in names:
        raise UnknownNameError.of(f"operation of slot {slot}", operation, names)
    return names.index(operation)
