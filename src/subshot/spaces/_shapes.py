"""Run a network on the meta device for its shapes only: what can't change a shape isn't computed.

torch works out norms and activations on the meta device in Python, at a hundred times the cost of a convolution there.
"""

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_SAME_SHAPE = frozenset(
    {"alpha_dropout", "batch_norm", "celu", "dropout", "dropout1d", "dropout2d", "dropout3d", "elu", "elu_", "gelu"}
    | {"group_norm", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "instance_norm", "layer_norm", "leaky_relu"}
    | {"leaky_relu_", "local_response_norm", "log_softmax", "mish", "prelu", "relu", "relu6", "relu_", "rms_norm"}
    | {"selu", "sigmoid", "silu", "softmax", "softplus", "tanh"}
)


class ShapesOnly(TorchFunctionMode):
    """Leaves out norms and activations, whose output is then their input.

    Args:
        products: Whether linear layers and attention are computed, for a count of what they cost.
    """

    def __init__(self, *, products: bool) -> None:
        super().__init__()
        self._products = products

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func``, or return its first argument."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        x = args[0] if args else kwargs.get("input")
        if isinstance(x, Tensor) and x.is_meta:
            if name in _SAME_SHAPE and _fits(name, x, [*args[1:], *kwargs.values()]):
                return x
            if not self._products and len(args) > 1:
                weight = args[1]
                if name == "linear" and x.shape[-1] == weight.shape[1]:
                    return x.new_empty((*x.shape[:-1], weight.shape[0]))
                if name == "multi_head_attention_forward":
                    return x.new_empty(x.shape), None
        return func(*args, **kwargs)


def _fits(name: str, x: Tensor, rest: list[Any]) -> bool:
    """Whether weights and statistics of a norm are as long as its input has channels; else torch says what is wrong."""
    lengths = [one.shape[0] for one in rest if isinstance(one, Tensor) and one.dim() == 1]
    if not lengths or x.dim() < 2:
        return True
    channels = x.shape[-1] if name in ("layer_norm", "rms_norm") else x.shape[1]
    return all(length in (1, channels) for length in lengths)
