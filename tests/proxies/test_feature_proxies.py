"""Proxies of feature maps against NumPy on maps that are taken by hand, and against cases whose answer is known."""

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot._seeds import stable_rng
from subshot._types import Protocol
from subshot.errors import OptionError
from subshot.networks.nasbench201 import NasBench201Network
from subshot.proxies._blocks import find_blocks
from subshot.proxies._evidence import Evidence, look
from subshot.proxies._prepare import prepared
from subshot.proxies._proxy import Need, Reading, bind
from subshot.proxies._score import score
from subshot.proxies._spectra import fold_to, largest_singular_value, random_signs
from subshot.spaces._space import get_space

NAMES = [
    "meco",
    "meco(opt=true)",
    "meco(modules=all)",
    "near",
    "az_expressivity",
    "az_progressivity",
    "az_trainability",
    "w_pca",
]
FEATURES = Need.CORRELATION | Need.EFFECTIVE_RANK | Need.BLOCKS | Need.TRAINABILITY | Need.HIDDEN


def evidence(
    network: nn.Module, batch: object, needs: Need = FEATURES, *, seed: int = 0, norm: str = "batch"
) -> Evidence:
    with prepared(network, batch_norm=norm, keep_parameters=False):
        return look(network, batch, needs, seed=seed)  # type: ignore[arg-type]


def read(network: nn.Module, batch: object, name: str, *, seed: int = 0, norm: str = "batch") -> Reading:
    (bound,) = bind(name)
    return bound.read(evidence(network, batch, bound.needs, seed=seed, norm=norm))


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().double()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
    layer.weight.data.copy_(weight)
    return layer


def orthogonal(size: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(noise(size, size, seed=seed))[0]


class Residual(nn.Module):
    """One activation module run twice, in place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.relu = nn.Conv2d(width, width, 1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.relu(self.norm1(self.conv1(x))))
        y += x
        return self.relu(y)


class Small(nn.Module):
    """A stem, a residual block, one that changes its input in place and halves the map, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5))
        self.residual = Residual(5)
        self.down = nn.Sequential(
            nn.Hardtanh(0.2, 1.5, inplace=True), nn.Conv2d(5, 7, 3, stride=2, padding=1), nn.GELU()
        )
        self.head = nn.Linear(7, 4)

    def feature_blocks(self) -> list[nn.Module]:
        return [self.stem, self.residual, self.down]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.down(self.residual(self.stem(x))).mean((2, 3)))


def by_hand(network: Small, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of layers in the order of runs, and of blocks; by another path than the modules' own."""
    net = copy.deepcopy(network).train()
    layers = []

    def keep(y: Tensor) -> Tensor:
        layers.append(y.detach().clone())
        return y

    def norm(m: nn.BatchNorm2d, y: Tensor) -> Tensor:
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, correction=0)
        return (y - mean) / (var + m.eps).sqrt() * m.weight[:, None, None] + m.bias[:, None, None]

    stem = keep(norm(net.stem[1], keep(net.stem[0](x))))
    r = net.residual
    y = keep(r.conv2(keep(keep(norm(r.norm1, keep(r.conv1(stem)))).relu())))
    residual = keep((stem + y).relu())
    down = keep(F.gelu(keep(net.down[1](keep(residual.clamp(0.2, 1.5))))))
    keep(net.head(down.mean((2, 3))))
    return layers, [one.detach() for one in (stem, residual, down)]


@pytest.fixture
def small() -> Small:
    network = seeded(Small)
    assert isinstance(network, Small)
    return network


def smallest(rows: np.ndarray) -> float:
    """Smallest eigenvalue of the rows' correlation, as the released code has it but for the solver."""
    with np.errstate(all="ignore"):
        matrix = np.nan_to_num(np.corrcoef(rows), nan=0, posinf=0, neginf=0)
    return float(np.linalg.eigvalsh(np.atleast_2d(matrix))[0])


