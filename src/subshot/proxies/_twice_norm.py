"""Batch norm whose backward pass is cheap to differentiate: for Hessian products.

Torch differentiates the backward pass of batch norm in some twenty steps over the whole map, up to half the time of a
Hessian product. Worked out by hand it is one more backward pass of batch norm and four steps. Forward and first
backward pass are torch's own kernels, so that values and gradients are the same bit for bit.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from subshot.proxies._calls import CallMode, Function, batch_norm_arguments


class TwiceDifferentiableNorm(CallMode):
    """While active, batch norm by batch statistics can be differentiated twice for its input at less cost.

    On a CPU only, where torch has one implementation of batch norm, and where scale and shift are parameters: nothing
    is differentiated twice for them.
    """

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func``, or batch norm in its other form."""
        if func is not F.batch_norm:
            return func(*args, **kwargs)
        given = batch_norm_arguments(args, kwargs)
        x, weight, bias = given["input"], given.get("weight"), given.get("bias")
        # Running statistics would have to be updated; a single value per channel is an error, which torch words well.
        plain = given.get("running_mean") is None and x.device.type == "cpu" and x.numel() > x.shape[1]
        leaves = all(one is None or (one.is_leaf and one.dtype == x.dtype) for one in (weight, bias))
        if not (given.get("training", False) and plain and leaves):
            return func(*args, **kwargs)
        output: Tensor = _Norm.apply(x, weight, bias, given.get("eps", 1e-5))  # type: ignore[no-untyped-call]
        return output


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, scale: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Torch's backward pass: gradients for input, weight and bias."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        gradient, x, weight, None, None, mean, scale, True, eps, [True, True, True]
    )
    return found


class _Norm(torch.autograd.Function):
    """Batch norm by batch statistics."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        output, mean, scale = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.eps = eps
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        for_x, for_weight, for_bias = _NormBackward.apply(  # type: ignore[no-untyped-call]
            gradient, x, weight, mean, scale, ctx.eps
        )
        affine = weight is not None
        return for_x, for_weight if affine else None, for_bias if ctx.needs_input_grad[2] else None, None


class _NormBackward(torch.autograd.Function):
    """The backward pass of batch norm, and its own.

    With y the gradient given, z the normalised input, r one over the deviation, w the weight and < > the mean over a
    channel, the first pass gives ``w r (y - <y> - z <y z>)``. In the direction d its derivative for y is the same map
    of d, and that for x is ``w r^2 (-<d z>(y - <y>) - <y z>(d - <d>) + z (3 <y z><d z> - <d y> + <d><y>))``.
    """

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, scale: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        for_x, for_weight, for_bias = _backward(gradient, x, weight, mean, scale, eps)
        ctx.save_for_backward(gradient, x, weight, mean, scale, for_weight, for_bias)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        return for_x, for_weight, for_bias

    @staticmethod
    def backward(ctx: Any, direction: Tensor | None, *rest: Tensor | None) -> tuple[Tensor | None, ...]:
        if any(one is not None for one in rest):
            raise NotImplementedError("The gradients of scale and shift were differentiated.")
        if direction is None:
            return (None,) * 6
        y, x, weight, mean, r, yz, y_mean = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        channel, axes = (-1, *[1] * (x.dim() - 2)), [0, *range(2, x.dim())]
        for_y, dz, d = _backward(direction, x, weight, mean, r, ctx.eps)
        yz, dz, d, y_mean = yz / count, dz / count, d / count, y_mean / count
        dy = (direction * y).mean(dim=axes)
        front = r * r if weight is None else weight * r * r
        on_x = front * (3 * yz * dz - dy + d * y_mean) * r
        constant = front * (dz * y_mean + yz * d) - on_x * mean
        on_y, on_direction = (one.reshape(channel) for one in (-front * dz, -front * yz))
        for_x = torch.addcmul(constant.reshape(channel), y, on_y)
        for_x.addcmul_(direction, on_direction).addcmul_(x, on_x.reshape(channel))
        return for_y, for_x, None, None, None, None
