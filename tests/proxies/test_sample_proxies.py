"""The pass in which samples don't mix, and its proxies, against loops over samples and finite differences."""

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from subshot._types import Protocol, Score
from subshot.errors import OptionError
from subshot.proxies import _coupled, _output_fisher, _samplewise, _unfold
from subshot.proxies._coupled import coupled_kernel
from subshot.proxies._evidence import look
from subshot.proxies._output_fisher import _factor_times
from subshot.proxies._prepare import prepared
from subshot.proxies._proxy import Need, bind, list_proxies
from subshot.proxies._samplewise import SAMPLE_NEEDS, Samplewise, sample_pass
from subshot.proxies._score import score
from subshot.proxies.ntk_condition import spectrum_of

SAMPLES, CLASSES = 5, 4
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)

Inputs = Tensor | dict[str, Tensor]


# --- networks --------------------------------------------------------------------------------------------------------


class Tokens(nn.Module):
    """Linear layers on tokens, samples first or sequences first, positions from a table."""

    def __init__(self, *, samples_first: bool) -> None:
        super().__init__()
        self.samples_first = samples_first
        self.embed, self.positions = nn.Embedding(11, 5), nn.Embedding(7, 5)
        self.mix, self.norm, self.head = nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.positions(torch.arange(ids.shape[1]))
        x = x if self.samples_first else x.transpose(0, 1)
        return self.head(torch.tanh(self.norm(self.mix(x)))).mean(1 if self.samples_first else 0)


class Twice(nn.Module):
    """A convolution on maps of two sizes and a linear layer on tokens and on vectors: each runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.mix, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.softplus(self.conv(F.max_pool2d(F.softplus(self.norm(self.conv(self.stem(x)))), 2)))
        x = torch.tanh(self.mix(x.flatten(2).transpose(1, 2))).mean(1)
        return self.head(torch.tanh(self.mix(x)))


class Windows(nn.Module):
    """Layers on four windows of each image, folded into the batch, and on their tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.mix, self.head = nn.Linear(5, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        windows = x.unfold(2, 3, 3).unfold(3, 3, 3).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 3, 3)
        x_ = torch.tanh(self.norm(self.conv(windows))).flatten(2).transpose(1, 2)
        return self.head(torch.tanh(self.mix(x_)).mean(1).reshape(len(x), 4, 6).sum(1))


class Attention(nn.Module):
    """Torch's transformer encoder and a head on the mean of its tokens."""

    def __init__(self, *, samples_first: bool) -> None:
        super().__init__()
        self.samples_first = samples_first
        layer = nn.TransformerEncoderLayer(6, 2, 7, 0.0, "gelu", batch_first=samples_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if self.samples_first:
            return self.head(self.encoder(x).mean(1))
        return self.head(self.encoder(x.transpose(0, 1)).mean(0))


class InPlace(nn.Module):
    """Outputs and inputs of layers that are changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.head = nn.Conv2d(4, 4, 3), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        y = self.norm(self.first(x)).relu_()
        y = F.relu(self.second(y).add_(0.1), inplace=True).mean((2, 3))
        return self.head(y).mul_(2)


class Recommender(nn.Module):
    """Dense features, an embedding of one category and a bag of another; one number for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.bottom, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
        self.user, self.tags = nn.Embedding(17, 3), nn.EmbeddingBag(13, 3, mode="mean")
        self.top, self.head = nn.Linear(9, 8), nn.Linear(8, 1)

    def forward(self, dense: Tensor, user: Tensor, tags: Tensor) -> Tensor:
        x = torch.cat([self.norm(self.bottom(dense)), self.user(user), self.tags(tags)], dim=1)
        return self.head(F.silu(self.top(x))).squeeze(1)


def convolutional() -> nn.Module:
    """Strides, groups, biases, norms of several kinds and smooth activations."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.GELU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.GroupNorm(2, 6),
        nn.SiLU(),
        nn.Conv2d(6, 5, 2, stride=2),
        nn.BatchNorm2d(5, affine=False),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, CLASSES),
    )


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Linear(9, 7), nn.ELU(), nn.Linear(7, CLASSES, bias=False)
    )


def images() -> Tensor:
    return torch.randn(SAMPLES, 3, 6, 6, dtype=torch.float64)


def sequences() -> Tensor:
    return torch.randn(SAMPLES, 4, 6, dtype=torch.float64)


def categories() -> dict[str, Tensor]:
    dense = torch.randn(SAMPLES, 4, dtype=torch.float64)
    return {"dense": dense, "user": torch.randint(0, 17, (SAMPLES,)), "tags": torch.randint(0, 13, (SAMPLES, 3))}


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Inputs]]] = {
    "convolutional": (convolutional, images),
    "perceptron": (perceptron, lambda: torch.randn(SAMPLES, 5, dtype=torch.float64)),
    "tokens": (lambda: Tokens(samples_first=True), lambda: torch.randint(0, 11, (SAMPLES, 7))),
    "tokens first": (lambda: Tokens(samples_first=False), lambda: torch.randint(0, 11, (SAMPLES, 7))),
    "layers used twice": (Twice, images),
    "windows": (Windows, images),
    "attention": (lambda: Attention(samples_first=True), sequences),
    "attention, tokens first": (lambda: Attention(samples_first=False), sequences),
    "in place": (InPlace, images),
    "recommender": (Recommender, categories),
}


def draw(make: Callable[[], nn.Module], batch: Callable[[], Inputs]) -> tuple[nn.Module, Inputs]:
    """A network in double precision whose norms have parameters and running statistics like a trained one's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = make().double()
        for module in network.modules():
            if isinstance(module, NORMS):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            if isinstance(module, (*NORMS, nn.LayerNorm)) and module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
        return network.train(), batch()


@pytest.fixture(params=sorted(NETWORKS))
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Inputs]:
    """Each network with a batch."""
    return draw(*NETWORKS[request.param])


