"""Every registered proxy keeps the contract; a new content file is tested without writing a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import subshot.proxies
from subshot.proxies._proxy import PROXIES, Need, bind, get_proxy, list_proxies, proxy
from subshot.testing.proxies import ProxyContract

# Option settings that take another path than the defaults.
VARIANTS = [
    "swap(ternary=true)",
    "swap_regularized(mu=1.2, sigma=0.5, unit=k, fitted=true)",
    "epe_nas(branch=many)",
    "zen(variance=running)",
    "synflow(batch_norm=true)",
    "ntk_condition(coupled=true)",
    "eigen_nas(normalized=true, coupled=true)",
    "ntk_mse(ridge=0.1, coupled=true)",
    "grad_sign(mean=true)",
    "zico(parts=2)",
    "sigeo(fisher_rao_weight=50.0, loss_weight=1.0, reading=layers)",
    "sigeo(setting=vision)",
    "fisher_rao(reading=mean, scope=head)",
    "l_swag(first=0.2, last=0.8)",
    "vkdnw(released=true)",
    "meco(opt=true)",
    "meco(modules=all)",
]

# Proxies of feed-forward networks on tokens, which the suite's own network doesn't have.
ON_TOKENS = ["w_pca", "w_pca(eta=0.9, weighted=false)"]


class TestProxies(ProxyContract):
    @pytest.fixture(params=[*(name for name in list_proxies() if name not in ON_TOKENS), *VARIANTS])
    def proxy(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


class TestOnTokens(ProxyContract):
    @pytest.fixture(params=ON_TOKENS)
    def proxy(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def network(self) -> nn.Module:
        """Patches of an image through two feed-forward networks, in training mode."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return nn.Sequential(
                nn.Conv2d(3, 8, 4, stride=4),
                nn.BatchNorm2d(8),
                nn.Flatten(2),
                nn.Linear(16, 6),
                nn.Linear(6, 9),
                nn.GELU(),
                nn.Dropout(0.5),
                nn.Linear(9, 7),
                nn.ReLU(inplace=True),
                nn.Flatten(),
                nn.Linear(56, 5),
            )


class TestThirdParty(ProxyContract):
    """The suite is usable from outside: a proxy that no file of ours knows."""

    @pytest.fixture
    def proxy(self) -> Iterator[str]:
        @proxy(paper="baseline", formula="-|log10(parameters) - wanted|", needs=Need.PARAMETERS, scale="at most 0")
        def nearness(evidence: "subshot.proxies._evidence.Evidence", *, wanted: float = 3.0) -> float:
            """How near the size is to a wanted one."""
            return -abs(len(str(evidence.parameters)) - wanted)

        yield "nearness(wanted=2)"
        del PROXIES._entries["nearness"]


def test_every_content_file_holds_the_proxy_of_its_name() -> None:
    files = {path.stem for path in Path(subshot.proxies.__path__[0]).glob("*.py") if not path.stem.startswith("_")}
    assert set(list_proxies()) == files
    for name in files:
        assert get_proxy(name).reduce.__module__ == f"subshot.proxies.{name}"


def test_the_suite_catches_a_proxy_that_needs_more_than_it_declares() -> None:
    """The suite can fail: a proxy that reads MACs and declares patterns."""

    @proxy(paper="baseline", formula="patterns per MAC", needs=Need.PATTERNS, scale="a ratio")
    def undeclared(evidence: "subshot.proxies._evidence.Evidence") -> float:
        """Read what was not asked for."""
        return (evidence.distinct_patterns or 0) / (evidence.macs or 1)

    try:
        suite = ProxyContract()
        network = ProxyContract.network.__wrapped__(suite)
        batch = ProxyContract.batch.__wrapped__(suite)
        (bound,) = bind("undeclared")
        with pytest.raises(AssertionError):
            suite.test_evidence_asked_for_is_enough(bound, network, batch)
        with pytest.raises(AssertionError):
            suite.test_same_alone_and_in_company(bound, network, batch)
    finally:
        del PROXIES._entries["undeclared"]
