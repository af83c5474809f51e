"""Costs of an architecture's network, measured once for each text."""

from collections.abc import Mapping

from subshot._types import Arch, TaskSpec
from subshot.errors import SubshotError
from subshot.spaces._space import Measurable, Size, Space


class Meter:
    """Knows the costs of architectures; counts without building where the space can.

    Args:
        space: Whose architectures.
        task: What the networks are built for.
        variant: Which network; the one that is trained if not given.
    """

    def __init__(self, space: Space, task: TaskSpec, *, variant: str | None = None) -> None:
        self._space = space
        self._task = task
        self._variant = variant or space.variants[0]
        self._known: dict[str, Size] = {}

    def size(self, arch: Arch) -> Size:
        """Parameters and multiply-accumulate operations of one sample."""
        text = self._space.format(arch)
        if text not in self._known:
            self._known[text] = self._count(arch)
        return self._known[text]

    def costs(self, arch: Arch) -> Mapping[str, float]:
        """The costs by the names they have in limits and results: ``params`` and ``macs``.

        Empty for a network that can't be built or run: that is for its evaluation to report, and it meets no limit.
        """
        try:
            size = self.size(arch)
        except SubshotError:
            raise
        except Exception:
            return {}
        return {"params": size.parameters, "macs": size.macs}

    def _count(self, arch: Arch) -> Size:
        if isinstance(self._space, Measurable):
            return self._space.measure(arch, self._task, variant=self._variant)
        from subshot.costs.macs import count_macs
        from subshot.costs.parameters import count_parameters

        network = self._space.build(arch, self._task, variant=self._variant)
        return Size(count_parameters(network), count_macs(network, self._task))
