"""Batch norm whose statistics are those of the batch and held fixed, so that samples don't mix on the way back."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from subshot.proxies._calls import CallMode, Function, batch_norm_arguments


class FixedStatistics(CallMode):
    """While active, batch norm by batch statistics lets no gradient through the statistics; values are the same."""

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func``; batch norm by batch statistics without the way back through them."""
        if func is not F.batch_norm:
            return func(*args, **kwargs)
        given = batch_norm_arguments(args, kwargs)
        if not given.get("training", False):
            return func(*args, **kwargs)
        output: Tensor = _FixedNorm.apply(  # type: ignore[no-untyped-call]
            given["input"], given.get("weight"), given.get("bias"), given.get("eps", 1e-5)
        )
        return output


class _FixedNorm(torch.autograd.Function):
    """Batch norm by batch statistics, backward an affine map: many times faster than torch's own by stored statistics.

    Weight and bias get no gradients; nobody here asks for them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        output, _, scale = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        scale = scale if weight is None else scale * weight
        ctx.save_for_backward(scale.reshape(-1, *[1] * (x.dim() - 2)))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (scale,) = ctx.saved_tensors
        return (gradient * scale).to(gradient.dtype), None, None, None