# --- oracles ---------------------------------------------------------------------------------------------------------


def run(network: nn.Module, inputs: Inputs) -> Tensor:
    """A pass over a copy of the batch."""
    if isinstance(inputs, dict):
        return network(**{name: tensor.clone() for name, tensor in inputs.items()})
    return network(inputs.clone())


def only(inputs: Inputs, sample: int) -> Inputs:
    if isinstance(inputs, dict):
        return {name: tensor[sample : sample + 1] for name, tensor in inputs.items()}
    return inputs[sample : sample + 1]


def weights_in(network: nn.Module) -> list[Tensor]:
    """Weights of convolutions and linear layers, each once."""
    return list(dict.fromkeys(m.weight for m in network.modules() if isinstance(m, WEIGHTED)))


class Affine(nn.Module):
    """Batch norm with statistics that are plain numbers."""

    def __init__(self, norm: nn.Module, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.mean, self.deviation = mean, (variance + norm.eps).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.dim() - 2))
        y = (x - self.mean.reshape(shape)) / self.deviation.reshape(shape)
        return y if self.weight is None else y * self.weight.reshape(shape) + self.bias.reshape(shape)


def apart(network: nn.Module, inputs: Inputs, batch_norm: str) -> nn.Module:
    """A copy that can be run on single samples: norms by fixed statistics."""
    other = copy.deepcopy(network).eval()
    norms = [name for name, module in other.named_modules() if isinstance(module, NORMS)]
    fixed: dict[str, nn.Module] = {}

    def fix(name: str) -> Callable[..., Tensor]:
        def hook(module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x = args[0].detach().transpose(0, 1).flatten(1)
            if batch_norm == "batch":
                fixed[name] = Affine(module, x.mean(1), x.var(1, correction=0))
            elif batch_norm == "running":
                fixed[name] = Affine(module, module.running_mean, module.running_var)
            else:
                fixed[name] = nn.Identity()
            return fixed[name](args[0])

        return hook

    hooks = [other.get_submodule(name).register_forward_hook(fix(name)) for name in norms]
    run(other, inputs)
    for hook in hooks:
        hook.remove()
    for name, module in fixed.items():
        parent, _, child = name.rpartition(".")
        setattr(other.get_submodule(parent), child, module)
    return other


def sample_by_sample(network: nn.Module, inputs: Inputs, value: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Gradients of each sample's own value for all weights, by a pass of its own: (S, numbers)."""
    weights, rows = weights_in(network), []
    for sample in range(SAMPLES):
        found = torch.autograd.grad(value(run(network, only(inputs, sample)), sample), weights, allow_unused=True)
        rows.append(
            torch.cat(
                [torch.zeros(w.numel()) if g is None else g.flatten() for w, g in zip(weights, found, strict=True)]
            )
        )
    return torch.stack(rows)


def one_pass(network: nn.Module, inputs: Inputs, needs: Need, batch_norm: str = "batch", **options: Any) -> Samplewise:
    with prepared(network, batch_norm=batch_norm, keep_parameters=False):
        found = sample_pass(network, inputs, needs, samples=SAMPLES, **{"labels": None, "loss": None, **options})
    assert not found.missing, found.missing
    return found


def kernel_of(network: nn.Module, inputs: Inputs, batch_norm: str = "batch") -> Tensor:
    found = one_pass(network, inputs, Need.KERNEL, batch_norm).kernel
    assert found is not None
    return found


def value(name: str, network: nn.Module, batch: Any, **options: Any) -> Score:
    (result,) = score(network, batch, proxies=[name], **options).values()
    return result


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


# --- the kernel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", ["batch", "running", "off"])
def test_the_kernel_is_that_of_samples_by_themselves(case: tuple[nn.Module, Inputs], batch_norm: str) -> None:
    network, inputs = case
    rows = sample_by_sample(apart(network, inputs, batch_norm), inputs, lambda output, _: output.sum())
    assert rows.abs().sum() > 0
    close(kernel_of(network, inputs, batch_norm), rows @ rows.T)


def test_the_kernel_against_finite_differences(case: tuple[nn.Module, Inputs]) -> None:
    network, inputs = case
    other, step, columns = apart(network, inputs, "batch"), 1e-6, []
    with torch.no_grad():
        for weight in weights_in(other):
            flat = weight.view(-1)
            for index in range(flat.numel()):
                kept, ends = flat[index].item(), []
                for sign in (1, -1):
                    flat[index] = kept + sign * step
                    ends.append(run(other, inputs).reshape(SAMPLES, -1).sum(1))
                flat[index] = kept
                columns.append((ends[0] - ends[1]) / (2 * step))
    rows = torch.stack(columns, dim=1)
    close(kernel_of(network, inputs), rows @ rows.T, 1e-6)


def test_coupled_gradients_flow_through_batch_statistics(case: tuple[nn.Module, Inputs]) -> None:
    network, inputs = case
    other = copy.deepcopy(network).train()
    weights, rows = weights_in(other), []
    for sample in range(SAMPLES):
        found = torch.autograd.grad(run(other, inputs)[sample].sum(), weights)
        rows.append(torch.cat([one.flatten() for one in found]))
    expected = torch.stack(rows) @ torch.stack(rows).T
    with prepared(network, batch_norm="batch", keep_parameters=False):
        close(coupled_kernel(network, inputs, samples=SAMPLES)[0], expected)
    mixes = any(isinstance(module, NORMS) for module in network.modules())
    assert mixes is not torch.allclose(kernel_of(network, inputs), expected, rtol=1e-6)
    with prepared(network, batch_norm="running", keep_parameters=False):
        close(coupled_kernel(network, inputs, samples=SAMPLES)[0], kernel_of(network, inputs, "running"))


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "stride": lambda: nn.Conv2d(4, 6, 3, stride=(2, 1)),
    "dilation": lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=(2, 1)),
    "groups": lambda: nn.Conv2d(4, 6, (3, 1), groups=2, padding=(1, 0)),
    "depthwise": lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False),
    "even kernel": lambda: nn.Conv2d(4, 3, 2, padding="same"),
    "same, dilated": lambda: nn.Conv2d(4, 3, 3, padding="same", dilation=(1, 2)),
    "valid": lambda: nn.Conv2d(4, 3, 3, padding="valid"),
    "reflected": lambda: nn.Conv2d(4, 3, 3, padding=2, padding_mode="reflect"),
    "circular": lambda: nn.Conv2d(4, 3, (3, 2), padding=(1, 0), padding_mode="circular"),
    "replicated, same": lambda: nn.Conv2d(4, 3, (2, 3), padding="same", padding_mode="replicate"),
    "1x1": lambda: nn.Conv2d(4, 6, 1),
    "1x1, stride and groups": lambda: nn.Conv2d(4, 6, 1, stride=2, groups=2),
    "1x1, padding": lambda: nn.Conv2d(4, 6, 1, padding=1),
    "the whole map": lambda: nn.Conv2d(4, 6, 6),
}
LINES: dict[str, Callable[[], nn.Module]] = {
    "line": lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1),
    "line, same": lambda: nn.Conv1d(4, 6, 4, padding="same", dilation=2),
    "line, depthwise": lambda: nn.Conv1d(4, 4, 3, groups=4, padding=2, padding_mode="circular"),
    "line, 1": lambda: nn.Conv1d(4, 6, 1, stride=2),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", [*CONVOLUTIONS, *LINES])
