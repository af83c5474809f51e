"""Small fixed networks and batches for golden values.

Every number comes from NumPy's ``default_rng``, never from torch's generators, so that the authors' code and the
library see the same networks whatever the versions. Needs torch and NumPy only.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 4


class Normed(nn.Module):
    """Convolutions without bias, each with batch norm and ReLU; one residual block, one that halves the map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.residual = Residual(8)
        self.down = nn.Sequential(nn.Conv2d(8, 12, 3, 2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12, CLASSES)

    def feature_blocks(self) -> list[nn.Module]:
        """The blocks of the network."""
        return [self.stem, self.residual, self.down]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.down(self.residual(self.stem(x)))).flatten(1))


class Residual(nn.Module):
    """Two convolutions beside a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu2(x + self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x))))))


class Biased(nn.Module):
    """Convolutions with bias and ReLU and no norm, one of them in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, 2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=2),
            nn.ReLU(),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, CLASSES)

    def feature_blocks(self) -> list[nn.Module]:
        """The blocks of the network: what ends in an activation."""
        return [self.layers[1], self.layers[3], self.layers[5]]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.layers(x)).flatten(1))


class Perceptron(nn.Module):
    """Linear layers on vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Transformer(nn.Module):
    """A vision transformer of two blocks on 16 patches, written out so that it can be differentiated twice."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.positions = nn.Parameter(torch.zeros(16, width))
        self.layers = nn.Sequential(Attention(width), FeedForward(width), Attention(width), FeedForward(width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def feature_blocks(self) -> list[nn.Module]:
        """The residual stream after each attention and each feed-forward network."""
        return list(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.layers(x)).mean(1))


class Attention(nn.Module):
    """Attention after a norm, beside a skip connection."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        samples, tokens, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(samples, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv
        weights = F.softmax(query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1]), dim=-1)
        return x + self.project((weights @ value).transpose(1, 2).reshape(samples, tokens, width))


class FeedForward(nn.Module):
    """Two linear layers after a norm, beside a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.act = nn.LayerNorm(width), nn.GELU()
        self.widen, self.narrow = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(self.act(self.widen(self.norm(x))))


class Thin(nn.Module):
    """Two convolutions of one width and a classifier: where a random choice of channels or rows takes all.

    MeCo's eight random channels of eight are all channels, NEAR's 16 random pixels of 4 x 4 are all pixels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.layers(x)).flatten(1))


def feature_maps(network: nn.Module, x: Tensor) -> list[Tensor]:
    """What the network's blocks put out, with the graph between them."""
    maps: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *seen: maps.append(seen[2])) for block in network.feature_blocks()]
    network(x)
    for hook in hooks:
        hook.remove()
    return maps


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "normed": (Normed, (3, 16, 16)),
    "biased": (Biased, (3, 16, 16)),
    "perceptron": (Perceptron, (12,)),
    "transformer": (Transformer, (3, 16, 16)),
    "thin": (lambda: Thin(8), (3, 16, 16)),
    "square": (lambda: Thin(16), (3, 4, 4)),
}


def build(name: str, *, seed: int = 0, draw: str = "varied") -> nn.Module:
    """A network in double precision and train mode, with weights by :func:`set_weights`."""
    network = NETWORKS[name][0]().double()
    set_weights(network, seed, draw=draw)
    return network.train()


def set_weights(network: nn.Module, seed: int, *, draw: str = "varied") -> None:
    """Fill every parameter, in the order of ``named_parameters``, and put running statistics to their start values.

    Args:
        network: Any module of layers with weights and biases.
        seed: Seed of NumPy's generator.
        draw: ``varied``: matrices by fan-in, N(0, 2 / n); vectors 0.1 N(0, 1), around 1 where they scale a
            norm. ``kaiming``: the same matrices, norms 1 and 0, biases 0. ``normal``: the same with matrices N(0, 1).
    """
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            values = rng.standard_normal(tuple(parameter.shape))
            center = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
            if parameter.dim() > 1:
                scale = 1.0 if draw == "normal" else math.sqrt(2 / math.prod(parameter.shape[1:]))
            else:
                scale = 0.1 if draw == "varied" else 0.0
            parameter.copy_(torch.from_numpy(center + scale * values))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal numbers in double precision."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def signs(shape: tuple[int, ...], seed: int) -> Tensor:
    """Numbers -1 and 1 in double precision."""
    return torch.from_numpy(np.where(np.random.default_rng(seed).random(shape) < 0.5, -1.0, 1.0))


def batch(name: str, samples: int, *, seed: int = 1, kind: str = "independent") -> tuple[Tensor, Tensor]:
    """Inputs in double precision and labels 0, 1, 2, 3, 0, ...

    Args:
        name: The network that it is for.
        samples: Batch size.
        seed: Seed of NumPy's generator.
        kind: ``independent``: N(0, 1). ``clustered``: the samples of one class differ little from each other, the more
            the later they come, so that some lie in the same linear region.
    """
    shape = NETWORKS[name][1]
    inputs, labels = noise((samples, *shape), seed), torch.arange(samples) % CLASSES
    if kind == "clustered":
        spread = 1e-6 * 10 ** (6 * torch.arange(samples, dtype=torch.float64) / samples)
        inputs = noise((CLASSES, *shape), seed + 1)[labels] + spread.reshape(-1, *[1] * len(shape)) * inputs
    return inputs, labels
