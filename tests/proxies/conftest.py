"""Small networks of every kind, each with a record of its activations that owes nothing to the library."""

import copy
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Inputs = Tensor | dict[str, Tensor]


class Recorded(nn.Module):
    """A network that can write down its activations, samples first."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Tensor] | None = None

    def take(self, activation: Tensor) -> Tensor:
        """Write down a copy: what follows may change the tensor in place."""
        if self.taken is not None:
            self.taken.append(activation.detach().clone().flatten(1))
        return activation


@dataclass(frozen=True)
class Specimen:
    """A kind of network and a batch for it.

    Attributes:
        name: Shown in the test's name.
        make: Draws a network; the choice of layers comes from the generator, the weights from torch's random state.
        batch: A batch of the given number of samples.
    """

    name: str
    make: Callable[[random.Random, int], Recorded]
    batch: Callable[[int], Inputs]

    def draw(self, seed: int, samples: int) -> tuple[Recorded, Inputs]:
        """A network and a batch."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make(random.Random(seed), samples), self.batch(samples)

    def activations(self, network: Recorded, inputs: Inputs) -> Tensor:
        """All activations of one pass, with batch statistics and without dropout: (S, V)."""
        twin = copy.deepcopy(network).train()
        for module in twin.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        twin.taken = []
        with torch.no_grad():
            run(twin, inputs)
        return torch.cat(twin.taken, dim=1)


def run(network: nn.Module, inputs: Inputs) -> object:
    """A pass over a copy of the batch."""
    if isinstance(inputs, dict):
        return network(**{name: tensor.clone() for name, tensor in inputs.items()})
    return network(inputs.clone())


# Every way to write an activation that the recorder must see, and what it computes. In-place forms included.
FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU(inplace)": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu(inplace)": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": Tensor.relu,
    "Tensor.relu_": Tensor.relu_,
    "clamp(min=0)": lambda x: x.clamp(min=0),
    "clamp(0)": lambda x: torch.clamp(x, 0),
    "clamp_(0.0)": lambda x: x.clamp_(0.0),
    "clamp(0, 1)": lambda x: x.clamp(0, 1),
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp_min_": lambda x: x.clamp_min_(min=0),
    "clip": lambda x: torch.clip(x, min=0),
    "clip_": lambda x: x.clip_(0, 6),
    "nn.ReLU6": nn.ReLU6(),
    "nn.Hardtanh": nn.Hardtanh(),
    "nn.Threshold": nn.Threshold(0.1, 0.0),
    "nn.LeakyReLU": nn.LeakyReLU(),
    "nn.PReLU": nn.PReLU(),
    "nn.RReLU": nn.RReLU().eval(),
    "nn.ELU": nn.ELU(),
    "nn.SELU": nn.SELU(inplace=True),
    "nn.CELU": nn.CELU(),
    "nn.GELU": nn.GELU(),
    "F.gelu(tanh)": lambda x: F.gelu(x, approximate="tanh"),
    "nn.SiLU": nn.SiLU(),
    "F.silu(inplace)": lambda x: F.silu(x, inplace=True),
    "nn.Mish": nn.Mish(),
    "nn.Hardswish": nn.Hardswish(),
    "nn.Tanh": nn.Tanh(),
    "torch.tanh": torch.tanh,
}


class Convolutional(Recorded):
    """Convolutions in a random order of plain, residual and branching blocks, one ReLU module for several of them."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        width = rng.choice([2, 3, 4])
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.shared = nn.ReLU()
        self.blocks = nn.ModuleList()
        self.plan: list[tuple[str, Callable[[Tensor], Tensor]]] = []
        for _ in range(rng.randint(1, 4)):
            norm = nn.BatchNorm2d(width) if rng.random() < 0.5 else nn.Identity()
            self.blocks.append(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), norm, nn.Dropout(0.2)))
            form = self.shared if rng.random() < 0.3 else FORMS[rng.choice(sorted(FORMS))]
            self.plan.append((rng.choice(["plain", "residual", "branch"]), form))
        self.first_in_place = rng.random() < 0.3
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        if self.first_in_place:
            x = self.take(x.relu_())
        x = self.stem(x)
        for (kind, form), block in zip(self.plan, self.blocks, strict=True):
            y = self.take(form(block(x) * 4))  # wide enough for the flat ends of the bounded forms
            if kind == "residual":
                y = self.take(self.shared(y + x))
            elif kind == "branch":
                y = y + self.take(torch.relu(block(x) - 0.5))
            x = y
        x = self.head(x.mean((2, 3)))
        return self.take(F.gelu(x))  # two-dimensional features


class Perceptron(Recorded):
    """A multi-layer perceptron on features."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        widths = [6, *(rng.randint(1, 40) for _ in range(rng.randint(1, 4)))]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.forms = [FORMS[rng.choice(sorted(FORMS))] for _ in self.layers]

    def forward(self, x: Tensor) -> Tensor:
        for layer, form in zip(self.layers, self.forms, strict=True):
            x = self.take(form(layer(x)))
        return x


