"""Opened models: ResNet-18, MobileNetV2 and ViTs written here, timm's where installed, and difficult code."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from subshot._types import TaskSpec
from subshot.costs.macs import count_macs
from subshot.costs.parameters import count_parameters
from subshot.errors import ArchError, NetworkError, OptionError
from subshot.spaces._space import Crossable, Encodable, Measurable
from subshot.spaces.around import AroundSpace, around
from subshot.spaces.choices import Space
from subshot.studies.study import search
from subshot.testing.spaces import SpaceContract

# --- models ----------------------------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    def __init__(self, c_in, c_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class ResNet18(nn.Module):
    def __init__(self, classes=10, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        for number in (1, 2, 3, 4):
            stride = 1 if number == 1 else 2
            blocks = [
                BasicBlock(widths[number - 1], widths[number], stride),
                BasicBlock(widths[number], widths[number]),
            ]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class ConvBNReLU(nn.Sequential):
    def __init__(self, c_in, c_out, kernel=3, stride=1, groups=1):
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(c_out), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    def __init__(self, c_in, c_out, stride, expand):
        super().__init__()
        inner = c_in * expand
        layers = [ConvBNReLU(c_in, inner, 1)] if expand != 1 else []
        layers += [ConvBNReLU(inner, inner, 3, stride, inner), nn.Conv2d(inner, c_out, 1, bias=False)]
        self.conv = nn.Sequential(*layers, nn.BatchNorm2d(c_out))
        self.use_res_connect = stride == 1 and c_in == c_out

    def forward(self, x):
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


MOBILENET_V2 = [
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
]  # fmt: skip


class MobileNetV2(nn.Module):
    def __init__(self, classes=10, last=1280):
        super().__init__()
        features, c_in = [ConvBNReLU(3, 32, 3, 2)], 32
        for expand, c_out, repeats, stride in MOBILENET_V2:
            for number in range(repeats):
                features.append(InvertedResidual(c_in, c_out, 1 if number else stride, expand))
                c_in = c_out
        self.features = nn.Sequential(*features, ConvBNReLU(c_in, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), (1, 1)).reshape(x.shape[0], -1))


class Attention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, dim // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, dim))


class EncoderBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.gamma = nn.Parameter(1e-5 * torch.ones(dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.gamma * self.mlp(self.norm2(x))


class ViT(nn.Module):
    """As published: class token, learned places, pre-norm blocks; the size of a token stands in the code too."""

    def __init__(self, classes=10, dim=48, heads=3, depth=4, patch=8, torch_layers=False):
        super().__init__()
        self.hidden_dim = dim
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, (32 // patch) ** 2 + 1, dim) * 0.02)
        if torch_layers:
            layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True)
            self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        else:
            self.blocks = nn.Sequential(*(EncoderBlock(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        batch = x.shape[0]
        x = self.patch_embed(x).reshape(batch, self.hidden_dim, -1).permute(0, 2, 1)
        x = torch.cat((self.cls_token.expand(batch, -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


EXAMPLE = torch.zeros(1, 3, 32, 32)
MODELS = {
    "resnet18": lambda: ResNet18(width=16),
    "mobilenet_v2": lambda: MobileNetV2(last=128),
    "vit": ViT,
    "vit_of_torch_layers": lambda: ViT(torch_layers=True),
}


@pytest.fixture(scope="module", params=MODELS)
def opened(request) -> tuple[nn.Module, AroundSpace]:
    torch.manual_seed(0)
    model = MODELS[request.param]()
    return model, around(model, EXAMPLE)


def test_models_here_are_the_published_ones() -> None:
    assert count_parameters(ResNet18(classes=1000)) == 11_689_512
    assert count_parameters(MobileNetV2(classes=1000)) == 3_504_872


SMALL = around(ViT(dim=16, heads=2, depth=2), EXAMPLE)


class TestContract(SpaceContract):
    @pytest.fixture
    def space(self):
        return SMALL

    def test_settings_rebuild_the_space(self, space):
        copy = pickle.loads(pickle.dumps(space))  # noqa: S301 - our own bytes
        assert copy == space
        arch = space.sample(np.random.default_rng(0))
        assert copy.measure(arch) == space.measure(arch)


# --- what the issue asks for -----------------------------------------------------------------------------------------


def outputs_of(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(images)


def test_the_unchanged_choice_is_the_model(opened) -> None:
    model, space = opened
    images = torch.randn(2, 3, 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = space.build(space.parse("unchanged"))
    assert space.format(space.start) == "unchanged"
    assert torch.equal(outputs_of(network, images), outputs_of(model, images))
    assert network is not model
    assert not {id(p) for p in network.parameters()} & {id(p) for p in model.parameters()}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_twenty_samples_run_and_are_what_their_text_says(opened) -> None:
    model, space = opened
    rng = np.random.default_rng(0)
    for _ in range(20):
        arch = space.sample(rng)
        network = space.build(arch)
        assert outputs_of(network, torch.randn(1, 3, 32, 32)).shape == (1, 10)
        assert space.parse(space.format(arch)) == arch
        modules = dict(network.named_modules())
        values = space.values(arch)
        for name, value in values.items():
            path, _, kind = name.rpartition(".")
            if kind == "width":
                assert modules[path].weight.shape[0] == value
                assert getattr(modules[path], "out_channels", getattr(modules[path], "out_features", 0)) == value
            elif kind == "kernel":
                assert modules[path].weight.shape[2:] == (value, value)
            elif kind == "heads":
                assert modules[path].num_heads == value
        depths = [value for name, value in values.items() if name.endswith("depth")]
        blocks = (BasicBlock, InvertedResidual, EncoderBlock, nn.TransformerEncoderLayer)
        fixed = {ResNet18: 4, MobileNetV2: 7, ViT: 0}[type(model)]  # the first of each stage
        if isinstance(model, ResNet18):
            fixed -= 1  # whose first stage begins with an ordinary one
        assert sum(isinstance(module, blocks) for module in modules.values()) == sum(depths) + fixed
        named = {"relu": nn.ReLU, "relu6": nn.ReLU6, "gelu": nn.GELU, "silu": nn.SiLU, "hardswish": nn.Hardswish}
        if "act" in values:
            for module in modules.values():
                assert not isinstance(module, tuple(named.values())) or type(module) is named[values["act"]]
        assert not [key for module in modules.values() for key in vars(module) if key.startswith("_subshot")]


def test_sizes_are_those_of_the_built_network(opened) -> None:
    _, space = opened
    assert isinstance(space, Measurable)
    assert isinstance(space, Crossable)
    assert isinstance(space, Encodable)
    rng = np.random.default_rng(1)
    for arch in [space.start, *(space.sample(rng) for _ in range(3))]:
        network, size = space.build(arch), space.measure(arch)
        assert (size.parameters, size.macs) == (count_parameters(network), count_macs(network, space.task))


def widths_after(space: AroundSpace, text: str) -> dict[str, int]:
    """Layers whose output width differs from the model's."""
    before = dict(space.build(space.start).named_modules())
    after = dict(space.build(space.parse(text)).named_modules())
    layers = (nn.Conv2d, nn.Linear)
    return {
        name: module.weight.shape[0]
        for name, module in after.items()
        if isinstance(module, layers) and module.weight.shape[0] != before[name].weight.shape[0]
    }


