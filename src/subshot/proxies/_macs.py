"""Count the multiply-accumulate operations of a forward pass, and only those of the network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode


class MacCounter(FlopCounterMode):
    """While active, counts convolutions and matrix products, attention included.

    The counter of torch that this builds on doesn't know the attention kernel that torch runs on a CPU.
    """

    def __init__(self) -> None:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        super().__init__(display=False, custom_mapping={kernel: _attention_flops})
        self._not_counted = 0

    @property
    def macs(self) -> float:
        """Multiply-accumulate operations so far; torch counts each as two operations."""
        return (self.get_total_flops() - self._not_counted) / 2

    def uncounted(self, function: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
        """The same function with its own matrix products left out of the count."""

        def wrapped(tensor: Tensor) -> None:
            before = self.get_total_flops()
            function(tensor)
            self._not_counted += self.get_total_flops() - before

        return wrapped


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """Two products: queries with keys over their width, and the weights with values of theirs."""
    *batch, targets, width = query
    pairs = targets * key[-2]
    for size in batch:
        pairs *= size
    return 2 * pairs * (width + value[-1])