class Encoder(Recorded):
    """Torch's transformer encoder, samples first or tokens first inside, fed tokens or vectors."""

    def __init__(self, rng: random.Random, samples: int, *, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        # Neither as long as the batch, where (tokens, samples, width) reads either way; but maybe a multiple of it.
        self.tokens = rng.choice([n for n in (3, 4, 6) if n != samples])
        self.embed = nn.Embedding(11, 8)
        self.activation = rng.choice(["relu", "gelu"])
        layer = nn.TransformerEncoderLayer(
            8, 2, 12, 0.0, self.activation, batch_first=batch_first, norm_first=rng.random() < 0.5
        )
        self.encoder = nn.TransformerEncoder(layer, rng.randint(1, 2), enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids[:, : self.tokens].clamp(min=0))  # a clamp of indices is no activation
        if not self.batch_first:
            x = x.transpose(0, 1)
        if self.taken is None:
            x = self.encoder(x)
        else:
            for layer in self.encoder.layers:
                hook = layer.linear1.register_forward_hook(self._take_hidden)
                x = layer(x)
                hook.remove()
        return x if self.batch_first else x.transpose(0, 1)

    def _take_hidden(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        hidden = getattr(F, self.activation)(output)
        self.take(hidden if self.batch_first else hidden.transpose(0, 1))


class Tokens(Recorded):
    """Embeddings and a feed-forward layer over tokens folded into the batch."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.hidden = nn.Linear(6, rng.randint(1, 9))
        self.form = FORMS[rng.choice(sorted(FORMS))]

    def forward(self, ids: Tensor) -> Tensor:
        x = self.form(self.hidden(self.embed(ids).reshape(-1, 6)))
        self.take(x.reshape(len(ids), ids.shape[1], -1))
        return x.reshape(len(ids), -1)


class Recommender(Recorded):
    """Dense features through a perceptron, categories through tables, and their dot products through another."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.width = rng.randint(2, 5)
        self.bottom = nn.Linear(4, self.width)
        self.users = nn.Embedding(17, self.width)
        self.tags = nn.EmbeddingBag(13, self.width, mode="mean")
        self.top = nn.Linear(3 + self.width, 16)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(16, 1)

    def forward(self, dense: Tensor, user: Tensor, tags: Tensor) -> Tensor:
        bottom = self.take(F.silu(self.bottom(dense)))
        vectors = torch.stack([bottom, self.users(user), self.tags(tags)], dim=1)
        products = vectors @ vectors.transpose(1, 2)
        upper = torch.triu_indices(3, 3, 1)
        hidden = self.take(self.relu(self.top(torch.cat([bottom, products[:, upper[0], upper[1]]], dim=1))))
        return self.head(hidden).squeeze(1)


def _images(samples: int) -> Tensor:
    return torch.randn(samples, 3, 5, 5)


def _features(samples: int) -> Tensor:
    return torch.randn(samples, 6)


def _ids(samples: int) -> Tensor:
    return torch.randint(0, 11, (samples, 6))


def _dense_and_sparse(samples: int) -> dict[str, Tensor]:
    return {
        "dense": torch.randn(samples, 4),
        "user": torch.randint(0, 17, (samples,)),
        "tags": torch.randint(0, 13, (samples, 3)),
    }


SPECIMENS = [
    Specimen("convolutional", lambda rng, samples: Convolutional(rng), _images),
    Specimen("perceptron", lambda rng, samples: Perceptron(rng), _features),
    Specimen("encoder", lambda rng, samples: Encoder(rng, samples, batch_first=True), _ids),
    Specimen("encoder, tokens first", lambda rng, samples: Encoder(rng, samples, batch_first=False), _ids),
    Specimen("tokens", lambda rng, samples: Tokens(rng), _ids),
    Specimen("recommender", lambda rng, samples: Recommender(rng), _dense_and_sparse),
]


class SineOnce(torch.autograd.Function):
    """A sine that may be differentiated once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * x.cos()


@pytest.fixture
def sine_once() -> Callable[[Tensor], Tensor]:
    """The sine, by a function whose author has no second derivative."""
    return SineOnce.apply


@pytest.fixture(params=SPECIMENS, ids=lambda specimen: specimen.name, scope="session")
def specimen(request: pytest.FixtureRequest) -> Specimen:
    """Each kind of network in turn."""
    return request.param


@pytest.fixture(params=sorted(FORMS), scope="session")
def form(request: pytest.FixtureRequest) -> Callable[[Tensor], Tensor]:
    """Each way to write an activation in turn."""
    return FORMS[request.param]
