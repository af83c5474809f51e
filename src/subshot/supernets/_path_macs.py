"""What each operation of a supernet costs, counted once, so that the cost of a path is a sum."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from subshot._types import TaskSpec
from subshot.networks._macs import MacCounter
from subshot.networks._slots import Path, SlotNetwork


@dataclass(frozen=True)
class PathMacs:
    """Multiply-accumulate operations for one sample.

    Attributes:
        fixed: Of what every path executes.
        operations: For each slot by name, of each of its operations, over all places that share the slot.
    """

    fixed: float
    operations: dict[str, tuple[float, ...]]

    def of(self, path: Path) -> float:
        """A path's."""
        return self.fixed + sum(self.operations[name][number] for name, chosen in path.items() for number in chosen)


def count_path_macs(network: SlotNetwork, task: TaskSpec) -> PathMacs:
    """Count every operation in one pass over one sample that executes all of them.

    The sum is exact because an operation's output has the same shape whatever the other slots execute. Modes are put
    back and running statistics stay as they are.
    """
    counter = MacCounter()
    counts = {name: [0.0] * len(slot.names) for name, slot in network.slots.items()}
    starts: list[float] = []
    hooks = []

    def finish(row: list[float], number: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            row[number] += counter.macs - starts.pop()

        return hook

    for _, slot in network.named_slots():
        for number in range(len(slot.names)):
            operation = slot.operation(number)
            if operation is not None:
                hooks.append(operation.register_forward_pre_hook(lambda *_: starts.append(counter.macs)))
                hooks.append(operation.register_forward_hook(finish(counts[slot.name], number)))
    (spec,) = task.inputs
    first = next(network.parameters())
    sample = torch.zeros((1, *spec.shape), device=first.device, dtype=first.dtype)
    modes: list[tuple[nn.Module, bool]] = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.no_grad(), counter:
            network(sample, {name: tuple(range(len(slot.names))) for name, slot in network.slots.items()})
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    operations = {name: tuple(row) for name, row in counts.items()}
    return PathMacs(counter.macs - sum(map(sum, operations.values())), operations)