def test_residual_layers_of_resnet_are_coupled() -> None:
    space = around(ResNet18(width=16), EXAMPLE)
    assert widths_after(space, "conv1.width=8") == dict.fromkeys(
        ["conv1", "layer1.0.conv2", "layer1.1.conv2"], 8
    )  # fmt: skip
    stage = ["layer3.0.conv2", "layer3.0.downsample.0", "layer3.1.conv2"]
    assert widths_after(space, "layer3.0.downsample.0.width=96") == dict.fromkeys(stage, 96)
    assert widths_after(space, "layer3.1.conv1.width=32") == {"layer3.1.conv1": 32}
    names = space.choice_set.names
    assert sum(name.endswith(".width") for name in names) == 4 + 8
    assert sum(name.endswith(".depth") for name in names) == 4
    assert sum(name.endswith(".kernel") for name in names) == 17
    assert space.closed == {"fc.width": "its channels are the outputs"}


def test_streams_of_mobilenet_are_coupled_through_depthwise_layers() -> None:
    space = around(MobileNetV2(last=128), EXAMPLE)
    # Blocks 4 to 6 make the stage of 32 channels; their depthwise layers follow the layers before them.
    assert widths_after(space, "features.4.conv.2.width=48") == dict.fromkeys(
        [f"features.{n}.conv.2" for n in (4, 5, 6)], 48
    )  # fmt: skip
    assert widths_after(space, "features.5.conv.0.0.width=96") == dict.fromkeys(
        ["features.5.conv.0.0", "features.5.conv.1.0"], 96
    )  # fmt: skip
    network = space.build(space.parse("features.5.conv.0.0.width=96"))
    assert network.features[5].conv[1][0].groups == 96
    depths = [name for name in space.choice_set.names if name.endswith("depth")]
    assert depths == [f"features.{n}.depth" for n in (3, 5, 8, 12, 15)]