def effective_rank(rows: np.ndarray) -> float:
    values = np.linalg.svd(rows, compute_uv=False)
    p = values[values > 0] / values.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def entropy(maps: Tensor) -> float:
    rows = maps.movedim(1, -1).reshape(-1, maps.shape[1]).numpy()
    values = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
    p = values / values.sum()
    return float(-(p * np.log(p + 1e-8)).sum())


# Plain restatements.


def test_meco_is_the_sum_of_smallest_eigenvalues(small: Small) -> None:
    x = noise(6, 3, 9, 9)
    layers, _ = by_hand(small, x)
    terms = [smallest(one[0].flatten(1).numpy()) for one in layers if one.dim() == 4]
    reading = read(small, x, "meco")
    assert reading.value == pytest.approx(sum(terms), rel=1e-9)
    assert reading.parts["layers"] == len(layers)
    assert min(terms) < 0.5 < sum(terms)


def test_meco_of_all_modules_counts_containers_and_root(small: Small) -> None:
    x = noise(6, 3, 9, 9)
    layers, blocks = by_hand(small, x)
    leaves = sum(smallest(one[0].flatten(1).numpy()) for one in layers if one.dim() == 4)
    around = sum(smallest(one[0].flatten(1).numpy()) for one in blocks)  # three containers; the root gives vectors
    reading = read(small, x, "meco(modules=all)")
    assert reading.value == pytest.approx(leaves + around, rel=1e-9)
    assert reading.parts["layers"] == len(layers) + 4


def test_meco_opt_takes_eight_channels() -> None:
    network, x = seeded(lambda: nn.Sequential(nn.Conv2d(3, 20, 3), nn.Tanh(), nn.Conv2d(20, 6, 1))), noise(2, 3, 12, 12)
    maps = [network[:n](x)[0].flatten(1).detach().numpy() for n in (1, 2, 3)]
    drawn = [stable_rng(7, "channels", n).choice(20, 8, replace=False, shuffle=False) for n in (0, 1)]
    terms = [smallest(maps[0][drawn[0]]) * 20 / 8, smallest(maps[1][drawn[1]]) * 20 / 8, smallest(maps[2])]
    assert read(network, x, "meco(opt=true)", seed=7).value == pytest.approx(sum(terms), rel=1e-9)


def test_near_is_the_sum_of_effective_ranks(small: Small) -> None:
    x = noise(6, 3, 9, 9)
    layers, _ = by_hand(small, x)
    total = 0.0
    for index, one in enumerate(layers):
        rows = one.movedim(1, -1).reshape(-1, one.shape[1]).numpy()
        if len(rows) > rows.shape[1]:
            rows = rows[stable_rng(5, "rows", index).choice(len(rows), rows.shape[1], replace=False, shuffle=False)]
        total += effective_rank(rows)
    reading = read(small, x, "near", seed=5)
    assert reading.value == pytest.approx(total, rel=1e-9)
    assert not reading.warnings
    assert read(small, x[:3], "near").warnings  # three rows of seven features in the head


def test_az_parts_are_entropies_and_gains(small: Small) -> None:
    x = noise(6, 3, 9, 9)
    _, blocks = by_hand(small, x)
    entropies = [entropy(one) for one in blocks]
    assert read(small, x, "az_expressivity").value == pytest.approx(sum(entropies), rel=1e-9)
    for block, maps in zip(evidence(small, x).features.blocks, blocks, strict=True):
        covariance = np.cov(maps.transpose(0, 1).flatten(1).numpy(), bias=True)
        assert block.spectrum is not None
        np.testing.assert_allclose(block.spectrum.numpy(), np.linalg.eigvalsh(covariance), rtol=1e-9, atol=1e-12)
    steps = np.diff(entropies)
    assert read(small, x, "az_progressivity").value == pytest.approx(steps.min(), rel=1e-6)

    training = copy.deepcopy(small).train()
    terms = []
    for index, (before, block) in enumerate(zip(blocks, [training.residual, training.down], strict=False)):
        after = blocks[index + 1]
        signs = random_signs(after, 3, index)
        given = before.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(block(given.clone()), given, signs)
        if gradient.shape[2:] != after.shape[2:]:  # 9 to 5 positions: stride 2, one more row and column of zeros
            gradient = F.pixel_unshuffle(F.pad(gradient, (0, 1, 0, 1)), 2)
        v, u = (one.movedim(1, -1).reshape(-1, one.shape[1]).numpy() for one in (gradient, signs))
        s = np.linalg.svd(v.T @ u / len(u), compute_uv=False)[0]
        terms.append(2 - s - 1 / (s + 1e-6))
    assert read(small, x, "az_trainability", seed=3).value == pytest.approx(np.mean(terms), rel=1e-7)


