"""Count the multiply-accumulate operations of a forward pass, and only those of the network.

Both counts of MACs use it: the proxy's, of the batch that it looks at, and the cost's, of one sample.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class MacCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, counts convolutions and matrix products, attention included, by torch's own formulas.

    Torch's counter also keeps a tree of modules and tries to take every operation apart, which on small networks costs
    more than the pass; and it doesn't know the attention kernel that torch runs on a CPU. Nothing sees into the fast
    path of ``nn.MultiheadAttention``: switch it off before.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._flops = 0.0
        self._counts = _formulas()
        self._counting = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func`` and add what it costs."""
        kwargs = kwargs or {}
        count = self._counts.get(func._overloadpacket)
        if count is None:
            if torch.is_inference_mode_enabled():  # where composed functions arrive whole
                with self:
                    parts = func.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            return func(*args, **kwargs)
        output = func(*args, **kwargs)
        if self._counting:
            self._flops += count(*args, **kwargs, out_val=output)
        return output

    @property
    def macs(self) -> float:
        """Multiply-accumulate operations so far; torch counts each as two operations."""
        return self._flops / 2

    def uncounted(self, function: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
        """The same function with its own matrix products left out of the count."""

        def wrapped(tensor: Tensor) -> None:
            before, self._counting = self._counting, False
            try:
                function(tensor)
            finally:
                self._counting = before

        return wrapped


@cache
def _formulas() -> dict[Any, Callable[..., float]]:
    """Floating-point operations by function."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    formulas: dict[Any, Callable[..., float]] = {**flop_registry, kernel: _attention_flops}
    return formulas


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Two products: queries with keys over their width, and the weights with values of theirs."""
    *batch, targets, width = query.shape
    pairs = targets * key.shape[-2]
    for size in batch:
        pairs *= size
    return 2 * pairs * (width + value.shape[-1])
