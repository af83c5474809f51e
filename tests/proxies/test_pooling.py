"""Which map is the last one: networks with gates, pooled branches and heads of every kind, against what they say."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot.proxies._pooling import LastMap
from subshot.proxies._score import score


class Gate(nn.Module):
    """Squeeze and excitation as in MobileNetV3: by convolutions of one pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.up(F.relu(self.down(self.pool(x)))))


class ByLinear(Gate):
    """The same by linear layers, in place."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3))
        gate = F.linear(F.relu(F.linear(pooled, self.down.weight[:, :, 0, 0])), self.up.weight[:, :, 0, 0])
        x *= torch.sigmoid(gate)[:, :, None, None]
        return x


class ByExpansion(Gate):
    """Channel attention by a convolution over channels, expanded, over maps that are flat."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(1, 2)
        gate = F.conv1d(pooled, pooled.new_ones(1, 1, 3), padding=1).transpose(1, 2)
        return (x.flatten(2) * gate).reshape(x.shape)


class Twofold(Gate):
    """Average and maximum through the same layers (CBAM)."""

    def forward(self, x: Tensor) -> Tensor:
        pools = (F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1))
        return x * sum(self.up(F.relu(self.down(one))) for one in pools).sigmoid()


class Context(Gate):
    """A pooled branch that is enlarged again and joined with the map."""

    def forward(self, x: Tensor) -> Tensor:
        return x + F.interpolate(self.up(self.down(self.pool(x))), size=x.shape[2:])


GATES = [Gate, ByLinear, ByExpansion, Twofold, Context]


class Residual(nn.Module):
    """A block of MobileNetV3: widened, separable, gated inside, added to what it was given."""

    def __init__(self, channels: int, gate: type[Gate]) -> None:
        super().__init__()
        wide = 2 * channels
        self.widen = nn.Sequential(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish())
        self.depth = nn.Sequential(
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.Hardswish()
        )
        self.gate = gate(wide)
        self.narrow = nn.Sequential(nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(self.gate(self.depth(self.widen(x))))


HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "pooled": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "pooled, then once more": lambda x: F.adaptive_avg_pool2d(torch.relu(F.adaptive_avg_pool2d(x, 1)), 1).flatten(1),
    "pooled twice": lambda x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1),
    "pooled and normalised, channels last": lambda x: (
        F.layer_norm(x.mean((2, 3), keepdim=True).permute(0, 2, 3, 1), (6,)).permute(0, 3, 1, 2).flatten(1)
    ),
    "pooled and convolved": lambda x: F.conv2d(x.mean((2, 3), keepdim=True), torch.ones(5, 6, 1, 1)).flatten(1),
}


class Network(nn.Module):
    """A stem, gated blocks, and a head by name; says what its last map was."""

    def __init__(self, gate: type[Gate], head: Callable[[Tensor], Tensor], *, stride: int = 2) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=stride, padding=1), nn.BatchNorm2d(6))
        self.blocks = nn.Sequential(Residual(6, gate), Residual(6, gate))
        self.head = head
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.blocks(self.stem(x))
        return self.head(self.last)


def found(network: nn.Module, batch: Tensor) -> Tensor | None:
    mode = LastMap(len(batch))
    with torch.no_grad(), mode:
        network(batch)
    return mode.found


@pytest.mark.parametrize("samples", [3, 5, 6])  # 5 and 6: as many as a convolution in a head puts out or takes
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("gate", GATES)
def test_the_pooling_of_the_head_counts(gate: type[Gate], head: str, samples: int) -> None:
    network = Network(gate, HEADS[head])
    last = found(network, torch.randn(samples, 3, 8, 8))
    assert last is not None
    assert torch.equal(last, network.last)


@pytest.mark.parametrize("gate", GATES)
def test_maps_of_one_pixel_are_maps(gate: type[Gate]) -> None:
    network = Network(gate, HEADS["pooled"], stride=8)
    last = found(network, torch.randn(4, 3, 8, 8))
    assert last is not None
    assert last.shape == (4, 6, 1, 1)
    assert torch.equal(last, network.last)


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_is_no_head(gate: type[Gate]) -> None:
    batch = torch.randn(4, 3, 8, 8)
    network = Network(gate, lambda x: x.flatten(1))
    assert found(network, batch) is None
    result = score(network, batch, proxies="zen")["zen"]
    assert result.status == "not_applicable"
    assert "no global pooling in front of a head" in result.reason


def test_a_residual_network() -> None:
    """In the form of torchvision's: a pooling in the stem that isn't global, strided shortcuts, a pooled head."""

    class Basic(nn.Module):
        def __init__(self, channels: int, out: int) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(channels, out, 3, 2, 1), nn.Conv2d(out, out, 3, 1, 1)
            self.norms = nn.ModuleList(nn.BatchNorm2d(out) for _ in range(3))
            self.short = nn.Conv2d(channels, out, 1, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norms[1](self.second(torch.relu_(self.norms[0](self.first(x)))))
            y += self.norms[2](self.short(x))
            return torch.relu_(y)

    stem = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    body = nn.Sequential(stem, Basic(4, 8), Basic(8, 12))
    network = nn.Sequential(body, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(12, 5))
    batch = torch.randn(4, 3, 32, 32)
    last = found(network, batch)
    assert last is not None
    with torch.no_grad():
        assert torch.equal(last, body(batch))
    assert score(network, batch, proxies="zen")["zen"].ok


def test_the_last_of_several_heads() -> None:
    class Exits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv2d(3, 3, 3, stride=2) for _ in range(2))
            self.heads = nn.ModuleList(nn.Linear(3, 2) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            total = torch.zeros(len(x), 2)
            for layer, head in zip(self.layers, self.heads, strict=True):
                x = layer(x)
                total = total + head(x.mean((2, 3)))
            return total

    network, batch = Exits(), torch.randn(3, 3, 12, 12)
    last = found(network, batch)
    assert last is not None
    with torch.no_grad():
        assert torch.equal(last, network.layers[1](network.layers[0](batch)))