def test_random_signs_are_fair_and_their_own() -> None:
    signs = random_signs(torch.empty(100, 101), 0, 0)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 0.05
    assert not torch.equal(signs, random_signs(signs, 0, 1))
    assert not torch.equal(signs, random_signs(signs, 1, 0))
    assert torch.equal(signs, random_signs(signs, 0, 0))


def test_folding_is_pixel_unshuffle_up_to_the_order_of_channels() -> None:
    maps = noise(2, 3, 8, 4)
    assert torch.equal(
        fold_to(maps, [4, 2]).sort(dim=1).values, F.pixel_unshuffle(maps, 2).sort(dim=1).values
    )  # fmt: skip
    assert torch.equal(fold_to(maps, [8, 4]), maps)


# Cases with known answers.


def test_meco_of_white_noise() -> None:
    """Marchenko and Pastur: the smallest eigenvalue is about (1 - sqrt(channels / pixels))^2."""
    conv = nn.Conv2d(16, 16, 1, bias=False).double()
    conv.weight.data.copy_(torch.eye(16)[:, :, None, None])
    value = read(nn.Sequential(conv, nn.Flatten()), noise(1, 16, 64, 64), "meco").value
    assert value == pytest.approx((1 - math.sqrt(16 / 4096)) ** 2, rel=0.03)


def test_meco_is_zero_for_dead_channels_and_few_positions() -> None:
    conv = nn.Conv2d(3, 6, 1).double()
    conv.weight.data[2], conv.bias.data[2] = 0, 1 / 3
    assert read(nn.Sequential(conv, nn.Flatten()), noise(2, 3, 8, 8), "meco").value == 0
    many = seeded(lambda: nn.Sequential(nn.Conv2d(3, 9, 3), nn.Flatten()))
    few = read(many, noise(2, 3, 5, 5), "meco")  # nine channels, nine positions
    assert few.value == 0
    assert "any weights" in few.warnings[0]
    assert not read(many, noise(2, 3, 6, 6), "meco").warnings


@pytest.mark.parametrize("shape", [(2, 9, 2, 2), (2, 9, 3, 3), (3, 9), (16, 9)])
def test_the_largest_singular_value_of_few_and_of_many_rows(shape: tuple[int, ...]) -> None:
    before, after = noise(*shape), noise(shape[0], 12, *shape[2:])
    one, two = (t.movedim(1, -1).flatten(0, -2).numpy() for t in (before, after))
    expected = np.linalg.norm(one.T @ two, ord=2) / len(one)
    assert largest_singular_value(before, after) == pytest.approx(expected, rel=1e-12)
    before[0, 0] = math.nan
    assert math.isnan(largest_singular_value(before, after))


def test_near_of_orthogonal_and_of_equal_rows() -> None:
    network = nn.Sequential(linear(torch.eye(6)), nn.Identity())
    assert read(network, 5 * orthogonal(6), "near").value == pytest.approx(6, rel=1e-9)
    assert read(network, noise(1, 6).repeat(9, 1), "near").value == pytest.approx(1, abs=1e-6)
    assert read(network, torch.zeros(9, 6).double(), "near").value == 0


