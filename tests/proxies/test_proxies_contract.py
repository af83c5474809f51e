"""Every registered proxy keeps the contract; a new content file is tested without writing a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import subshot.proxies
from subshot.proxies._proxy import PROXIES, Need, bind, get_proxy, list_proxies, proxy
from subshot.testing.proxies import ProxyContract

# Option settings that take another path than the defaults.
VARIANTS = [
    "swap(ternary=true)",
    "swap_regularized(mu=1.2, sigma=0.5, unit=k, fitted=true)",
    "epe_nas(branch=many)",
    "zen(variance=running)",
]


class TestProxies(ProxyContract):
    @pytest.fixture(params=[*list_proxies(), *VARIANTS])
    def proxy(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


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
