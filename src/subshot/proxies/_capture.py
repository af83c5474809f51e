"""See every activation of any network: modules and functional calls alike, and nothing left behind.

Each call that a network makes into torch is seen, be it from ``nn.ReLU``, ``F.relu``, ``torch.relu`` or ``x.relu_()``.
"""

import weakref
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from subshot.proxies._calls import CallMode, Function

# Functions whose sign says whether a unit is on. Sigmoid, softmax and softplus are always positive: their sign says
# nothing, and they are gates more often than activations.
_NAMES = (
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish",
    "hardtanh", "tanh", "threshold",
)  # fmt: skip


@cache
def activation_functions() -> frozenset[Function]:
    """Every entry point of torch that is an activation, in-place forms included."""
    found: set[Function] = set()
    for name in _NAMES:
        for form in (name, f"{name}_"):
            for owner in (F, torch, Tensor, torch._C._nn):
                function = getattr(owner, form, None)
                if callable(function):
                    found.add(function)
    return frozenset(found)


@cache
def _clamps() -> frozenset[Function]:
    names = ("clamp", "clamp_", "clamp_min", "clamp_min_", "clip", "clip_")
    return frozenset(getattr(owner, name) for owner in (torch, Tensor) for name in names)


class ActivationMode(CallMode):
    """While active, hands the output of every activation to ``record``.

    Args:
        record: Called with the output right after it is computed, before anything can change it in place.
    """

    def __init__(self, record: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._record = record
        self._activations = activation_functions()
        self._clamps = _clamps()

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func``; record its result if it is an activation."""
        output = func(*args, **kwargs)
        activates = func in self._activations or (func in self._clamps and _lower_bound(args, kwargs) == 0)
        if activates and output.is_floating_point():  # integers are clamped to be valid indices
            self._record(output)
        return output


class EmbeddingMode(CallMode):
    """While active, hands the embeddings that inputs select to ``record``: the differentiable side of integer inputs.

    Look-ups of anything else, such as positions, are left alone: indices are followed from the batch to the table.

    Args:
        inputs: The batch's tensors, the very ones that the network is given.
        record: Called with the looked-up embeddings; the network goes on with a copy, which it may change in place.
    """

    def __init__(self, inputs: Iterable[Tensor], record: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._record = record
        # Held only as long as the network holds them, so that no activation is kept alive.
        self._ours = weakref.WeakValueDictionary({id(tensor): tensor for tensor in inputs})

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func``; record its result if it is a look-up by an input."""
        output = func(*args, **kwargs)
        if not any(id(tensor) in self._ours for tensor in tensors_in((*args, *kwargs.values()))):
            return output
        if func in (F.embedding, F.embedding_bag, torch.embedding):
            self._record(output)
            return output.clone()
        for tensor in tensors_in((output,)):
            # Activations depend on inputs too; what they select is no input.
            if not tensor.is_floating_point() or tensor._is_view():
                self._ours[id(tensor)] = tensor
        return output


def tensors_in(values: Iterable[Any]) -> Iterable[Tensor]:
    """Tensors among ``values`` and in lists among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from (one for one in value if isinstance(one, Tensor))


def _lower_bound(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    """The lower bound of a clamp call; a clamp at zero is a ReLU written by hand."""
    bound = args[1] if len(args) > 1 else kwargs.get("min")
    return bound if isinstance(bound, (int, float)) else None