def test_az_of_isotropic_features() -> None:
    """Uncorrelated features of equal variance: each block has the logarithm of its width."""
    rows = noise(64, 6)
    white = torch.linalg.qr(rows - rows.mean(0))[0]
    network = nn.Sequential(linear(torch.eye(6)), linear(orthogonal(6)), linear(orthogonal(6, 1)[:4]))
    assert read(network, white, "az_expressivity").value == pytest.approx(2 * math.log(6) + math.log(4), rel=1e-6)
    assert read(network, white, "az_progressivity").value == pytest.approx(math.log(4 / 6), rel=1e-6)


def test_az_trainability_of_an_orthogonal_map_is_near_zero() -> None:
    convs = [nn.Conv2d(4, 4, 1, bias=False).double() for _ in range(2)]
    for index, conv in enumerate(convs):
        conv.weight.data.copy_(orthogonal(4, index)[:, :, None, None])
    x = noise(16, 4, 32, 32)
    value = read(nn.Sequential(*convs), x, "az_trainability").value
    assert -2e-3 < value < 0
    convs[1].weight.data *= 3
    assert read(nn.Sequential(*convs), x, "az_trainability").value == pytest.approx(2 - 3 - 1 / 3, abs=0.1)


class Named(nn.Module):
    """Given modules one after the other, named as blocks."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.given = nn.ModuleList(blocks)

    def feature_blocks(self) -> list[nn.Module]:
        return list(self.given)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.given:
            x = block(x)
        return x.flatten(1)


class Forget(nn.Module):
    """Zeros, as a cell without paths."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def test_az_trainability_of_a_skip_and_of_a_cut() -> None:
    x, conv = noise(2, 3, 4, 4), seeded(lambda: nn.Conv2d(3, 3, 1))
    skip = score(Named(conv, nn.Identity()), x, proxies="az_trainability")["az_trainability"]
    assert (skip.value, skip.status) == (-math.inf, "-inf")
    assert "given.1 hands gradients on unchanged" in skip.warnings[0]
    assert read(Named(conv, Forget()), x, "az_trainability").value == pytest.approx(2 - 1e6)
    cut = Named(conv, Forget(), nn.Identity(), seeded(lambda: nn.Conv2d(3, 3, 1), 1))
    assert read(cut, x, "az_trainability").value == -math.inf
    reading = read(Named(conv, Forget()), x, "az_expressivity")
    assert reading.not_applicable == "the output of block given.1 is constant"
    # Between tokens a skip is left out.
    tokens, first, last = noise(2, 5, 4), linear(orthogonal(4)), linear(2 * orthogonal(4, 1))
    with_skip, without = Named(first, nn.Identity(), last), Named(first, last)
    assert evidence(with_skip, tokens).features.blocks[1].identity
    assert math.isfinite(read(with_skip, tokens, "az_trainability").value)
    assert read(without, tokens, "az_trainability").value < 0
    assert read(Named(first, nn.Identity()), tokens, "az_trainability").not_applicable


def test_w_pca_counts_principal_components() -> None:
    """Ten directions of equal variance: .99 takes all ten, .85 takes nine, one half one more than five."""
    rows = noise(60, 10)
    white = torch.linalg.qr(rows - rows.mean(0))[0]
    network = nn.Sequential(linear(torch.cat([torch.eye(10), torch.ones(14, 10)]).double()), nn.GELU())
    network[0].weight.data[10:] = 0
    batch = white.reshape(6, 10, 10)
    reading = read(network, batch, "w_pca")
    assert reading.parts == {"v_pca": 10.0, "parameters": 240.0, "layers": 1.0}
    assert reading.value == 2400
    assert not reading.warnings
    assert read(network, batch, "w_pca(eta=0.85, weighted=false)").value == 9
    assert read(network, batch, "w_pca(eta=0.42, weighted=false)").value == 5
    # Fewer tokens than features: the spectrum comes from the smaller product, and is capped.
    few = read(network, batch[:1], "w_pca(eta=0.9999999, weighted=false)")
    assert few.value == 9
    assert few.warnings
    assert read(network, torch.zeros_like(batch), "w_pca").value == 0