def test_a_stream_of_tokens_is_one_width() -> None:
    for torch_layers in (False, True):
        space = around(ViT(torch_layers=torch_layers), EXAMPLE)
        network = space.build(space.parse("patch_embed.width=60"))
        assert network.cls_token.shape == (1, 1, 60)
        assert network.pos_embed.shape == (1, 17, 60)
        assert network.hidden_dim == network.norm.normalized_shape[0] == network.head.in_features == 60
        assert all(v % 3 == 0 for v in space.choice_set.domains["patch_embed.width"].values)
        attention = "blocks.layers.0.self_attn" if torch_layers else "blocks.0.attn"
        assert space.choice_set.domains[f"{attention}.heads"].values == (1, 3, 6)


def test_choices_in_left_out_blocks_play_no_role() -> None:
    space = around(ResNet18(width=16), EXAMPLE)
    with pytest.raises(ArchError, match=r"layer1\.1\.conv1\.width plays no role.*layer1\.depth=2\|3"):
        space.parse("layer1.depth=1 layer1.1.conv1.width=8")
    with pytest.raises(ArchError, match=r"layer1\.depth is one of 1, 2, 3"):  # nothing else halves or widens there
        space.parse("layer1.depth=0")
    deep = space.build(space.parse("layer2.depth=2 layer2.1.conv1.width=16"))
    assert [block.conv1.out_channels for block in deep.layer2] == [32, 16, 16]
    assert len(space.build(space.parse("layer2.depth=0")).layer2) == 1


def test_text_names_what_differs() -> None:
    space = around(ResNet18(width=16), EXAMPLE)
    arch = space.parse("layer2.depth=2 act=gelu conv1.kernel=7")
    assert space.format(arch) == "act=gelu layer2.depth=2"


# --- fresh weights ---------------------------------------------------------------------------------------------------


def test_a_changed_network_has_fresh_weights() -> None:
    model = ViT()
    with torch.no_grad():
        model.head.weight.fill_(7)
        model.norm.weight.fill_(7)
    model.blocks[0].requires_grad_(False)
    space = around(model.train(), EXAMPLE)
    network = space.build(space.parse("patch_embed.width=60"))
    assert network.training
    assert network.head.weight.abs().max() < 1
    assert torch.equal(network.norm.weight, torch.ones(60))
    # What no rule reaches is like the model's.
    assert torch.equal(network.blocks[1].gamma, torch.full((60,), 1e-5))
    assert network.pos_embed.std().item() == pytest.approx(0.02, rel=0.15)
    assert not network.blocks[0].attn.qkv.weight.requires_grad
    same = space.build(space.parse("blocks.0.attn.heads=6"))
    assert torch.equal(same.pos_embed, model.pos_embed)
    assert not torch.equal(same.patch_embed.weight, model.patch_embed.weight)


