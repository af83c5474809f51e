"""Evaluate architectures by building their networks and looking at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from subshot._types import Arch, Evaluation, Score, TaskSpec
from subshot._types import Protocol as EvaluationProtocol
from subshot.errors import SubshotError
from subshot.proxies._proxy import BoundProxy
from subshot.spaces._space import Diagnosing, Measurable, Space
from subshot.studies._warm import Lender

if TYPE_CHECKING:
    from torch import Tensor, nn


class Evaluator(Protocol):
    """A list of architectures in, a list of evaluations out; picklable, so that worker processes can have it."""

    def evaluate(self, archs: Sequence[Arch]) -> list[Evaluation]:
        """Evaluate each architecture; a failure is an evaluation too."""
        ...


@dataclass(frozen=True)
class ProxyEvaluator:
    """Scores architectures by proxies, all from the same looks at one network on one batch.

    The network of an architecture is built once and re-initialised in place for each repeat. Each evaluation depends
    on the study's seed, the architecture and the repeat only, so order and worker don't matter.

    Attributes:
        space: Whose architectures.
        task: What the networks are built for.
        inputs: The batch, (S, channels, height, width), float32.
        proxies: What to compute.
        protocol: How; its variant, initialisation, repeats, batch-norm mode and seed are used.
        labels: The batch's labels, (S,) int64.
        lender: Who has the networks' weights, in place of an initialisation.
    """

    space: Space
    task: TaskSpec
    inputs: np.ndarray
    proxies: tuple[BoundProxy, ...]
    protocol: EvaluationProtocol
    labels: np.ndarray | None = None
    lender: Lender | None = None

    def evaluate(self, archs: Sequence[Arch]) -> list[Evaluation]:
        """One evaluation for each architecture."""
        batch = network_inputs(self.inputs, self.protocol.device)
        return [self._one(arch, batch) for arch in archs]

    def _one(self, arch: Arch, batch: "Tensor") -> Evaluation:
        import torch

        from subshot.networks.initialisation import Initialiser
        from subshot.proxies._score import score_prepared

        defect = self.space.defect(arch) if isinstance(self.space, Diagnosing) else None
        if defect:  # for sizes too: a ranking of proxies leaves the same architectures out of each
            return {one.name: Score.not_applicable(defect) for one in self.proxies}
        variant = self.protocol.variant
        try:
            network = self._network(arch).to(self.protocol.device)
            initialiser = Initialiser(network, self.protocol.initialisation)
        except SubshotError:
            raise
        except Exception as error:  # a candidate that can't be built is a result, not the end of a search
            reason = f"{type(error).__name__} while the network was built: {error}"
            return {one.name: Score.failed(reason) for one in self.proxies}
        macs = None
        if isinstance(self.space, Measurable):
            macs = self.space.measure(arch, self.task, variant=variant).macs
        return score_prepared(
            network,
            batch,
            self.proxies,
            initialiser=initialiser,
            protocol=self.protocol,
            identity=self.space.format(arch),
            keep_parameters=False,
            labels=None if self.labels is None else torch.from_numpy(self.labels).to(self.protocol.device),
            macs=macs,
        )

    def _network(self, arch: Arch) -> "nn.Module":
        if self.lender is not None:
            return self.lender.network(arch)
        return self.space.build(arch, self.task, variant=self.protocol.variant)


def network_inputs(inputs: np.ndarray, device: str) -> "Tensor":
    """A batch as networks get it: float32 or integers, on the device, images in channels-last memory.

    Channels-last memory halves the time of a convolution on one CPU thread.
    """
    import torch

    batch = torch.from_numpy(inputs).to(device)
    if batch.is_floating_point():
        batch = batch.float()
    return batch.contiguous(memory_format=torch.channels_last) if batch.dim() == 4 else batch