@pytest.mark.parametrize("eta", [0.0, 1.0, -3.0])
def test_w_pca_refuses_shares_that_are_none(eta: float) -> None:
    with pytest.raises(OptionError, match="between 0 and 1"):
        bind(f"w_pca(eta={eta})")


def test_meco_refuses_unknown_modules() -> None:
    with pytest.raises(OptionError, match="layers or all"):
        bind("meco(modules=some)")


class FeedForward(nn.Module):
    """Feed-forward layers in several forms; what isn't one doesn't count."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 9), nn.Linear(9, 4)
        self.gate, self.up, self.down = nn.Linear(4, 11), nn.Linear(4, 11), nn.Linear(11, 4)
        self.relu, self.drop, self.head = nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.second(self.relu(self.first(x)))  # in place
        gate = self.gate(x)
        x = x + self.down(F.silu(gate) * F.softsign(self.up(x)) + F.relu(gate))  # two activations of one layer
        x = F.relu(x)  # of a sum
        x = x + self.second(torch.tanh(input=self.first(x)))  # used again
        return F.relu(self.head(x.mean(1)))  # of vectors


def test_w_pca_finds_the_first_layers_of_feed_forward_networks() -> None:
    network, x = seeded(FeedForward), noise(8, 5, 4)
    hidden = evidence(network, x).features.hidden
    assert [(one.name, one.width, one.rows) for one in hidden] == [("first", 9, 40), ("gate", 11, 40), ("first", 9, 40)]
    rows = network.first(x).detach().reshape(-1, 9).numpy()
    np.testing.assert_allclose(hidden[0].spectrum.numpy(), np.linalg.eigvalsh(np.cov(rows.T)), atol=1e-12)


@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer_encoder(batch_first: bool) -> None:
    """Torch's encoder by hand: layers are blocks, the first sample is found on either axis."""
    samples, tokens = 5, 12

    def make() -> nn.Module:
        layer = nn.TransformerEncoderLayer(8, 2, 10, 0.2, "gelu", batch_first=batch_first, norm_first=True)
        return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    encoder, x = seeded(make), noise(samples, tokens, 8)

    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.encoder = linear(orthogonal(8)), encoder

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            return self.encoder(x if batch_first else x.transpose(0, 1))

    network = Embedded()
    plain = copy.deepcopy(network).eval()
    with torch.no_grad():
        streams = [plain.embed(x) if batch_first else plain.embed(x).transpose(0, 1)]
        hidden, norms = [], []
        for layer in plain.encoder.layers:
            y = streams[-1] + layer._sa_block(layer.norm1(streams[-1]), None, None)
            hidden.append(layer.linear1(layer.norm2(y)))
            norms += [layer.norm1(streams[-1]), layer.norm2(y), hidden[-1], layer.linear2(F.gelu(hidden[-1]))]
            streams.append(y + layer.linear2(F.gelu(hidden[-1])))
    entropies = [entropy(one.movedim(-1, 1)) for one in streams]
    found = evidence(network, x, FEATURES | Need.MACS)
    assert [block.name for block in found.features.blocks] == ["embed", *(f"encoder.layers.{n}" for n in range(3))]
    assert all(block.tokens for block in found.features.blocks)
    (bound,) = bind("az_expressivity")
    assert bound.read(found).value == pytest.approx(sum(entropies), rel=1e-9)
    firsts = [one[0] if batch_first else one[:, 0] for one in norms]
    expected = sum(smallest(one.T.numpy()) for one in [plain.embed(x)[0].detach(), *firsts])
    (bound,) = bind("meco")
    assert bound.read(found).value == pytest.approx(expected, rel=1e-8)
    assert [one.rows for one in found.features.hidden] == [samples * tokens] * 3
    rows = hidden[1].reshape(-1, 10).numpy()
    np.testing.assert_allclose(
        found.features.hidden[1].spectrum.numpy(), np.linalg.eigvalsh(np.cov(rows.T)), atol=1e-12
    )
    assert all(block.gain is not None for block in found.features.blocks[1:])
    assert found.macs == evidence(network, x, Need.MACS).macs  # products of our own are left out


