"""The networks of TransNAS-Bench-101: two kinds of cells on one backbone, and heads for seven tasks.

Duan, Chen, Xu, Chen, Liang, Zhang, Li: TransNAS-Bench-101 (arXiv 2105.11871). Parameter counts equal the published
tables to the last digit, for the four tasks that have them.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from subshot.networks.darts import FactorizedReduce
from subshot.networks.nasbench201 import relu_conv_norm


def _skip(c_in: int, c_out: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 and c_in == c_out else FactorizedReduce(c_in, c_out)


# Name to builder of (c_in, c_out, stride). `none` is missing on purpose: a cell has no module for it.
OPERATIONS: Mapping[str, Callable[[int, int, int], nn.Module]] = {
    "skip_connect": _skip,
    "nor_conv_1x1": lambda c_in, c_out, stride: relu_conv_norm(c_in, c_out, kernel=1, stride=stride),
    "nor_conv_3x3": lambda c_in, c_out, stride: relu_conv_norm(c_in, c_out, kernel=3, stride=stride),
}


class MicroCell(nn.Module):
    """Four nodes; each sums an operation on every earlier node, and edges from node 0 change width and resolution.

    An edge that is ``none`` is left out, and a node that nothing enters is zero.

    Args:
        operations: Names for the edges 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2.
        c_in: Channels of the input.
        c_out: Channels of the other nodes.
        stride: 1, or 2, which then goes with a change of width.
    """

    def __init__(self, operations: Sequence[str], *, c_in: int, c_out: int, stride: int) -> None:
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
                    shape = (c_out, c_out, 1) if source else (c_in, c_out, stride)
                    self.edges[key] = OPERATIONS[name](*shape)
                    incoming.append((source, key))
            self._incoming.append(incoming)
        self._c_out = c_out
        self._stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, ceil(H / stride), ceil(W / stride))."""
        nodes = [x]
        for incoming in self._incoming:
            terms = [self.edges[key](nodes[source]) for source, key in incoming]
            nodes.append(_sum(terms) if terms else self._zeros(x))
        return nodes[-1]

    def _zeros(self, x: Tensor) -> Tensor:
        size = [-(-pixels // self._stride) for pixels in x.shape[2:]]
        return x.new_zeros((len(x), self._c_out, *size))


class BasicBlock(nn.Module):
    """Two convolutions with the ReLU before each, and a shortcut that is projected where the shape changes.

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Of the first convolution.
    """

    def __init__(self, c_in: int, c_out: int, *, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            relu_conv_norm(c_in, c_out, kernel=3, stride=stride), relu_conv_norm(c_out, c_out, kernel=3)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            projection = nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=projection, norm=nn.BatchNorm2d(c_out)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, ceil(H / stride), ceil(W / stride))."""
        total: Tensor = self.branch(x) + self.shortcut(x)
        return total


class Classifier(nn.Module):
    """Global average pooling and a linear layer; also the head of the regression of room layouts.

    Args:
        channels: Channels of the maps.
        outputs: Width of the output.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, outputs)."""
        outputs: Tensor = self.linear(maps.mean(dim=(2, 3)))
        return outputs


def decoder(layers: Sequence[tuple[int, int, bool]], *, tanh: bool) -> nn.Sequential:
    """Convolutions and transposed convolutions that bring maps back to the size of the image.

    Args:
        layers: ``(c_in, c_out, doubles)`` of each layer. All but the last have batch norm and a leaky ReLU.
        tanh: Whether the last layer ends in a hyperbolic tangent.
    """
    head = nn.Sequential()
    for number, (c_in, c_out, doubles) in enumerate(layers):
        conv = (
            nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=1, output_padding=1)
            if doubles
            else nn.Conv2d(c_in, c_out, 3, padding=1)
        )
        parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        if number < len(layers) - 1:
            parts.update(norm=nn.BatchNorm2d(c_out), relu=nn.LeakyReLU(0.2))
        elif tanh:
            parts["tanh"] = nn.Tanh()
        head.append(nn.Sequential(parts))
    return head


class TransNasNetwork(nn.Module):
    """Stem that quarters the map, cells, head.

    Args:
        cells: The cells of the backbone, in order.
        channels: Width after the stem.
        image_channels: Channels of the input.
        head: What maps the backbone's output to the task's.
        tiled: Whether a sample is several images, whose maps the head gets stacked as channels.
    """

    def __init__(
        self, cells: Sequence[nn.Module], *, channels: int, image_channels: int, head: nn.Module, tiled: bool
    ) -> None:
        super().__init__()
        half = channels // 2
        first = nn.Conv2d(image_channels, half, 3, stride=2, padding=1, bias=False)
        self.stem = nn.Sequential(
            OrderedDict(
                conv=first, norm=nn.BatchNorm2d(half), second=relu_conv_norm(half, channels, kernel=3, stride=2)
            )
        )
        self.cells = nn.ModuleList(cells)
        self.head = head
        self._tiled = tiled

    def feature_blocks(self) -> list[nn.Module]:
        """Stem and cells in the order in which they run, for proxies that look at blocks."""
        return [self.stem, *self.cells]

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W), or (B, tiles, channels, H, W), to (B, outputs) or a map (B, outputs, H', W').

        A decoder's map is as large as the image, or larger where the image doesn't divide by the backbone's stride.
        """
        x = self.stem(images.flatten(0, 1) if self._tiled else images)
        for cell in self.cells:
            x = cell(x)
        if self._tiled:
            x = x.reshape(len(images), -1, *x.shape[2:])
        outputs: Tensor = self.head(x)
        return outputs


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
