"""A network as a program of ``torch.export``: a ``.pt2`` file that torch runs without the network's code."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from subshot.errors import NetworkError
from subshot.export._timing import Exported, difference, evaluating, latency_ms


def export_program(network: nn.Module, path: Path, *, examples: tuple[Tensor, Tensor]) -> Exported:
    """Write a network as an exported program; ``torch.export.load(path).module()`` runs it.

    Args:
        network: What to write, as it is in evaluation mode.
        path: Where.
        examples: Two batches (S, ...) and (S', ...) of different size that the network takes; both are compared.

    Returns:
        The file, the largest difference from the network over both batches, and the time for one sample.

    Raises:
        NetworkError: Its code can't be exported, for example since it branches on values.
    """
    with evaluating(network):
        expected = [network(one) for one in examples]
        own = copy.deepcopy(network).cpu()
        try:
            program = torch.export.export(own, (examples[0].cpu(),), dynamic_shapes=({0: torch.export.Dim("batch")},))
        except Exception as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise NetworkError(f"{type(network).__name__} can't be exported by torch: {line.rstrip('.')}.") from error
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
        found = [loaded(one.cpu()) for one in examples]
        single = examples[0][:1].cpu()
        return Exported(path, difference(found, expected), latency_ms(lambda: loaded(single)))