def test_buffers_are_the_models() -> None:
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))
            self.conv = nn.Conv2d(3, 16, 3, padding=1)
            self.fc = nn.Linear(16, 10)

        def forward(self, x):
            return self.fc(F.relu(self.conv(x - self.mean)).mean((2, 3)))

    space = around(Normalised(), EXAMPLE)
    network = space.build(space.parse("conv.width=8"))
    assert network.mean.flatten().tolist() == [1, 2, 3]


# --- another task ----------------------------------------------------------------------------------------------------


def test_outputs_and_input_follow_the_task(opened) -> None:
    _, space = opened
    task = TaskSpec.images(1, 32, 32, classes=7)
    arch = space.sample(np.random.default_rng(3))
    for one in (space.start, arch):
        network = space.build(one, task)
        assert outputs_of(network, torch.randn(2, 1, 32, 32)).shape == (2, 7)
        size = space.measure(one, task)
        assert (size.parameters, size.macs) == (count_parameters(network), count_macs(network, task))


def test_outputs_that_no_layer_gives_stay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), TwoHeads())
    space = around(model, EXAMPLE)
    with pytest.raises(NetworkError, match="7 outputs are needed, and the model has 8"):
        space.build(space.start, TaskSpec.images(3, 32, 32, classes=7))


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x):
        x = x.mean((2, 3))
        return torch.cat((self.one(x), self.two(x)), dim=1)


# --- code that does what it likes ------------------------------------------------------------------------------------


class Gated(nn.Module):
    """Concatenation, a gate, a grouped convolution, a split, a flattened map and a shuffle."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 24, 3, padding=1)
        self.join = nn.Conv2d(40, 32, 1)
        self.grouped = nn.Conv2d(32, 64, 3, padding=1, groups=8)
        self.norm = nn.GroupNorm(4, 64)
        self.squeeze, self.excite = nn.Linear(64, 16), nn.Linear(16, 64)
        self.halve = nn.Conv2d(64, 48, 1)
        self.after = nn.Conv2d(24, 20, 3, padding=1)
        self.shuffled = nn.Conv2d(20, 12, 1)
        self.spatial = nn.Conv2d(12, 1, 7, padding=3)
        self.last = nn.Linear(12 * 4 * 4, 10)

    def forward(self, x):
        x = self.join(torch.cat([self.left(x), self.right(x)], 1).relu())
        x = self.norm(self.grouped(x))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))[:, :, None, None]
        first, second = self.halve(x).chunk(2, dim=1)
        x = self.after(first * second)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        x = self.shuffled(x)
        x = x * torch.sigmoid(self.spatial(x))
        return self.last(F.adaptive_avg_pool2d(x, 4).flatten(1))


def test_couplings_are_found_in_code() -> None:
    space = around(Gated(), EXAMPLE)
    assert widths_after(space, "left.width=24") == {"left": 24}
    assert space.build(space.parse("left.width=24 right.width=12")).join.in_channels == 36
    assert widths_after(space, "grouped.width=96") == {"grouped": 96, "excite": 96}
    assert all(value % 8 == 0 for value in space.choice_set.domains["join.width"].values)
    assert widths_after(space, "shuffled.width=18") == {"shuffled": 18}
    assert space.build(space.parse("shuffled.width=18")).last.in_features == 18 * 16
    assert "halve.width" in space.closed  # its halves are multiplied
    assert "spatial.width" in space.closed
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert outputs_of(space.build(space.sample(rng)), EXAMPLE).shape == (1, 10)


class Square(nn.Module):
    """Axes of the same length: only the movement of numbers tells channels from places."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 8, 8)
        self.across = nn.Linear(16, 16)
        self.mix = nn.Linear(16, 10)

    def forward(self, x):
        x = self.embed(x).flatten(2)  # 16 channels of 16 places
        return self.mix(self.across(x).transpose(1, 2).mean(1))


