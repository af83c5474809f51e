"""A look leaves no trace, whatever happens in it, and batch norm does what its mode says."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from subshot._types import Protocol
from subshot.errors import OptionError
from subshot.proxies._prepare import prepared
from subshot.proxies._score import score


class Delicate(nn.Module):
    """Everything a look might disturb."""

    def __init__(self, *, raises: bool = False) -> None:
        super().__init__()
        self.raises = raises
        self.conv = nn.Conv2d(3, 4, 3)
        self.frozen = nn.BatchNorm2d(4).eval()  # a mode of its own inside a training network
        self.untracked = nn.BatchNorm2d(4, track_running_stats=False)
        self.cumulative = nn.BatchNorm2d(4, momentum=None, affine=False)
        self.instance = nn.InstanceNorm2d(4, track_running_stats=True, affine=True)
        self.dropout = nn.Dropout(0.4)
        self.attention = nn.TransformerEncoderLayer(4, 2, 8, 0.1, batch_first=True)
        self.bare = nn.Parameter(torch.randn(4))
        self.register_buffer("calls", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("replaced", torch.zeros(2))
        self.register_buffer("cache", None)
        self.register_buffer("passing", torch.ones(3), persistent=False)
        self.eval_calls = 0
        self.conv.weight.requires_grad_(False)
        self.conv.register_forward_hook(lambda module, inputs, output: None)
        self.dropout.register_forward_pre_hook(lambda module, inputs: None)

    def train(self, mode: bool = True) -> "Delicate":
        """Some modules merge or freeze weights here; a look must not set that off."""
        self.eval_calls = getattr(self, "eval_calls", 0) + (not mode)
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mul_(1.5)  # the batch itself
        self.calls += 1
        with torch.enable_grad():
            (self.bare * self.attention.linear2.bias).sum().backward()  # energies and forces do this
        self.passing.mul_(2)
        self.replaced = self.replaced + 1
        self.cache = torch.ones(3)
        x = self.untracked(self.frozen(self.conv(x)))
        x = self.instance(self.cumulative(F.relu(x))) + torch.rand_like(x)
        x = self.attention(self.dropout(x).flatten(2).transpose(1, 2) + self.bare)
        if self.raises:
            raise RuntimeError("in the middle")
        return x.mean(1)


def bits(tensor: Tensor | None) -> object:
    if tensor is None:
        return None
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.detach().clone().contiguous().numpy().tobytes()


def state(network: nn.Module) -> dict[str, object]:
    """Every bit that a look might have touched."""
    modules = list(network.modules())
    kinds = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_buffers",
        "_parameters",
    )
    return {
        "parameters": {n: (id(p), bits(p), p.requires_grad) for n, p in network.named_parameters()},
        "gradients": {n: (id(p.grad), bits(p.grad)) for n, p in network.named_parameters()},
        "buffers": {f"{i}.{n}": (id(b), bits(b)) for i, m in enumerate(modules) for n, b in m._buffers.items()},
        "keys": [{kind: list(getattr(m, kind)) for kind in kinds} for m in modules],
        "training": [m.training for m in modules],
        "tracking": [getattr(m, "track_running_stats", None) for m in modules],
        "momentum": [getattr(m, "momentum", None) for m in modules],
        "random": torch.get_rng_state().numpy().tobytes(),
        "fast attention": torch.backends.mha.get_fastpath_enabled(),
        "gradient mode": torch.is_grad_enabled(),
        "global hooks": [len(getattr(module_hooks, f"_global_forward_{kind}hooks")) for kind in ("", "pre_")],
        "function modes": torch.overrides._get_current_function_mode_stack(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


@pytest.fixture
def batch() -> Tensor:
    return torch.randn(6, 3, 7, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("batch_norm", ["batch", "running", "off"])
@pytest.mark.parametrize("initialisation", ["keep", "default", "normal", "kaiming"])
def test_the_network_is_left_as_found(initialisation: str, batch_norm: str, raises: bool, batch: Tensor) -> None:
    network = Delicate(raises=raises)
    for index, parameter in enumerate(network.parameters()):
        parameter.grad = torch.full_like(parameter, index) if index % 2 and parameter.requires_grad else None
    with torch.no_grad():
        network.frozen.running_mean += 3
    batch.requires_grad_()
    before, batch_before = state(network), bits(batch)

    protocol = Protocol(initialisation=initialisation, batch_norm=batch_norm, repeats=2)
    scores = score(network, batch, proxies="all", protocol=protocol)

    for name in ("parameters", "l2_norm"):  # known without a pass
        assert scores.pop(name).ok
    assert {result.status for result in scores.values()} & {"ok", "failed"} == {"failed" if raises else "ok"}
    after = state(network)
    for what, value in before.items():
        assert after[what] == value, what
    assert bits(batch) == batch_before
    assert batch.grad is None
    assert not batch._backward_hooks
    assert network.eval_calls == 0


@pytest.mark.parametrize("enabled", [True, False])
def test_the_fused_attention_setting_survives(enabled: bool, batch: Tensor) -> None:
    old = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        score(Delicate(), batch)
        assert torch.backends.mha.get_fastpath_enabled() is enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(old)


def test_the_check_sees_a_change_of_one_bit() -> None:
    """Negative control."""
    network = Delicate()
    changes: list[Callable[[], object]] = [
        lambda: network.bare.data[0].neg_(),
        lambda: network.frozen.running_mean.add_(1e-3),
        lambda: network.calls.add_(1),
        lambda: network.dropout.eval(),
        lambda: torch.rand(1),
        lambda: setattr(network.bare, "grad", torch.ones(4)),
        lambda: network.conv.register_forward_hook(lambda *_: None),
        lambda: network.register_buffer("cache", torch.ones(1)),
    ]
    for change in changes:
        before = state(network)
        change()
        assert state(network) != before


# --- batch norm ------------------------------------------------------------------------------------------------------


def one_norm() -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.running_mean.copy_(torch.tensor([0.5, -1.0, 4.0]))
        norm.running_var.copy_(torch.tensor([0.5, 2.0, 9.0]))
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.3]))
        norm.bias.copy_(torch.tensor([0.2, 0.1, -0.4]))
    return norm


def by_hand(norm: nn.BatchNorm2d, x: Tensor, mode: str) -> Tensor:
    """What each mode means, channel by channel."""
    if mode == "off":
        return x
    channels = []
    for c in range(3):
        values = x[:, c]
        mean = values.mean() if mode == "batch" else norm.running_mean[c]
        variance = ((values - mean) ** 2).mean() if mode == "batch" else norm.running_var[c]
        channels.append((values - mean) / torch.sqrt(variance + norm.eps) * norm.weight[c] + norm.bias[c])
    return torch.stack(channels, 1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mode", ["batch", "running", "off"])
def test_batch_norm_by_hand(mode: str, training: bool) -> None:
    norm = one_norm().train(training)
    x = 2 * torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 1
    outputs = {}
    with prepared(norm, batch_norm=mode, keep_parameters=False), torch.no_grad():
        outputs["positional"] = norm(x)
        outputs["keyword"] = norm(input=x)
    for output in outputs.values():
        torch.testing.assert_close(output, by_hand(norm, x, mode).detach())


def test_the_modes_give_three_scores() -> None:
    x = 2 * torch.randn(9, 3, 12, 12, generator=torch.Generator().manual_seed(0)) + 1
    norm = one_norm()
    network = nn.Sequential(norm, nn.ReLU())
    counts = set()
    for mode in ("batch", "running", "off"):
        signs = by_hand(norm, x, mode).reshape(9, -1) > 0
        result = score(network, x, protocol=Protocol(initialisation="keep", batch_norm=mode))["swap"]
        assert result.value == len({tuple(column) for column in signs.T.tolist()})
        counts.add(result.value)
    assert len(counts) == 3


def test_redrawn_weights_come_with_fresh_statistics() -> None:
    # Statistics that belong to the weights the network had would shift every unit of the re-drawn one.
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    x = torch.randn(9, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    protocol = Protocol(initialisation="normal", batch_norm="running")
    fresh = score(network, x, protocol=protocol)["swap"].value
    with torch.no_grad():
        network[1].running_mean.fill_(1e6)
        assert score(network, x, protocol=protocol)["swap"].value == fresh > 1
        assert score(network, x, protocol=Protocol(initialisation="keep", batch_norm="running"))["swap"].value == 1
    assert network[1].running_mean[0] == 1e6


def test_one_value_per_channel_fails_with_its_reason() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    result = score(network, torch.randn(1, 3))["swap"]
    assert result.status == "failed"
    assert "more than 1 value per channel" in result.reason
    assert score(network, torch.randn(1, 3), protocol=Protocol(batch_norm="running"))["swap"].ok


def test_dropout_is_off_in_every_mode() -> None:
    for mode in ("batch", "running", "off"):
        network = nn.Sequential(nn.Dropout(0.9), nn.Flatten(), nn.ReLU()).train()
        x = torch.rand(6, 2, 8, 8) + 0.1
        assert score(network, x, protocol=Protocol(batch_norm=mode))["swap"].value == 1  # all units always on


def test_unknown_mode() -> None:
    with pytest.raises(OptionError) as caught:
        score(nn.ReLU(), torch.ones(2, 2), protocol=Protocol(batch_norm="eval"))
    assert str(caught.value) == "There is no batch-norm mode 'eval'. Use one of batch, running, off."


def test_no_parameter_is_frozen_inside_and_all_are_as_they_were_after() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network[0].weight.requires_grad_(False)
    network[1].requires_grad_(False)
    network.register_parameter("whole", nn.Parameter(torch.arange(3), requires_grad=False))
    flags = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    for batch_norm in ("batch", "off"):
        with prepared(network, batch_norm=batch_norm, keep_parameters=True):
            assert {n for n, p in network.named_parameters() if not p.requires_grad} == {"whole"}
        assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == flags
