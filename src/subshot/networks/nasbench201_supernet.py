"""All NAS-Bench-201 cells in one network: a slot on each of the six edges, with weights of its own in every cell.

Everything is made by the constructors of the stand-alone network, so batch norm has weights and running statistics.
Supernets in the literature mostly leave both out; here a path is exactly the network that is trained in the end. The
running statistics are those of all paths together and fit none: use batch statistics, or recalibrate.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from subshot.networks._slots import Gates, Path, Slot, SlotNetwork
from subshot.networks.nasbench201 import OPERATIONS, Reduction, make_head, make_stem

# (node, source), in the order of the genes.
_EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))


class SlotCell(nn.Module):
    """The cell of :class:`subshot.networks.nasbench201.Cell` with a slot on each edge.

    Args:
        operations: Names of the operations, in the order of their numbers; ``none`` has no module.
        channels: Width, the same for every node.
    """

    def __init__(self, operations: Sequence[str], *, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict()
        for node, source in _EDGES:
            name = f"{source}_to_{node}"
            modules = {key: OPERATIONS[key](channels) if key in OPERATIONS else None for key in operations}
            self.edges[name] = Slot(name, modules)

    def forward(self, x: Tensor, path: Path, gates: Gates | None) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        nodes = [x]
        for node in (1, 2, 3):
            total: Tensor | None = None
            for source in range(node):
                term: Tensor | None = self.edges[f"{source}_to_{node}"](nodes[source], path, gates)
                if term is not None:
                    total = term if total is None else total + term
            nodes.append(torch.zeros_like(x) if total is None else total)
        return nodes[-1]


class NasBench201Supernet(SlotNetwork):
    """The network of :class:`subshot.networks.nasbench201.NasBench201Network` with slots on the edges of its cells.

    Slots are called ``0_to_1``, ``0_to_2``, ``1_to_2``, ``0_to_3``, ``1_to_3``, ``2_to_3``; all cells share a path.

    Args:
        operations: Names of the operations, in the order of the space's codes.
        channels: Width C of the first stage.
        cells: Cells per stage.
        image_channels: Channels of the input.
        classes: Width of the classifier.
    """

    def __init__(
        self, operations: Sequence[str], *, channels: int, cells: int, image_channels: int, classes: int
    ) -> None:
        super().__init__()
        self.stem = make_stem(image_channels, channels)
        self.stages = nn.ModuleList()
        for width in (channels, 2 * channels, 4 * channels):
            stage = nn.ModuleDict()
            if width > channels:
                stage["reduction"] = Reduction(width // 2, width)
            for number in range(cells):
                stage[f"cell_{number}"] = SlotCell(operations, channels=width)
            self.stages.append(stage)
        self.head = make_head(4 * channels, classes)

    def path(self, genes: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
        """One operation for each edge."""
        return {f"{source}_to_{node}": (code,) for (node, source), code in zip(_EDGES, genes, strict=True)}

    def forward(self, inputs: Tensor, path: Path, gates: Gates | None = None) -> Tensor:
        """Map images (B, channels, H, W) to logits (B, classes)."""
        x = self.stem(inputs)
        for stage in self.stages:
            for block in stage.children():
                x = block(x, path, gates) if isinstance(block, SlotCell) else block(x)
        logits: Tensor = self.head(x)
        return logits