def test_axes_of_the_same_length_are_told_apart() -> None:
    space = around(Square(), EXAMPLE)
    assert widths_after(space, "embed.width=24") == {"embed": 24}
    network = space.build(space.parse("embed.width=24"))
    assert (network.across.in_features, network.across.out_features, network.mix.in_features) == (16, 16, 24)


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("width", [16, 24])  # as wide as the map, and not
def test_layer_norms_over_maps_follow_the_channels(width: int) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, width, 2, 2), LayerNorm2d(width), nn.Conv2d(width, 32, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.LayerNorm(32), nn.Linear(32, 10),
    )  # fmt: skip
    space = around(model, EXAMPLE)
    for arch in space.architectures():
        network, values = space.build(arch), space.values(arch)
        assert network[1].normalized_shape == (values["0.width"],)
        assert network[5].normalized_shape == (values["2.width"],)
        assert outputs_of(network, EXAMPLE).shape == (1, 10)


class NeedsValues(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.fc = nn.Linear(16, 10)
        self.shift = torch.tensor(0.5)  # no buffer: it doesn't move with the model

    def forward(self, x):
        x = self.conv(x) + self.shift
        return self.fc(x.mean((2, 3)) if x.sum().item() > -1e9 else x.amax((2, 3)))


def test_code_that_needs_values_is_run_with_values() -> None:
    model = NeedsValues()
    space = around(model, EXAMPLE)
    assert torch.equal(outputs_of(space.build(space.start), EXAMPLE), outputs_of(model, EXAMPLE))
    network = space.build(space.parse("conv.width=8 conv.kernel=5"))
    assert outputs_of(network, EXAMPLE).shape == (1, 10)
    assert not torch.equal(network.fc.bias, model.fc.bias)


class Stubborn(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.fc = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3), nn.Linear(24, 10)

    def forward(self, x):
        x = self.two(self.one(x))
        return self.fc(x.reshape(x.shape[0], 24, -1).mean(-1))


def test_what_does_not_run_stays_and_says_why() -> None:
    space = around(Stubborn(), EXAMPLE)
    assert "one.width" in space.choice_set.names
    assert "two.width" not in space.choice_set.names
    # Widths that fit the fixed number run, but bring numbers of different channels together.
    assert "order" in space.closed["two.width"] or "shape" in space.closed["two.width"]
    assert space.build(space.parse("one.width=8")).two.in_channels == 8


def test_shared_weights_stay() -> None:
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.a, self.b = nn.Linear(3, 16), nn.Linear(16, 16), nn.Linear(16, 16)
            self.b.weight = self.a.weight
            self.free, self.fc = nn.Linear(16, 32), nn.Linear(32, 10)

        def forward(self, x):
            return self.fc(self.free(self.b(self.a(self.stem(x.mean((2, 3)))))))

    space = around(Tied(), EXAMPLE)
    assert space.choice_set.names == ("free.width",)
    assert "shares its weights" in space.closed["a.width"]


def test_a_layer_that_is_called_twice_couples_its_inputs() -> None:
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(3, 16, 3)
            self.shared, self.fc = nn.Conv2d(16, 32, 1), nn.Linear(32, 10)

        def forward(self, x):
            return self.fc(self.shared(self.a(x)).mean((2, 3)) - self.shared(self.b(x)).mean((2, 3)))

    assert widths_after(around(Twice(), EXAMPLE), "a.width=24") == {"a": 24, "b": 24}


def test_an_example_is_found_where_none_is_given() -> None:
    resnet, vit = ResNet18(width=8), ViT()
    assert Space.around(resnet).task == TaskSpec.images(3, 224, 224, classes=10)
    assert Space.around(vit).task == TaskSpec.images(3, 32, 32, classes=10)
    # The weights fit images of any size, and so they are kept.
    network = Space.around(resnet).build(Space.around(resnet).start, TaskSpec.images(3, 32, 32, classes=10))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(outputs_of(network, images), outputs_of(resnet, images))
    with pytest.raises(OptionError, match=r"accepts no image of 3 channels.*Give an example"):
        around(nn.Linear(5, 5))
    with pytest.raises(NetworkError, match="lazy parameters"):
        around(nn.Sequential(nn.Flatten(), nn.LazyLinear(5)))


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_model_that_fails_is_named_where_it_fails() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.ReLU(), nn.Linear(5, 5)))
    with pytest.raises(NetworkError, match=r"fails on the example of shape \(1, 3, 32, 32\), in 1\.1: RuntimeError"):
        around(model, EXAMPLE)


