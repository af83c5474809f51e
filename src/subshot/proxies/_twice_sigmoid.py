"""Hard sigmoid that can be differentiated twice: for Hessian products, torch has its first derivative only."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from subshot.proxies._calls import CallMode, Function


class TwiceDifferentiableSigmoid(CallMode):
    """While active, the second derivative of the hard sigmoid is that of its linear pieces: zero, as for ReLU.

    Values and first derivatives are torch's own bit for bit.
    """

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func``, or the hard sigmoid in its other form."""
        if func is not F.hardsigmoid:
            return func(*args, **kwargs)
        given = dict(zip(("input", "inplace"), args, strict=False)) | kwargs
        x = given["input"]
        if not given.get("inplace", False):
            return _HardSigmoid.apply(x)  # type: ignore[no-untyped-call]
        return x.copy_(_HardSigmoid.apply(x.clone()))  # type: ignore[no-untyped-call]


class _HardSigmoid(torch.autograd.Function):
    """The hard sigmoid."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.hardsigmoid(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        output: Tensor = _HardSigmoidBackward.apply(gradient, x)  # type: ignore[no-untyped-call]
        return output


class _HardSigmoidBackward(torch.autograd.Function):
    """Its backward pass, linear in the gradient; for the input it hands nothing on."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.ops.aten.hardsigmoid_backward(gradient, x)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardsigmoid_backward(direction, x), None