def test_every_kind_of_convolution(name: str) -> None:
    torch.manual_seed(0)
    flat = name in LINES
    conv = (LINES if flat else CONVOLUTIONS)[name]()
    x = torch.randn(SAMPLES, 4, *(6,) * (1 if flat else 2), dtype=torch.float64)
    network = nn.Sequential(conv, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).double()
    network(x)
    rows = sample_by_sample(network, x, lambda output, _: output.sum())
    for layout in (x, x.transpose(1, 2).contiguous().transpose(1, 2), x.movedim(1, -1).contiguous().movedim(-1, 1)):
        close(kernel_of(network, layout), rows @ rows.T)
    close(one_pass(network, x, Need.OUTPUT_FISHER).output_fisher, fishers(network, x)[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 1)])
def test_maps_of_a_single_channel_or_row(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 1, 1), nn.Conv2d(1, 2, 3, padding=2))
    network, x = network.double(), torch.randn(SAMPLES, 1, *size, dtype=torch.float64)
    rows = sample_by_sample(network, x, lambda output, _: output.sum())
    close(kernel_of(network, x), rows @ rows.T)


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_of_any_specimen(specimen: Any, seed: int) -> None:
    network, inputs = specimen.draw(seed, SAMPLES)
    network = network.double()
    named = inputs if isinstance(inputs, dict) else {"": inputs}
    named = {key: one.double() if one.is_floating_point() else one for key, one in named.items()}
    inputs = named if isinstance(inputs, dict) else named[""]
    for batch_norm in ("batch", "running"):
        rows = sample_by_sample(apart(network, inputs, batch_norm), inputs, lambda output, _: output.sum())
        close(kernel_of(network, inputs, batch_norm), rows @ rows.T)


def test_layers_that_share_a_weight_are_one() -> None:
    torch.manual_seed(1)
    first = nn.Linear(5, 5)
    second = nn.Linear(5, 5)
    second.weight = first.weight
    network = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(5, 2)).double()
    x = torch.randn(SAMPLES, 5, dtype=torch.float64)
    rows = sample_by_sample(network, x, lambda output, _: output.sum())
    assert rows.shape == (SAMPLES, 35)
    close(kernel_of(network, x), rows @ rows.T)


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_weights_and_weights_computed_from_others_count(frozen: bool) -> None:
    torch.manual_seed(2)
    plain = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, CLASSES)).double()
    x, labels = torch.randn(SAMPLES, 5, dtype=torch.float64), torch.arange(SAMPLES) % CLASSES
    computed = copy.deepcopy(plain)
    weight_norm(computed[0])
    computed.requires_grad_(not frozen)
    names = ["ntk_condition", "ntk_condition(coupled=true)", "grad_sign", "zico", "sigeo"]
    expected = score(plain, (x, labels), proxies=names, protocol=Protocol(batch_size=SAMPLES))
    found = score(computed, (x, labels), proxies=names, protocol=Protocol(batch_size=SAMPLES))
    for name in names:
        assert found[name].ok, found[name].reason
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-9), name
    close(kernel_of(computed, x), kernel_of(plain, x))


