"""Costs of an architecture's network, found once for each text."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from subshot._types import Arch, TaskSpec
from subshot.errors import SubshotError
from subshot.spaces._space import Measurable, Size, Space

if TYPE_CHECKING:
    from subshot.costs._latency_source import LatencySource


class Meter:
    """Knows the costs of architectures; counts without building where the space can.

    Parameters and MACs are always known. The peak of activation memory takes a pass over the network's shapes, and so
    does a predicted latency: they are found only if asked for.

    Args:
        space: Whose architectures.
        task: What the networks are built for.
        variant: Which network; the one that is trained if not given.
        also: Further costs wanted; of those that need no source, there is ``peak_bytes``.
        latency: Where latencies come from; with it, ``latency_ms`` is among the costs.
    """

    def __init__(
        self,
        space: Space,
        task: TaskSpec,
        *,
        variant: str | None = None,
        also: Collection[str] = (),
        latency: "LatencySource | None" = None,
    ) -> None:
        self._space = space
        self._task = task
        self._variant = variant or space.variants[0]
        self._memory = "peak_bytes" in also
        self._latency = latency
        self._sizes: dict[str, Size] = {}
        self._known: dict[str, dict[str, float]] = {}

    def size(self, arch: Arch) -> Size:
        """Parameters and multiply-accumulate operations of one sample."""
        text = self._space.format(arch)
        if text not in self._sizes:
            self._sizes[text] = self._count(arch)
        return self._sizes[text]

    def costs(self, arch: Arch) -> Mapping[str, float]:
        """The costs by the names they have in limits and results: ``params``, ``macs`` and what else is wanted.

        Empty for a network that can't be built or run: that is for its evaluation to report, and it meets no limit.
        """
        text = self._space.format(arch)
        if text not in self._known:
            if self._latency is not None:
                self._latency.ready()  # what fails there isn't the architecture's fault
            try:
                self._known[text] = self._find(arch)
            except SubshotError:
                raise
            except Exception:
                self._known[text] = {}
        return self._known[text]

    def upper(self, arch: Arch) -> Mapping[str, float]:
        """The costs as limits must see them: a predicted latency is taken at its upper bound."""
        costs = self.costs(arch)
        bound = self._latency.upper_ms(arch) if self._latency is not None and "latency_ms" in costs else None
        return costs if bound is None else {**costs, "latency_ms": bound}

    def _find(self, arch: Arch) -> dict[str, float]:
        size = self.size(arch)
        costs: dict[str, float] = {"params": size.parameters, "macs": size.macs}
        if self._memory:
            from subshot.costs._trace import trace_architecture

            costs["peak_bytes"] = trace_architecture(self._space, arch, self._task, variant=self._variant).peak_bytes
        if self._latency is not None:
            latency_ms = self._latency.latency_ms(arch)
            if latency_ms is not None:
                costs["latency_ms"] = latency_ms
        return costs

    def _count(self, arch: Arch) -> Size:
        if isinstance(self._space, Measurable):
            return self._space.measure(arch, self._task, variant=self._variant)
        from subshot.costs.macs import count_macs
        from subshot.costs.parameters import count_parameters

        network = self._space.build(arch, self._task, variant=self._variant)
        return Size(count_parameters(network), count_macs(network, self._task))