# Blocks.


def test_blocks_of_spaces() -> None:
    for name, stem in (("nasbench201", 1), ("darts", 1)):
        space = get_space(name)
        network = space.build(space.sample(np.random.default_rng(0)), variant=space.variants[0])
        blocks, guessed = find_blocks(network)
        assert not guessed
        assert len(blocks) == (18 if name == "nasbench201" else stem + len(network.cells))  # type: ignore[arg-type]
    operations = ["nor_conv_3x3", "skip_connect", "nor_conv_1x1", "avg_pool_3x3", "none", "skip_connect"]
    small = seeded(lambda: NasBench201Network(operations, channels=4, cells=1, image_channels=3, classes=5))
    names = [block.name for block in evidence(small, noise(3, 3, 8, 8)).features.blocks]
    stages = ["stages.0.cell_0", "stages.1.reduction", "stages.1.cell_0", "stages.2.reduction", "stages.2.cell_0"]
    assert names == ["stem", *stages]


def test_guessed_blocks() -> None:
    class Wrapper(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

    residuals = [Residual(4), Residual(4)]
    stages = nn.ModuleList([nn.Sequential(*residuals), Residual(5)])
    stem, head = nn.Conv2d(3, 4, 1), nn.Linear(5, 2)
    network = Wrapper(Wrapper(nn.Sequential(stem, nn.ReLU(), stages, nn.Flatten(), head, residuals[0])))
    assert find_blocks(network) == ([stem, *residuals, stages[1], head], True)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 1, 4), 2, nn.LayerNorm(4), enable_nested_tensor=False)
    assert find_blocks(nn.ModuleList([stem, encoder]))[0] == [stem, *encoder.layers, encoder.norm]
    branches = nn.Module()
    branches.paths = nn.ModuleList([nn.Sequential(stem), nn.Sequential(stem)])
    assert find_blocks(nn.Sequential(stem, branches))[0] == [stem, branches]  # not a stack: parallel paths
    small = Small()
    assert find_blocks(Wrapper(small)) == (small.feature_blocks(), False)


def test_guessed_vectors_do_not_count_beside_maps() -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 5)))
    assert [one.name for one in evidence(network, noise(4, 3, 6, 6)).features.blocks] == ["0", "1"]


def test_one_block_is_not_enough() -> None:
    network = nn.Sequential(nn.Flatten(), linear(orthogonal(4)))
    for name in ("az_expressivity", "az_progressivity", "az_trainability"):
        assert "feature_blocks" in read(network, noise(8, 4), name).not_applicable


def test_norms_that_are_off_are_no_blocks() -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), nn.Conv2d(4, 4, 1)))
    x = noise(4, 3, 6, 6)
    found = evidence(network, x, norm="off").features.blocks
    assert [one.name for one in found] == ["0", "3"]
    assert found[1].gain is not None
    assert len(evidence(network, x).features.blocks) == 3


def test_guessed_blocks_side_by_side_have_no_trainability(specimen: object) -> None:
    network, inputs = specimen.draw(1, 6)  # type: ignore[attr-defined]
    results = score(network, inputs, proxies=NAMES)
    for name, result in results.items():
        assert result.status != "failed", (name, result.reason)
    if specimen.name == "recommender":  # type: ignore[attr-defined]
        assert "doesn't depend on" in results["az_trainability"].reason
        assert results["az_expressivity"].ok