def test_pieces_are_small_and_make_up_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    network, inputs = draw(*NETWORKS["layers used twice"])
    needs, loss = Need.KERNEL | Need.GRADIENT_SIGNS, {"labels": torch.arange(SAMPLES) % CLASSES, "loss": None}
    whole = one_pass(network, inputs, needs, **loss)
    pieces, split = [], _samplewise.sample_gradients

    def watched(*args: Any) -> Iterable[Tensor]:
        for piece in split(*args):
            pieces.append(piece.numel())
            yield piece

    monkeypatch.setattr(_samplewise, "sample_gradients", watched)
    monkeypatch.setattr(_unfold, "CHUNK", 200)
    parts = one_pass(network, inputs, needs, **loss)
    assert max(pieces) <= 200
    assert sum(pieces) == SAMPLES * (2 * 12 + 2 * 144 + 2 * 16 + 16)  # the head's kernel needs no gradients
    close(parts.kernel, whole.kernel, 1e-13)
    assert parts.sign_agreement == whole.sign_agreement


@pytest.mark.parametrize("held", [1, 5_000])
def test_the_coupled_kernel_in_lots(case: tuple[nn.Module, Inputs], held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = case
    with prepared(network, batch_norm="batch", keep_parameters=False):
        whole, once = coupled_kernel(network, inputs, samples=SAMPLES)
        assert once == SAMPLES
        sizes = [weight.numel() for weight in weights_in(network)]
        monkeypatch.setattr(_coupled, "HELD", held)
        by_weights, _ = coupled_kernel(network, inputs, samples=SAMPLES)
        assert torch.equal(by_weights, whole)  # summed in the same order
        monkeypatch.setattr(_coupled, "CHUNK", 40 * SAMPLES)
        in_pieces, backwards = coupled_kernel(network, inputs, samples=SAMPLES)
        close(in_pieces, whole, 1e-13)
        lots = backwards // SAMPLES
        assert lots >= -(-sum(sizes) * SAMPLES * 8 // max(held, 40 * SAMPLES * 8))  # double precision
        assert lots <= sum(-(-size // 40) for size in sizes)
        if held == 1:
            assert lots == sum(-(-size // 40) for size in sizes)


def test_lots_of_sample_gradients_are_as_large_as_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_coupled, "HELD", 4_000)
    monkeypatch.setattr(_coupled, "CHUNK", 700)
    weights = [torch.zeros(shape) for shape in ((3, 5), (400,), (7, 7), (1,), (99,))]
    lots = list(_coupled._lots(weights, 7))
    assert all(sum(end - start for _, start, end in lot) * 7 * 4 <= 4_000 for lot in lots)
    seen = [(index, number) for lot in lots for index, start, end in lot for number in range(start, end)]
    assert seen == [(index, number) for index, weight in enumerate(weights) for number in range(weight.numel())]
    assert len(lots) <= 6  # 564 numbers, of which 142 make a lot, in stretches of 100


def test_lots_are_told_as_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    network, batch = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(5, 6)
    one = value("eigen_nas(coupled=true)", network, batch)
    monkeypatch.setattr(_coupled, "HELD", 5 * 48 * 4)
    two = value("eigen_nas(coupled=true)", network, batch)
    assert one.value == two.value
    assert (one.cost.backwards, two.cost.backwards) == (5, 10)


def test_a_wide_layer_on_vectors_is_never_unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    # 8 samples of 4096 x 4096 gradients would be a gigabyte in double precision.
    monkeypatch.setattr(_samplewise, "sample_gradients", lambda unfolded: pytest.fail("unfolded"))
    torch.manual_seed(4)
    network, x = nn.Linear(4096, 4096, bias=False), torch.randn(8, 4096)
    found = sample_pass(network, x, Need.KERNEL, labels=None, loss=None, samples=8).kernel
    close(found, 4096 * x.double() @ x.double().T, 1e-6)


# --- what is refused -------------------------------------------------------------------------------------------------


class Standardised(nn.Conv2d):
    """A convolution that computes with another weight than its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class Elsewhere(nn.Module):
    """A layer whose weight is used without running it, and perhaps also by running it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.linear(x, self.layer.weight).tanh())


class Mixed(nn.Module):
    """A layer whose input has no axis of samples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x * self.layer(torch.ones(3, 4)).mean(0))


@pytest.mark.parametrize(
    ("network", "shape", "mark"),
    [
        (nn.Sequential(nn.Conv3d(2, 2, 2), nn.Flatten()), (2, 3, 3, 3), "Conv3d"),
        (nn.Sequential(nn.ConvTranspose2d(2, 2, 2), nn.Flatten()), (2, 3, 3), "ConvTranspose2d"),
        (nn.Sequential(Standardised(2, 3, 3), nn.Flatten()), (2, 3, 3), "Standardised"),
        (Elsewhere(), (4,), "outside its layer"),
        (Mixed(), (4,), "no axis of 5 samples"),
        (nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), (4,), "No convolution or linear layer ran"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, nn.Module) else None,
)
def test_where_samples_cannot_be_told_apart(network: nn.Module, shape: tuple[int, ...], mark: str) -> None:
    batch = (torch.randn(SAMPLES, *shape), torch.zeros(SAMPLES, dtype=torch.int64))
    for name in ("ntk_condition", "grad_sign"):
        result = value(name, network, batch)
        assert result.status == "not_applicable", result.reason
        assert mark in result.reason
    if mark != "No convolution or linear layer ran":
        coupled = value("eigen_nas(coupled=true)", network, batch)
        assert coupled.ok, coupled.reason


def test_an_output_without_samples_is_refused() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).sum(0)

    result = value("ntk_condition(coupled=true)", Folded(), torch.randn(SAMPLES, 4))
    assert result.status == "not_applicable"
    assert "no axis of 5 samples" in result.reason


def test_an_output_that_is_not_finite_has_no_kernel() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        network[2].bias.fill_(math.inf)  # which no gradient of the sum can show
    for name in ("ntk_condition", "eigen_nas", "ntk_mse", "eigen_nas(coupled=true)"):
        result = value(name, network, (torch.randn(SAMPLES, 4), torch.arange(SAMPLES)))
        assert result.status == "nan"
        assert result.reason


# --- ntk_condition, eigen_nas, ntk_mse -------------------------------------------------------------------------------


@pytest.fixture
def spectrum(case: tuple[nn.Module, Inputs]) -> np.ndarray:
    """Eigenvalues of the kernel as squared singular values of the gradients."""
    network, inputs = case
    rows = sample_by_sample(apart(network, inputs, "batch"), inputs, lambda output, _: output.sum())
    return np.linalg.svd(rows.numpy(), compute_uv=False) ** 2


def test_condition_and_smallest_eigenvalue(case: tuple[nn.Module, Inputs], spectrum: np.ndarray) -> None:
    found = score(*case, proxies="ntk_condition, eigen_nas, eigen_nas(normalized=true)")
    assert found["ntk_condition"].value == pytest.approx(-spectrum[0] / spectrum[-1], rel=1e-6)
    assert found["ntk_condition"].parts["lambda_max"] == pytest.approx(spectrum[0], rel=1e-9)
    assert found["eigen_nas"].value == pytest.approx(spectrum[-1], rel=1e-6)
    assert found["eigen_nas(normalized=true)"].value == pytest.approx(spectrum[-1] / spectrum.sum(), rel=1e-6)
    scaled = score(copy.deepcopy(case[0]).float(), _float(case[1]), proxies="ntk_condition")["ntk_condition"]
    assert scaled.value == pytest.approx(-spectrum[0] / spectrum[-1], rel=1e-2)


def _float(inputs: Inputs) -> Inputs:
    if isinstance(inputs, dict):
        return {name: one.float() if one.is_floating_point() else one for name, one in inputs.items()}
    return inputs.float() if inputs.is_floating_point() else inputs


def test_single_precision_resolves_conditions_beyond_its_rounding() -> None:
    torch.manual_seed(5)
    network = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 5))
    x = torch.randn(1, 20) + 1e-4 * torch.randn(8, 20)  # nearly the same samples
    exact = value("ntk_condition", copy.deepcopy(network).double(), x.double()).value
    assert -1e11 < exact < -1e8  # and not minus infinity
    assert value("ntk_condition", network, x).value == pytest.approx(exact, rel=0.02)


def test_equal_samples_have_no_condition() -> None:
    torch.manual_seed(6)
    network, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(SAMPLES, 4)
    x[3] = x[1]
    result = value("ntk_condition", network, x)
    assert (result.status, result.value) == ("-inf", -math.inf)
    assert result.reason
    assert value("eigen_nas", network, x).value == pytest.approx(0, abs=1e-9)
    dead = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    for layer in (dead[0], dead[2]):
        nn.init.zeros_(layer.weight)
    nn.init.constant_(dead[0].bias, -1)
    assert value("ntk_condition", dead, x).status == "nan"
    assert value("ntk_mse", dead, (x, torch.arange(SAMPLES))).status == "nan"


def test_a_kernel_that_is_not_finite_has_no_spectrum() -> None:
    kernel = torch.eye(3, dtype=torch.float64)
    kernel[0, 1] = math.nan
    assert spectrum_of(kernel).isnan().all()


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("coupled", [False, True])
def test_the_error_of_kernel_regression(case: tuple[nn.Module, Inputs], ridge: float, coupled: bool) -> None:
    network, inputs = case
    labels = torch.tensor([2, 0, 3, 1, 1])
    with prepared(network, batch_norm="batch", keep_parameters=False):
        kernel = kernel_of(network, inputs)
        if coupled:
            kernel, _ = coupled_kernel(network, inputs, samples=SAMPLES)
        kernel = kernel.numpy()
    one_hot = np.eye(4)[labels.numpy()]
    known, wanted = one_hot[:2] - one_hot[:2].mean(0), one_hot[2:] - one_hot[2:].mean(0)
    fit, test = kernel[:2, :2] + ridge * np.mean([kernel[0, 0], kernel[1, 1]]) * np.eye(2), kernel[2:, :2]
    predicted = test @ np.linalg.inv(fit) @ known
    expected = -np.mean([(predicted[i, c] - wanted[i, c]) ** 2 for i in range(3) for c in range(4)])
    name = f"ntk_mse(ridge={ridge}, coupled={str(coupled).lower()})"
    result = value(name, network, (inputs, labels))
    assert result.value == pytest.approx(expected, rel=1e-6)


def test_where_kernel_regression_is_not_defined() -> None:
    torch.manual_seed(7)
    network, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(SAMPLES, 4)
    assert "one class" in value("ntk_mse", network, (x, torch.randn(SAMPLES, 3))).reason
    assert "one class" in value("ntk_mse", network, (x, torch.zeros(SAMPLES, 3, dtype=torch.int64))).reason
    assert "halves" in value("ntk_mse", network, (x[:1], torch.zeros(1, dtype=torch.int64))).reason
    assert "single class" in value("ntk_mse", network, (x, torch.full((SAMPLES,), 2))).reason  # not an error of 0
    same = (torch.ones(4, 4), torch.arange(4) % 3)
    assert value("ntk_mse(ridge=0.0)", network, same).status in ("-inf", "ok")
    zeros = nn.Sequential(nn.Linear(4, 1, bias=False))
    one_hot = torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    assert value("ntk_mse(ridge=0.0)", zeros, (one_hot, torch.arange(4) % 3)).status == "-inf"
    assert value("ntk_mse", zeros, (one_hot, torch.arange(4) % 3)).ok
    for ridge in ("-1.0", "nan", "inf"):
        with pytest.raises(OptionError, match="ridge"):
            bind(f"ntk_mse(ridge={ridge})")


# --- grad_sign -------------------------------------------------------------------------------------------------------


def own_loss(output: Tensor, labels: Tensor) -> Tensor:
    """A loss for outputs of any shape with samples first."""
    return (torch.sin(3 * output.reshape(len(output), -1)).mean(1) * labels).mean()


@pytest.mark.parametrize("batch_norm", ["batch", "running", "off"])
def test_signs_are_those_of_samples_by_themselves(case: tuple[nn.Module, Inputs], batch_norm: str) -> None:
    network, inputs = case
    labels = torch.tensor([1.0, -2, 0.5, 3, -1], dtype=torch.float64)
    rows = sample_by_sample(
        apart(network, inputs, batch_norm), inputs, lambda output, i: own_loss(output, labels[i : i + 1])
    )
    expected = rows.sign().sum(0).abs().sum().item()
    protocol = Protocol(batch_norm=batch_norm)
    found = score(
        network, (inputs, labels), proxies="grad_sign, grad_sign(mean=true)", loss=own_loss, protocol=protocol
    )
    assert found["grad_sign"].value == expected
    assert found["grad_sign"].parts["weights"] == rows.shape[1]
    assert found["grad_sign(mean=true)"].value == expected / rows.shape[1]


def test_equal_samples_agree_in_every_sign() -> None:
    torch.manual_seed(8)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)).double()
    network[0].weight.data[2] = 0
    network[0].bias.data[2] = -1  # a dead channel
    x, labels = torch.randn(1, 3, 6, 6, dtype=torch.float64), torch.tensor([1])
    rows = torch.autograd.grad(F.cross_entropy(network(x), labels), weights_in(network))
    live = sum(int((one != 0).sum()) for one in rows)
    assert live < sum(one.numel() for one in rows)
    for samples in (1, 3, 8):
        batch = (x.expand(samples, -1, -1, -1), labels.expand(samples))
        assert value("grad_sign", network, batch).value == samples * live


def test_signs_of_a_gradient_that_is_not_finite() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.randn(SAMPLES, 4)
    x[2, 1] = math.nan
    assert value("grad_sign", network, (x, torch.zeros(SAMPLES, dtype=torch.int64))).status == "nan"


# --- vkdnw -----------------------------------------------------------------------------------------------------------


def first_numbers(network: nn.Module) -> list[nn.Parameter]:
    """Parameters of convolutions, linear layers and batch and layer norms, in the network's order."""
    kinds = (*WEIGHTED, *NORMS, nn.LayerNorm)
    own = {p for m in network.modules() if isinstance(m, (*kinds, Affine)) for p in m.parameters(recurse=False)}
    return [p for p in network.parameters() if p in own][:128]


def fishers(network: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Sample by sample and logit by logit: the matrix in theory, and with a triangular factor on the wrong side."""
    parameters = first_numbers(network)
    exact, released = (torch.zeros(len(parameters), len(parameters), dtype=torch.float64) for _ in range(2))
    for sample in range(SAMPLES):
        (logits,) = run(network, only(inputs, sample))
        rows = []
        for logit in logits:
            found = torch.autograd.grad(logit, parameters, retain_graph=True)
            rows.append(torch.stack([one.flatten()[0] for one in found]))
        jacobian = torch.stack(rows)
        p = 0.95 * logits.detach().softmax(0) + 0.05 / len(logits)
        inner = torch.diag(p) - torch.outer(p, p)
        factor = triangular(inner)
        exact += jacobian.T @ inner @ jacobian / SAMPLES
        released += (factor @ jacobian).T @ (factor @ jacobian) / SAMPLES
    return exact, released


def triangular(matrix: Tensor) -> Tensor:
    """Cholesky's factor, row by row; the last pivot of a matrix of this kind is zero."""
    size = len(matrix)
    factor = torch.zeros_like(matrix)
    for row in range(size):
        for column in range(row + 1):
            rest = matrix[row, column] - factor[row] @ factor[column]
            if row == column:
                factor[row, row] = 0 if row == size - 1 else rest.sqrt()
            else:
                factor[row, column] = rest / factor[column, column]
    return factor


LOGITS = sorted(set(NETWORKS) - {"recommender"})


@pytest.mark.parametrize("batch_norm", ["batch", "running", "off"])
@pytest.mark.parametrize("name", LOGITS)
def test_the_fisher_matrix_by_brute_force(name: str, batch_norm: str) -> None:
    network, inputs = draw(*NETWORKS[name])
    expected = fishers(apart(network, inputs, batch_norm), inputs)
    found = one_pass(network, inputs, Need.OUTPUT_FISHER, batch_norm)
    close(found.output_fisher, expected[0])
    close(found.released_fisher, expected[1])
    assert found.tensors == len(expected[0])
    assert torch.linalg.eigvalsh(found.output_fisher).min() > -1e-12
    for option, matrix in zip(("", "(released=true)"), expected, strict=True):
        spectrum = np.linalg.eigvalsh(matrix.numpy()).clip(0)
        deciles = np.quantile(spectrum, np.arange(1, 10) / 10)
        shares = deciles / (deciles.sum() + 1e-10)
        entropy = -sum(t * math.log(t + 1e-10) for t in shares)
        result = value(f"vkdnw{option}", network, inputs, protocol=Protocol(batch_norm=batch_norm))
        assert result.value == pytest.approx(entropy, rel=1e-6, abs=1e-9)
        assert result.parts["dimension"] == len(matrix)


def test_the_factor_is_triangular_and_its_square_the_covariance() -> None:
    torch.manual_seed(9)
    for classes in (2, 3, 10, 1000):
        p = 0.95 * (4 * torch.randn(3, classes, dtype=torch.float64)).softmax(1) + 0.05 / classes
        factor = _factor(p)
        close(factor @ factor.mT, torch.diag_embed(p) - p[:, :, None] * p[:, None, :], 1e-12)
        assert (factor == factor.tril()).all()
    close(_factor(p[:, :7] / p[:, :7].sum(1, keepdim=True))[0], triangular(_inner(p[0, :7] / p[0, :7].sum())), 1e-7)


def _factor(p: Tensor) -> Tensor:
    return _factor_times(p, torch.eye(p.shape[1], dtype=p.dtype).expand(len(p), -1, -1))


def _inner(p: Tensor) -> Tensor:
    return torch.diag(p) - torch.outer(p, p)


def test_equal_deciles_have_the_largest_entropy() -> None:
    (bound,) = bind("vkdnw")
    network, inputs = draw(*NETWORKS["perceptron"])
    evidence = look(network, inputs, SAMPLE_NEEDS)

    def entropy(matrix: Tensor) -> float:
        object.__setattr__(evidence.samplewise, "output_fisher", matrix.double())
        return bound.read(evidence).value

    assert entropy(3 * torch.eye(20)) == pytest.approx(math.log(9), rel=1e-8)
    assert entropy(torch.diag(torch.arange(20.0))) < math.log(9)
    assert entropy(torch.diag(torch.tensor([0.0] * 19 + [5]))) == pytest.approx(0, abs=1e-8)
    assert entropy(torch.zeros(5, 5)) == pytest.approx(0, abs=1e-8)
    assert math.isnan(entropy(torch.full((5, 5), math.nan)))


def test_only_the_first_128_parameters_are_in_the_matrix_but_all_count() -> None:
    torch.manual_seed(10)
    network = nn.Sequential(*(layer for _ in range(70) for layer in (nn.Linear(3, 3), nn.Identity()))).double()
    x = torch.randn(SAMPLES, 3, dtype=torch.float64)
    found = one_pass(network, x, Need.OUTPUT_FISHER)
    assert found.output_fisher.shape == (128, 128)
    close(found.output_fisher, fishers(network, x)[0])
    assert value("vkdnw", network, x).parts["dimension"] == 140


@pytest.mark.parametrize("name", LOGITS)
def test_the_fisher_matrix_parameter_by_parameter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_output_fisher, "_by_class", _output_fisher._by_parameter)
    network, inputs = draw(*NETWORKS[name])
    for batch_norm in ("batch", "off"):
        expected = fishers(apart(network, inputs, batch_norm), inputs)
        found = one_pass(network, inputs, Need.OUTPUT_FISHER, batch_norm)
        close(found.output_fisher, expected[0])
        close(found.released_fisher, expected[1])


class Many(nn.Module):
    """A sine between layers, and perhaps distances for classes, which torch can differentiate once."""

    def __init__(self, classes: int, sine: Callable[[Tensor], Tensor] = torch.sin, *, distances: bool = False) -> None:
        super().__init__()
        self.sine = sine
        self.layer, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, classes)
        self.other = nn.Linear(classes, classes, bias=False) if distances else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardsigmoid(self.norm(self.layer(x)))
        x = self.head(self.sine(x).mean((2, 3)))
        return x if self.other is None else -torch.cdist(x, self.other.weight)


@pytest.mark.parametrize("kind", ["plain", "marked", "distance"])
def test_with_many_classes_it_goes_through_parameters_where_that_is_possible(
    kind: str, sine_once: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(14)
    sine = sine_once if kind == "marked" else torch.sin
    network, x = Many(9, sine, distances=kind == "distance"), torch.randn(SAMPLES, 3, 6, 6)
    found = value("vkdnw(released=true)", network, x)
    assert found.cost.backwards == (7 if kind == "plain" else 9)  # two for each of three layers, and one
    monkeypatch.setattr(_output_fisher, "_by_parameter", lambda *_: (_ for _ in ()).throw(RuntimeError))
    by_class = value("vkdnw(released=true)", network, x)
    assert by_class.cost.backwards == 9
    assert found.value == pytest.approx(by_class.value, rel=1e-5)
    if kind == "plain":
        few = value("vkdnw", Many(7), x)
        assert few.cost.backwards == 7


def test_outputs_that_are_no_distribution() -> None:
    torch.manual_seed(11)
    network, inputs = draw(*NETWORKS["recommender"])
    for other in (network, nn.Linear(4, 1)):
        batch = inputs if other is network else torch.randn(SAMPLES, 4)
        result = value("vkdnw", other, batch)
        assert result.status == "not_applicable"
        assert "no distribution" in result.reason
    assert value("ntk_condition", network, inputs).ok


# --- the pass itself -------------------------------------------------------------------------------------------------


def test_the_cost_is_one_pass_for_all() -> None:
    network, inputs = draw(*NETWORKS["convolutional"])
    batch = (inputs, torch.arange(SAMPLES) % CLASSES)
    costs = {
        "ntk_condition, eigen_nas": (1, 1),
        "ntk_condition, ntk_mse, grad_sign": (1, 2),
        "grad_sign, vkdnw, eigen_nas": (1, 2 + CLASSES),
        "ntk_condition(coupled=true)": (1, SAMPLES),
    }
    for names, (forwards, backwards) in costs.items():
        for result in score(network, batch, proxies=names).values():
            assert (result.cost.forwards, result.cost.backwards) == (forwards, backwards), names


def test_values_are_the_same_alone_and_in_company(case: tuple[nn.Module, Inputs]) -> None:
    network, inputs = copy.deepcopy(case[0]).float(), _float(case[1])
    labels = torch.tensor([1.0, -2, 0.5, 3, -1])
    names = ["grad_sign", "vkdnw", "ntk_condition", "eigen_nas(coupled=true)", "zico", "l_swag", "linear_regions"]
    alone = {name: value(name, network, (inputs, labels), loss=own_loss) for name in names}
    for company in (names, names[::-1], ["snip", "jacob_cov", *names[3:], *names[:3]]):
        together = score(network, (inputs, labels), proxies=company, loss=own_loss)
        for name in names:
            assert repr(together[name].value) == repr(alone[name].value), name
            assert together[name].parts == alone[name].parts or not alone[name].ok


def test_the_pass_leaves_the_network_as_found(case: tuple[nn.Module, Inputs]) -> None:
    network, inputs = case
    next(network.parameters()).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    flags = [parameter.requires_grad for parameter in network.parameters()]
    batch = copy.deepcopy(inputs)
    state = torch.get_rng_state()
    value("grad_sign", network, (inputs, torch.ones(SAMPLES, dtype=torch.float64)), loss=own_loss)
    value("vkdnw", network, inputs)
    value("ntk_condition(coupled=true)", network, inputs)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert flags == [parameter.requires_grad for parameter in network.parameters()]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    for name in batch if isinstance(batch, dict) else ():
        assert torch.equal(batch[name], inputs[name])
    if not isinstance(batch, dict):
        assert torch.equal(batch, inputs)


class Lower(nn.Module):
    """A network that chooses its own precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.network(x).float()


def test_inference_mode_and_autocast() -> None:
    torch.manual_seed(12)
    network = convolutional().float()
    x, labels = torch.randn(SAMPLES, 3, 6, 6), torch.arange(SAMPLES) % CLASSES
    names = ["ntk_condition", "grad_sign", "vkdnw", "zico", "eigen_nas(coupled=true)"]
    expected = score(network, (x, labels), proxies=names)
    with torch.inference_mode():
        inside = score(network, (x.clone(), labels.clone()), proxies=names)
    assert {name: one.value for name, one in inside.items()} == {name: one.value for name, one in expected.items()}
    with torch.autocast("cpu", torch.bfloat16):
        outside = score(network, (x, labels), proxies=names)
    for found in (outside, score(Lower(network), (x, labels), proxies=names)):
        for name, one in found.items():
            assert one.ok, (name, one.reason)
            assert one.value == pytest.approx(expected[name].value, rel=0.5), name


@pytest.mark.parametrize("name", [one for one in list_proxies() if bind(one)[0].needs & (SAMPLE_NEEDS | Need.QUARTERS)])
def test_one_sample(name: str) -> None:
    torch.manual_seed(13)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    result = value(name, network, (torch.randn(1, 3, 6, 6), torch.tensor([1])))
    assert result.status in ("ok", "not_applicable"), result.reason
    assert result.ok or result.reason
