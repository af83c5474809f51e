"""The network of NAS-Bench-101: one cell of up to seven vertices, repeated in three stacks (arXiv 1902.09635).

Parameter counts equal the published records to the last digit. Convolutions are followed by batch norm and ReLU, other
than in NAS-Bench-201, where the ReLU comes first.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


def conv_norm_relu(c_in: int, c_out: int, *, kernel: int) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; the map keeps its size."""
    convolution = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
    # The benchmark keeps 0.997 of the running statistics, which torch calls a momentum of 0.003.
    norm = nn.BatchNorm2d(c_out, eps=1e-5, momentum=0.003)
    return nn.Sequential(OrderedDict(conv=convolution, norm=norm, relu=nn.ReLU()))


# Each keeps the number of channels. The padding of a pooling never wins, so it equals the benchmark's "same".
OPERATIONS: Mapping[str, Callable[[int], nn.Module]] = {
    "conv3x3-bn-relu": lambda width: conv_norm_relu(width, width, kernel=3),
    "conv1x1-bn-relu": lambda width: conv_norm_relu(width, width, kernel=1),
    "maxpool3x3": lambda width: nn.MaxPool2d(3, stride=1, padding=1),
}


class Cell(nn.Module):
    """A graph of operations: vertex 0 is the input, the last one the output.

    An operation works on the sum of its vertex's predecessors, each cut to the first channels that fit. Whatever comes
    from the input is projected by a 1x1 convolution, one for every edge, also where widths agree. The output
    concatenates its predecessors; a projection of the input is added where an edge says so.

    Args:
        operations: Names for the vertices between input and output.
        edges: ``(source, vertex)`` pairs with ``source < vertex``.
        widths: Channels of the vertices between input and output, each with those of the output in sum over the
            output's predecessors.
        c_in: Channels of the input.
        c_out: Channels of the output.
    """

    def __init__(
        self,
        operations: Sequence[str],
        edges: Sequence[tuple[int, int]],
        *,
        widths: Sequence[int],
        c_in: int,
        c_out: int,
    ) -> None:
        super().__init__()
        output = len(operations) + 1
        self._width = dict(enumerate(widths, start=1))
        self._sources = {
            vertex: [source for source in range(1, vertex) if (source, vertex) in edges]
            for vertex in range(1, output + 1)
        }
        targets = {output: c_out, **self._width}
        self.projections = nn.ModuleDict(
            {
                str(vertex): conv_norm_relu(c_in, targets[vertex], kernel=1)
                for vertex in range(1, output + 1)
                if (0, vertex) in edges
            }
        )
        self.operations = nn.ModuleDict(
            {str(vertex): OPERATIONS[name](self._width[vertex]) for vertex, name in enumerate(operations, start=1)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, H, W)."""
        projected = {int(vertex): projection(x) for vertex, projection in self.projections.items()}
        values: dict[int, Tensor] = {}
        for vertex, width in self._width.items():
            terms = [values[source][:, :width] for source in self._sources[vertex]]
            terms += [projected[vertex]] if vertex in projected else []
            values[vertex] = self.operations[str(vertex)](_sum(terms))
        output = len(self._width) + 1
        parts = [values[source] for source in self._sources[output]]
        results = [torch.cat(parts, dim=1)] if parts else []
        results += [projected[output]] if output in projected else []
        return _sum(results)


class NasBench101Network(nn.Module):
    """Stem, stacks of equal cells with twice the width and half the size from stack to stack, head.

    Args:
        operations: Names for the vertices between input and output, as :class:`Cell` takes them.
        edges: The edges of the cell.
        cells: ``(c_in, c_out, widths)`` of every cell, a list for each stack.
        image_channels: Channels of the input.
        classes: Width of the classifier.
    """

    def __init__(
        self,
        operations: Sequence[str],
        edges: Sequence[tuple[int, int]],
        *,
        cells: Sequence[Sequence[tuple[int, int, Sequence[int]]]],
        image_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.stem = conv_norm_relu(image_channels, cells[0][0][0], kernel=3)
        self.stacks = nn.Sequential()
        for number, stack in enumerate(cells):
            parts: OrderedDict[str, nn.Module] = OrderedDict()
            if number:
                # The published sizes are even. Rounding up is what "same" padding does with an odd one.
                parts["pool"] = nn.MaxPool2d(2, stride=2, ceil_mode=True)
            for index, (c_in, c_out, widths) in enumerate(stack):
                parts[f"cell_{index}"] = Cell(operations, edges, widths=widths, c_in=c_in, c_out=c_out)
            self.stacks.append(nn.Sequential(parts))
        self.classifier = nn.Linear(cells[-1][-1][1], classes)

    def feature_blocks(self) -> list[nn.Module]:
        """Stem and cells in the order in which they run, for proxies that look at blocks."""
        return [self.stem, *(block for stack in self.stacks for block in stack.children() if isinstance(block, Cell))]

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) to logits (B, classes)."""
        logits: Tensor = self.classifier(self.stacks(self.stem(images)).mean(dim=(2, 3)))
        return logits


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