def test_a_model_without_choices_is_refused() -> None:
    with pytest.raises(
        NetworkError, match=r"Nothing in the model can be chosen.*0\.width: its channels are the outputs"
    ):
        around(nn.Sequential(nn.Linear(32, 10)), EXAMPLE)


@pytest.mark.parametrize(
    "options", [{"widths": (0.0,)}, {"kernels": (4,)}, {"activations": ("relu", "tahn")}, {"widths": (float("inf"),)}]
)
def test_settings_outside_their_range_are_refused(options) -> None:
    with pytest.raises(OptionError, match="was given to choose from"):
        around(ResNet18(width=8), EXAMPLE, **options)


def test_something_else_than_a_model_is_refused() -> None:
    with pytest.raises(OptionError, match="around str and Tensor"):
        around("resnet18", EXAMPLE)


def test_settings_decide_what_there_is_to_choose() -> None:
    space = Space.around(ResNet18(width=16), EXAMPLE)
    small = around(ResNet18(width=16), EXAMPLE, widths=(0.5, 1.0), kernels=(3,), activations=("silu",), name="mine")
    assert small.choice_set.domains["conv1.width"].values == (8, 16)
    assert small.choice_set.domains["act"].values == ("relu", "silu")
    assert small.choice_set.domains["conv1.kernel"].values == (3, 7)
    assert small.name == small.sample(np.random.default_rng(0)).space == "mine"
    assert small != space
    assert small.network_settings("own") != space.network_settings("own")


# --- in a study ------------------------------------------------------------------------------------------------------

FILE = """
import torch
from torch import nn
from subshot.spaces.choices import Space

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 16, 3, padding=1), nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))

def space():
    torch.manual_seed(0)
    return Space.around(Small(), torch.zeros(1, 1, 8, 8))
"""


def test_workers_search_around_a_model_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from subshot.spaces._source import load_space

    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "own_model_for_workers.py"
    path.write_text(FILE)
    space = load_space(f"{path}:space")
    assert space.name == f"{path}:space"
    images = np.random.default_rng(0).random((8, 1, 8, 8), dtype=np.float32)
    one, two = (
        search(space, data=images, strategy="random", budget=6, batch_size=8, workers=workers) for workers in (1, 2)
    )
    assert [row.scores["swap"].value for row in one.rows] == [row.scores["swap"].value for row in two.rows]
    assert all(row.scores["swap"].ok for row in two.rows)
    assert all(row.costs["params"] > 0 for row in two.rows)


# --- models of timm --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("resnet18", {}, 64),
        ("mobilenetv2_100", {}, 64),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 3}, 64),
        ("convnext_atto", {}, 64),
        ("mobilenetv3_small_100", {}, 64),
    ],
)
def test_models_of_timm_are_opened(name: str, options: dict[str, int], size: int) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed", exc_type=Exception)
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **options)
    example = torch.randn(1, 3, size, size)
    space = around(model, example)
    assert torch.equal(outputs_of(space.build(space.start), example), outputs_of(model, example))
    kinds = {name.rpartition(".")[2] for name in space.choice_set.names}
    assert {"width", "depth", "act"} <= kinds
    assert ("heads" if name.startswith("vit") else "kernel") in kinds
    rng = np.random.default_rng(0)
    for _ in range(20):
        output = outputs_of(space.build(space.sample(rng)), example)
        assert output.shape == (1, 10)
        assert output.isfinite().all()
