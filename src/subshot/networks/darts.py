"""DARTS networks: the operations on the edges, the cell, and the stack of cells.

Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search (arXiv 1806.09055). The final networks, not the supernet:
batch norm has weights, pooling has none, and there is no auxiliary head.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Stem = Literal["none", "cifar", "imagenet"]

# A cell in the order of its text: (operation, source) pairs, two for each of the nodes 2, 3, 4, 5.
CellPairs = Sequence[tuple[str, int]]


def _conv_bn(c_in: int, c_out: int, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(c_out)]


def _separable(width: int, kernel: int, stride: int, *, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    depthwise = nn.Conv2d(
        width, width, kernel, stride=stride, padding=padding, dilation=dilation, groups=width, bias=False
    )
    return [nn.ReLU(), depthwise, *_conv_bn(width, width, 1, 1)]


def _sep_conv(width: int, kernel: int, stride: int) -> nn.Module:
    return nn.Sequential(*_separable(width, kernel, stride), *_separable(width, kernel, 1))


def _dil_conv(width: int, kernel: int, stride: int) -> nn.Module:
    return nn.Sequential(*_separable(width, kernel, stride, dilation=2))


class FactorizedReduce(nn.Module):
    """Halves the resolution: even pixels make one half of the channels, their diagonal neighbours the other.

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output; the second half is the larger one if odd.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, c_in, H, W)`` to ``(B, c_out, ceil(H / 2), ceil(W / 2))``."""
        x = self.relu(x)
        height, width = x.shape[-2:]
        # With an even size the shifted grid ends inside the map; padding would only add zeros that nobody reads.
        padded = F.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x
        halves = torch.cat([self.even(x), self.odd(padded[:, :, 1:, 1:])], dim=1)
        normalised: Tensor = self.norm(halves)
        return normalised


class Zero(nn.Module):
    """Zeros in the shape of the subsampled input.

    Args:
        stride: 1, or 2 for half the resolution.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to zeros ``(B, C, ceil(H / stride), ceil(W / stride))``."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


# Name to builder of (width, stride); the width is that of the cell, on both sides.
OPERATIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda width, stride: Zero(stride),
    "max_pool_3x3": lambda width, stride: nn.MaxPool2d(3, stride, padding=1),
    "avg_pool_3x3": lambda width, stride: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
    "skip_connect": lambda width, stride: nn.Identity() if stride == 1 else FactorizedReduce(width, width),
    "sep_conv_3x3": lambda width, stride: _sep_conv(width, 3, stride),
    "sep_conv_5x5": lambda width, stride: _sep_conv(width, 5, stride),
    "dil_conv_3x3": lambda width, stride: _dil_conv(width, 3, stride),
    "dil_conv_5x5": lambda width, stride: _dil_conv(width, 5, stride),
}


def relu_conv_bn(c_in: int, c_out: int) -> nn.Module:
    """ReLU, 1x1 convolution, batch norm: brings a cell's input to the cell's width."""
    return nn.Sequential(nn.ReLU(), *_conv_bn(c_in, c_out, 1, 1))


def kept_pairs(pairs: CellPairs) -> list[CellPairs]:
    """The edges of each node that a network has a module for.

    An edge that adds zeros is left out, unless the node has no other: something must give it a shape.
    """
    nodes = (pairs[first : first + 2] for first in range(0, len(pairs), 2))
    return [[pair for pair in both if pair[0] != "none"] or both[:1] for both in nodes]


class DartsCell(nn.Module):
    """One cell: two inputs, four nodes of two summed edges each, the nodes concatenated.

    Args:
        pairs: The cell's eight edges.
        width_before_last: Channels of the first input, the output of the cell before the last.
        width_last: Channels of the second input, the output of the last cell.
        width: Channels of every node.
        reduction: Whether the edges that leave the inputs have stride 2.
        after_reduction: Whether the first input has twice the resolution of the second.
    """

    def __init__(
        self,
        pairs: CellPairs,
        *,
        width_before_last: int,
        width_last: int,
        width: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        self.preprocess0 = (
            FactorizedReduce(width_before_last, width) if after_reduction else relu_conv_bn(width_before_last, width)
        )
        self.preprocess1 = relu_conv_bn(width_last, width)
        self.edges = nn.ModuleList()
        self._sources: list[list[int]] = []
        for kept in kept_pairs(pairs):
            self._sources.append([source for _, source in kept])
            self.edges.extend(OPERATIONS[op](width, 2 if reduction and source < 2 else 1) for op, source in kept)

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        """Map the outputs of the two cells before to ``(B, 4 * width, H', W')``."""
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        edges = iter(self.edges)
        for sources in self._sources:
            # The sources come first, so that zip stops without taking an edge of the next node.
            branches = [edge(states[source]) for source, edge in zip(sources, edges, strict=False)]
            states.append(branches[0] if len(branches) == 1 else branches[0] + branches[1])
        return torch.cat(states[2:], dim=1)


def make_stem(stem: Stem, image_channels: int, width: int) -> tuple[nn.Module, nn.Module]:
    """The two parts of a stem: what gives the first cell its first input, and what makes its second one of that.

    ``none`` hands the image itself to both inputs. ``cifar`` is one 3x3 convolution, seen by both inputs. ``imagenet``
    shrinks the image to a quarter for the first input and an eighth for the second.
    """
    if stem == "none":
        return nn.Identity(), nn.Identity()
    if stem == "cifar":
        return nn.Sequential(*_conv_bn(image_channels, width, 3, 1)), nn.Identity()
    half = width // 2
    first = nn.Sequential(*_conv_bn(image_channels, half, 3, 2), nn.ReLU(), *_conv_bn(half, width, 3, 2))
    return first, nn.Sequential(nn.ReLU(), *_conv_bn(width, width, 3, 2))


class DartsNetwork(nn.Module):
    """Stem, cells, global average pooling, linear classifier.

    Args:
        normal: Edges of the normal cell.
        reduce: Edges of the reduction cell.
        cells: ``(width, reduction)`` of every cell, in order.
        stem: Kind of stem; see :func:`make_stem`.
        stem_width: Channels after the stem; without meaning for ``none``.
        image_channels: Channels of the input.
        classes: Width of the output.
    """

    def __init__(
        self,
        normal: CellPairs,
        reduce: CellPairs,
        *,
        cells: Sequence[tuple[int, bool]],
        stem: Stem,
        stem_width: int,
        image_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.stem0, self.stem1 = make_stem(stem, image_channels, stem_width)
        width_last = image_channels if stem == "none" else stem_width
        width_before_last, after_reduction = width_last, stem == "imagenet"
        self.cells = nn.ModuleList()
        for width, reduction in cells:
            cell = DartsCell(
                reduce if reduction else normal,
                width_before_last=width_before_last,
                width_last=width_last,
                width=width,
                reduction=reduction,
                after_reduction=after_reduction,
            )
            self.cells.append(cell)
            width_before_last, width_last, after_reduction = width_last, 4 * width, reduction
        self.classifier = nn.Linear(width_last, classes)

    def feature_blocks(self) -> list[nn.Module]:
        """Parts of the stem and cells in the order in which they run, for proxies that look at blocks."""
        stem = [part for part in (self.stem0, self.stem1) if not isinstance(part, nn.Identity)]
        return [*stem, *self.cells]

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, image_channels, H, W)`` to logits ``(B, classes)``."""
        before_last = self.stem0(images)
        last = self.stem1(before_last)
        for cell in self.cells:
            before_last, last = last, cell(before_last, last)
        logits: Tensor = self.classifier(last.mean(dim=(2, 3)))
        return logits
