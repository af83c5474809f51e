"""The network of NAS-Bench-201: one cell of four nodes, repeated in three stages (arXiv 2001.00326).

Also the topology space of NATS-Bench (arXiv 2009.00437). Parameter counts equal the published tables to the last digit.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


def relu_conv_norm(c_in: int, c_out: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution without bias, batch norm, in this order; the map keeps its size at stride 1."""
    convolution = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=convolution, norm=nn.BatchNorm2d(c_out)))


# `none` is missing on purpose: a cell has no module for it.
OPERATIONS: Mapping[str, Callable[[int], nn.Module]] = {
    "skip_connect": lambda channels: nn.Identity(),
    "nor_conv_1x1": lambda channels: relu_conv_norm(channels, channels, kernel=1),
    "nor_conv_3x3": lambda channels: relu_conv_norm(channels, channels, kernel=3),
    "avg_pool_3x3": lambda channels: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
}


class Cell(nn.Module):
    """Four nodes; each is the sum of an operation on every earlier node, node 0 is the input, node 3 the output.

    In the paper ``none`` multiplies by 0. Here such an edge is left out: the same sum at no cost, as long as the source
    is finite (0 times infinity or NaN would be NaN). A node without incoming edges is a constant zero, so a weight
    whose only way to the output led over ``none`` has the gradient ``None``, not a tensor of zeros. Every other
    operation runs, even if it can't reach the output.

    Args:
        operations: Names for the edges 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2.
        channels: Width, the same for every node.
    """

    def __init__(self, operations: Sequence[str], *, channels: int) -> None:
        super().__init__()
        names = iter(operations)
        self.edges = nn.ModuleDict()
        self._incoming: list[list[tuple[int, str]]] = []
        for node in (1, 2, 3):
            incoming = []
            for source in range(node):
                name = next(names)
                if name != "none":
                    key = f"{source}_to_{node}"
                    self.edges[key] = OPERATIONS[name](channels)
                    incoming.append((source, key))
            self._incoming.append(incoming)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        nodes = [x]
        for incoming in self._incoming:
            total: Tensor | None = None
            for source, key in incoming:
                term: Tensor = self.edges[key](nodes[source])
                total = term if total is None else total + term
            nodes.append(torch.zeros_like(x) if total is None else total)
        return nodes[-1]


class Reduction(nn.Module):
    """The residual block between stages: half the size, another width, no ReLU after the sum."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            relu_conv_norm(c_in, c_out, kernel=3, stride=2), relu_conv_norm(c_out, c_out, kernel=3)
        )
        # The published sizes are even. Rounding up is what the strided convolution does with an odd one.
        pool = nn.AvgPool2d(2, stride=2, ceil_mode=True)
        self.shortcut = nn.Sequential(OrderedDict(pool=pool, conv=nn.Conv2d(c_in, c_out, 1, bias=False)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, ceil(H / 2), ceil(W / 2))."""
        total: Tensor = self.shortcut(x) + self.branch(x)
        return total


def make_stem(image_channels: int, channels: int) -> nn.Sequential:
    """One convolution and batch norm."""
    convolution = nn.Conv2d(image_channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(OrderedDict(conv=convolution, norm=nn.BatchNorm2d(channels)))


def make_head(channels: int, classes: int) -> nn.Sequential:
    """Batch norm, ReLU, global average pooling, linear classifier."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(channels),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(channels, classes),
        )
    )


class NasBench201Network(nn.Module):
    """Stem, three stages of equal cells at widths C, 2C and 4C with reductions between them, head.

    Args:
        operations: Names for the six edges of the cell, as :class:`Cell` takes them.
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
        self.stages = nn.Sequential()
        for width in (channels, 2 * channels, 4 * channels):
            stage: OrderedDict[str, nn.Module] = OrderedDict()
            if width > channels:
                stage["reduction"] = Reduction(width // 2, width)
            for number in range(cells):
                stage[f"cell_{number}"] = Cell(operations, channels=width)
            self.stages.append(nn.Sequential(stage))
        self.head = make_head(4 * channels, classes)

    def feature_blocks(self) -> list[nn.Module]:
        """Stem, cells and reductions in the order in which they run, for proxies that look at blocks."""
        return [self.stem, *(block for stage in self.stages.children() for block in stage.children())]

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) to logits (B, classes)."""
        logits: Tensor = self.head(self.stages(self.stem(images)))
        return logits
