"""All DARTS networks in one: in each cell a slot for every edge that may be, with weights of its own in every cell.

Everything is made by the constructors of the stand-alone network: unlike the published supernet's, batch norm has
weights and pooling has none. See ``nasbench201_supernet`` for what that means.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from subshot.networks._slots import Gates, Path, Slot, SlotNetwork
from subshot.networks.darts import OPERATIONS, FactorizedReduce, Stem, kept_pairs, make_stem, relu_conv_bn

# Nodes of a cell; 0 and 1 are its inputs.
_NODES = (2, 3, 4, 5)
_KINDS = ("normal", "reduce")


class SlotDartsCell(nn.Module):
    """The cell of :class:`subshot.networks.darts.DartsCell` with a slot on each of its fourteen possible edges.

    Args:
        kind: ``normal`` or ``reduce``; the edges of the latter that leave the inputs have stride 2.
        operations: Names of the operations, in the order of their numbers.
        drawn: Numbers of those that may be drawn.
        width_before_last: Channels of the first input.
        width_last: Channels of the second input.
        width: Channels of every node.
        after_reduction: Whether the first input has twice the resolution of the second.
    """

    def __init__(
        self,
        kind: str,
        *,
        operations: Sequence[str],
        drawn: Sequence[int],
        width_before_last: int,
        width_last: int,
        width: int,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        self.kind = kind
        self._stride = 2 if kind == "reduce" else 1
        self.preprocess0 = (
            FactorizedReduce(width_before_last, width) if after_reduction else relu_conv_bn(width_before_last, width)
        )
        self.preprocess1 = relu_conv_bn(width_last, width)
        self.edges = nn.ModuleDict()
        for node in _NODES:
            for source in range(node):
                stride = self._stride if source < 2 else 1
                modules = {key: OPERATIONS[key](width, stride) if key != "none" else None for key in operations}
                name = f"{source}_to_{node}"
                self.edges[name] = Slot(f"{kind}.{name}", modules, drawn=drawn)

    def forward(self, before_last: Tensor, last: Tensor, path: Path, gates: Gates | None) -> Tensor:
        """Map the outputs of the two cells before to ``(B, 4 * width, H', W')``."""
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        for node in _NODES:
            total: Tensor | None = None
            for source in range(node):
                term: Tensor | None = self.edges[f"{source}_to_{node}"](states[source], path, gates)
                if term is not None:
                    total = term if total is None else total + term
            if total is None:
                total = torch.zeros_like(states[1][:, :, :: self._stride, :: self._stride])
            states.append(total)
        return torch.cat(states[2:], dim=1)


class DartsSupernet(SlotNetwork):
    """The network of :class:`subshot.networks.darts.DartsNetwork` with slots on the edges of its cells.

    Slots are called ``normal.0_to_2``, ``reduce.0_to_2`` and so on; all cells of a kind share a path. An architecture's
    path has two edges into each node, the full path all of them. Both edges of a node may come from the same source:
    then one slot executes two operations.

    Args:
        operations: Names of the operations, in the order of the space's codes.
        drawn: Codes of those that may be drawn.
        cells: ``(width, reduction)`` of every cell, in order.
        stem: Kind of stem.
        stem_width: Channels after the stem; without meaning for ``none``.
        image_channels: Channels of the input.
        classes: Width of the output.
    """

    def __init__(
        self,
        operations: Sequence[str],
        *,
        drawn: Sequence[int],
        cells: Sequence[tuple[int, bool]],
        stem: Stem,
        stem_width: int,
        image_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        self._operations = tuple(operations)
        self.stem0, self.stem1 = make_stem(stem, image_channels, stem_width)
        width_last = image_channels if stem == "none" else stem_width
        width_before_last, after_reduction = width_last, stem == "imagenet"
        self.cells = nn.ModuleList()
        for width, reduction in cells:
            cell = SlotDartsCell(
                _KINDS[reduction],
                operations=operations,
                drawn=drawn,
                width_before_last=width_before_last,
                width_last=width_last,
                width=width,
                after_reduction=after_reduction,
            )
            self.cells.append(cell)
            width_before_last, width_last, after_reduction = width_last, 4 * width, reduction
        self.classifier = nn.Linear(width_last, classes)

    def path(self, genes: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
        """Two edges into each node; a network without cells of a kind has no slots for it."""
        path: dict[str, tuple[int, ...]] = {}
        for kind, cell in zip(_KINDS, genes, strict=True):
            for index, (code, source) in enumerate(cell):
                name = f"{kind}.{source}_to_{_NODES[index // 2]}"
                if name in self.slots:
                    path[name] = (*path.get(name, ()), code)
        return path

    def places(self, genes: tuple[Any, ...]) -> dict[str, str]:
        """The stand-alone network has its edges in a list, without those that are ``none``."""
        found: dict[str, str] = {}
        for position, cell in enumerate(self.cells):
            assert isinstance(cell, SlotDartsCell)
            pairs = [(self._operations[code], source) for code, source in genes[_KINDS.index(cell.kind)]]
            edges = [
                (name, source, node)
                for node, kept in zip(_NODES, kept_pairs(pairs), strict=True)
                for name, source in kept
            ]
            for index, (name, source, node) in enumerate(edges):
                if name != "none":
                    here = f"cells.{position}.edges"
                    found[f"{here}.{index}"] = f"{here}.{source}_to_{node}.operations.{name}"
        return found

    def forward(self, inputs: Tensor, path: Path, gates: Gates | None = None) -> Tensor:
        """Map images (B, image_channels, H, W) to logits (B, classes)."""
        before_last = self.stem0(inputs)
        last = self.stem1(before_last)
        for cell in self.cells:
            before_last, last = last, cell(before_last, last, path, gates)
        logits: Tensor = self.classifier(last.mean(dim=(2, 3)))
        return logits