# How the look is shared.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_alone_and_in_company_and_nothing_is_left(specimen: object, dtype: torch.dtype) -> None:
    network, inputs = specimen.draw(2, 6)  # type: ignore[attr-defined]
    if dtype == torch.float64:
        network = network.double()
        inputs = (
            {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
            if isinstance(inputs, dict)
            else (inputs.double() if inputs.is_floating_point() else inputs)
        )
    labels = torch.arange(6) % 2
    others = ["swap", "nwot", "macs", "jacob_cov", "grad_norm", "fisher", "grasp"]
    before = copy.deepcopy(network.state_dict())
    together = score(network, (inputs, labels), proxies=[*NAMES, *others], seed=3)
    for name in [*NAMES, *others]:
        (alone,) = score(network, (inputs, labels), proxies=name, seed=3).values()
        assert repr(alone.value) == repr(together[name].value), name
        assert alone.reason == together[name].reason, name
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_frozen_weights_and_graphless_callers_change_nothing(small: Small) -> None:
    x = noise(6, 3, 9, 9)
    expected = score(small, x, proxies=NAMES)
    for parameter in small.parameters():
        parameter.requires_grad_(False)
    with torch.inference_mode():
        frozen = score(small, x, proxies=NAMES)
    assert {name: repr(one.value) for name, one in frozen.items()} == {
        name: repr(one.value) for name, one in expected.items()
    }
    assert expected["az_trainability"].cost.backwards == 1
    assert score(small, x, proxies=["meco", "near", "az_expressivity"])["near"].cost.backwards == 0


def test_seeds_decide_draws_and_nothing_else_does(small: Small) -> None:
    x = noise(6, 3, 9, 9)
    protocols = [Protocol(initialisation="keep", weights="given", seed=seed) for seed in (0, 1)]
    first, second = (score(small, x, proxies=NAMES, protocol=one) for one in protocols)
    for name in ("near", "az_trainability"):
        assert first[name].value != second[name].value
    for name in ("meco", "az_expressivity", "az_progressivity"):
        assert first[name].value == second[name].value
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert repr(score(small, x, proxies=NAMES, protocol=protocols[0])["near"].value) == repr(first["near"].value)


def test_wrapping_a_layer_changes_no_value() -> None:
    layers = seeded(lambda: nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(True), nn.Conv2d(12, 6, 1)))
    wrapped = nn.Sequential(nn.Sequential(nn.Sequential(layers[0]), layers[1]), nn.Identity(), layers[2], layers[3])
    x = noise(3, 3, 9, 9)
    for name in ("meco", "meco(opt=true)", "near"):
        assert read(layers, x, name).value == read(wrapped, x, name).value
    assert read(layers, x, "meco(modules=all)").value < read(wrapped, x, "meco(modules=all)").value


def test_large_maps_are_taken_in_slices(monkeypatch: pytest.MonkeyPatch, small: Small) -> None:
    from subshot.proxies import _spectra

    x = noise(6, 3, 9, 9)
    whole = {name: read(small, x, name).value for name in NAMES[4:7]}
    monkeypatch.setattr(_spectra, "_SLICE", 500)
    for name, value in whole.items():
        assert read(small, x, name).value == pytest.approx(value, rel=1e-9)


def test_samples_folded_into_the_batch() -> None:
    """Windows of one sample stand together; its positions are those of all its windows."""

    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.apart = nn.Linear(4, 3), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.apart(torch.zeros(7, 2, dtype=x.dtype))  # not of the samples
            return self.layer(x.reshape(-1, 4)).reshape(len(x), -1)

    network, x = seeded(Folded), noise(6, 10, 4)
    (only,) = evidence(network, x).features.maps[:1]
    assert (only.name, only.positions, only.rows) == ("layer", 10, 60)
    assert only.correlation == pytest.approx(smallest(network.layer(x[0]).detach().T.numpy()), rel=1e-9)
