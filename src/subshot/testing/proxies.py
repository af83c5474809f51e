"""The contract of a proxy, as a test suite.

Subclass it in your tests and name the proxy; the module that registers it must have been imported::

    from subshot.testing.proxies import ProxyContract

    class TestMyProxy(ProxyContract):
        @pytest.fixture
        def proxy(self):
            return "my_proxy(depth=3)"
"""

import inspect
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from subshot._types import Protocol, Score
from subshot.errors import UnknownNameError
from subshot.proxies._evidence import look
from subshot.proxies._prepare import prepared
from subshot.proxies._proxy import BoundProxy, Need, bind, get_proxy, list_proxies
from subshot.proxies._score import score

_SAMPLES = 12
_CLASSES = 5
_EVERYTHING = Need(0)
for _need in Need:
    _EVERYTHING |= _need


class ProxyContract:
    """What every proxy promises."""

    @pytest.fixture
    def proxy(self) -> str:
        """The proxy under test: its name, with options where wanted."""
        raise NotImplementedError("supply a fixture named 'proxy'")

    @pytest.fixture
    def bound(self, proxy: str, network: nn.Module) -> BoundProxy:
        """The proxy with its options; those that a space would supply come from sizes near the network's."""
        (one,) = bind(proxy)
        if one.info.calibrate is None:
            return one
        size = sum(parameter.numel() for parameter in network.parameters())
        supplied = one.info.calibrate([size // 2, size, 2 * size], one.options)
        return one.with_options({key: v for key, v in supplied.items() if one.options[key] == one.info.defaults[key]})

    @pytest.fixture
    def network(self) -> nn.Module:
        """A small convolutional network with batch norm and dropout, in training mode."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(inplace=True),
                nn.Conv2d(8, 12, 3, stride=2, padding=1),
                nn.BatchNorm2d(12),
                nn.ReLU(),
                nn.Dropout(0.5),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(12, _CLASSES),
            )

    @pytest.fixture
    def batch(self) -> tuple[Tensor, Tensor]:
        """Twelve pictures of smooth blobs, (12, 3, 16, 16), and their labels."""
        generator = torch.Generator().manual_seed(1)
        coarse = torch.randn(_SAMPLES, 3, 4, 4, generator=generator)
        images = nn.functional.interpolate(coarse, size=16, mode="bilinear")
        images += 0.1 * torch.randn(images.shape, generator=generator)
        return images, torch.arange(_SAMPLES) % _CLASSES

    def test_is_registered(self, bound: BoundProxy) -> None:
        """The proxy is found under the name of its function."""
        assert bound.info.name in list_proxies()
        assert get_proxy(bound.info.name) is bound.info
        assert bound.info.reduce.__name__ == bound.info.name

    def test_declares_its_facts(self, bound: BoundProxy) -> None:
        """Paper, formula and scale are one line each, and the function says what it computes."""
        for fact in (bound.info.paper, bound.info.formula, bound.info.scale):
            assert fact.strip() == fact != ""
            assert "\n" not in fact
        assert inspect.getdoc(bound.info.reduce)

    def test_cites_its_paper(self, bound: BoundProxy) -> None:
        """A paper is cited by a number or link that the module's text has too; a baseline needs none."""
        paper = bound.info.paper
        text = inspect.getdoc(inspect.getmodule(bound.info.reduce)) or ""
        assert text
        if paper != "baseline":
            marks = re.findall(r"\d{4}\.\d{4,5}|10\.\d{4,}/\S+|https?://\S+", paper)
            assert marks, f"no arXiv number, DOI or address in {paper!r}"
            assert any(mark.rstrip(".,;") in text for mark in marks)

    def test_options_are_checked(self, bound: BoundProxy) -> None:
        """An option that doesn't exist is refused by name."""
        with pytest.raises(UnknownNameError, match="no_such_option"):
            bind(f"{bound.info.name}(no_such_option=1)")

    def test_travels_to_other_processes(self, bound: BoundProxy) -> None:
        """A bound proxy survives pickling."""
        twin = pickle.loads(pickle.dumps(bound))  # noqa: S301 - our own bytes
        assert (twin.info, twin.options, twin.name) == (bound.info, bound.options, bound.name)

    def test_is_finite_on_a_small_network(
        self, bound: BoundProxy, network: nn.Module, batch: tuple[Tensor, Tensor]
    ) -> None:
        """A usual network and picture-like inputs give a finite score, and the cost is told."""
        result = _score(bound, network, batch)
        assert result.status == "ok", result.reason
        assert math.isfinite(result.value)
        assert result.reason == ""
        assert all(isinstance(part, float) for part in result.parts.values())
        assert result.cost.seconds > 0

    def test_labels_are_as_declared(self, bound: BoundProxy, network: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        """Labels change nothing for a proxy that declares no use of them; one that does says when they are missing."""
        assert bound.info.labels == bool(bound.needs & Need.LABELS)
        without = _score(bound, network, batch[0])
        if bound.info.labels:
            assert without.status == "not_applicable"
            assert without.reason
        else:
            assert _values(without) == _values(_score(bound, network, batch))

    def test_same_seed_same_score(self, bound: BoundProxy, network: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        """The score depends on the protocol's seed, not on torch's random state or what ran before."""
        protocol = Protocol(initialisation="default", repeats=2, seed=5)
        first = _score(bound, network, batch, protocol)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(99)
            _score(bound, network, batch, replace(protocol, seed=6))
            second = _score(bound, network, batch, protocol)
        assert _values(first) == _values(second)

    def test_same_alone_and_in_company(
        self, bound: BoundProxy, network: nn.Module, batch: tuple[Tensor, Tensor]
    ) -> None:
        """Neither other proxies of the same look nor their order change the score."""
        protocol = Protocol(initialisation="default", repeats=2)
        alone = _score(bound, network, batch, protocol)
        others = [other for other in bind("all") if other.name != bound.name]
        for company in ([bound, *others], [*others[::-1], bound]):
            assert _values(alone) == _values(score(network, batch, proxies=company, protocol=protocol)[bound.name])

    def test_evidence_asked_for_is_enough(
        self, bound: BoundProxy, network: nn.Module, batch: tuple[Tensor, Tensor]
    ) -> None:
        """Evidence of the declared needs gives what all evidence gives, and reading doesn't change it."""
        with prepared(network, batch_norm="batch", keep_parameters=False):
            declared, everything = (
                look(network, batch[0], needs, labels=batch[1]) for needs in (bound.needs, _EVERYTHING)
            )
        reading = bound.read(declared)
        assert reading == bound.read(everything)
        assert reading == bound.read(declared)

    def test_leaves_the_network_as_found(
        self, bound: BoundProxy, network: nn.Module, batch: tuple[Tensor, Tensor]
    ) -> None:
        """Weights, buffers, gradients, modes, hooks, random state and batch are bit for bit what they were."""
        next(network.modules()).training = False  # modes may differ from layer to layer
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        inputs, labels = batch[0].clone(), batch[1].clone()
        before = _fingerprint(network)
        for initialisation in ("keep", "normal"):
            _score(bound, network, batch, Protocol(initialisation=initialisation))
            assert _fingerprint(network) == before
        assert torch.equal(inputs, batch[0])
        assert torch.equal(labels, batch[1])

    def test_network_without_activations(self, bound: BoundProxy, batch: tuple[Tensor, Tensor]) -> None:
        """A linear network has a score or a reason why there is none; the proxy doesn't fail."""
        result = _score(bound, nn.Sequential(nn.Flatten(), nn.Linear(768, _CLASSES)), batch)
        assert result.status != "failed"
        assert result.ok or result.reason

    def test_network_that_raises(self, bound: BoundProxy, batch: tuple[Tensor, Tensor]) -> None:
        """A network that can't be run is a failed score with its reason, unless the proxy needs no run."""
        result = _score(bound, nn.Sequential(nn.Linear(7, _CLASSES)), batch)
        if result.cost.forwards or not result.ok:
            assert result.status == "failed"
            assert "mat1 and mat2" in result.reason
            assert math.isnan(result.value)

    def test_non_finite_stays_non_finite(
        self, bound: BoundProxy, network: nn.Module, batch: tuple[Tensor, Tensor]
    ) -> None:
        """A network whose output is NaN gets no number, unless the proxy only counts."""
        finite = _score(bound, network, batch)
        with torch.no_grad():
            list(network.parameters())[-1].fill_(math.nan)
        result = _score(bound, network, batch)
        if result.ok:
            assert result.value == finite.value
        else:
            assert not math.isfinite(result.value)
            assert result.reason


def _score(
    bound: BoundProxy,
    network: nn.Module,
    batch: Tensor | tuple[Tensor, Tensor],
    protocol: Protocol | None = None,
) -> Score:
    return score(network, batch, proxies=[bound], protocol=protocol)[bound.name]


def _values(result: Score) -> tuple[object, ...]:
    """Everything of a score but its cost, comparable with ``==`` although NaN may be in it."""
    return repr(result.value), result.status, result.reason, repr(sorted(result.parts.items())), result.warnings


def _fingerprint(network: nn.Module) -> Mapping[str, object]:
    """Everything a look might change, as plain values."""

    def raw(tensor: Tensor | None) -> tuple[int, list[float]] | None:
        return None if tensor is None else (tensor.data_ptr(), tensor.detach().flatten().tolist())

    return {
        "parameters": [(name, raw(p), raw(p.grad), p.requires_grad, p.dtype) for name, p in network.named_parameters()],
        "buffers": [(name, raw(buffer)) for name, buffer in network.named_buffers()],
        "modes": [(m.training, getattr(m, "track_running_stats", None)) for m in network.modules()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in network.modules()
        ],
        "random state": torch.get_rng_state().tolist(),
    }
