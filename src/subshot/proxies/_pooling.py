"""The last feature map of a network of images: what the global pooling in front of its head is given.

A squeeze-and-excitation gate pools whole images as well, and so do other parts of blocks. They are told apart by what
becomes of the pooled vector: that of a block goes back into maps, where it scales or shifts them; that of the head does
not. The rule: the last feature map is the input of the last global pooling whose result doesn't meet a map again, by
which is meant that nothing computed from it has more than one pixel or is joined with a map that isn't pooled itself.
Pooling what is pooled already doesn't count. Without such a pooling there is no last feature map.
"""

import weakref
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot.proxies._calls import CallMode, Function, first_argument
from subshot.proxies._capture import tensors_in

_POOLINGS: frozenset[Function] = frozenset(
    (
        F.adaptive_avg_pool2d,
        F.adaptive_max_pool2d,
        F.avg_pool2d,
        torch._C._nn.avg_pool2d,
        torch.mean,
        Tensor.mean,
        torch.amax,
        Tensor.amax,
    )
)


class LastMap(CallMode):
    """While active, looks for the last feature map of the one pass that is run.

    Args:
        samples: Batch size S.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()
        self._samples = samples
        self._poolings = 0
        self._given: dict[int, Tensor] = {}  # what each pooling was given, without those known to be of blocks
        # Tensors computed from pooled ones and the poolings they come from; held as long as the network holds them.
        self._tensors: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
        self._sources: dict[int, frozenset[int]] = {}

    @property
    def found(self) -> Tensor | None:
        """The last feature map (S, C, H, W), if there is one."""
        return next(reversed(self._given.values()), None)

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func``; note what it pools, and what it makes of pooled vectors."""
        sources = frozenset[int]()
        joins = False
        if self._given:
            given = list(tensors_in((*args, *kwargs.values())))
            carried = [self._carried(one) for one in given]  # before the call, which may change them in place
            sources = frozenset[int]().union(*carried)
            if sources and func is not F.conv2d:  # whose weight is no map
                joins = any(self._is_map(one) for one, own in zip(given, carried, strict=True) if not own)
        output = func(*args, **kwargs)
        if sources:
            outputs = list(tensors_in((output,)))
            if joins or any(self._is_map(one) and _pixels(one) > 1 for one in outputs):
                for source in sources:
                    del self._given[source]
            else:
                for one in outputs:
                    self._note(one, sources)
        elif func in _POOLINGS and _pools_all(images := first_argument(args, kwargs), output):
            self._given[self._poolings] = images.detach().clone()
            self._note(output, frozenset((self._poolings,)))
            self._poolings += 1
        return output

    def _carried(self, tensor: Tensor) -> frozenset[int]:
        """Poolings that a tensor comes from, of those that may be the head's."""
        known = self._tensors.get(id(tensor)) is tensor
        return self._sources[id(tensor)] & self._given.keys() if known else frozenset()

    def _note(self, tensor: Tensor, sources: frozenset[int]) -> None:
        self._tensors[id(tensor)] = tensor
        self._sources[id(tensor)] = sources

    def _is_map(self, tensor: Tensor) -> bool:
        """Whether a tensor has the form of a map, and isn't a parameter."""
        return tensor.dim() == 4 and len(tensor) == self._samples and not isinstance(tensor, nn.Parameter)


def _pixels(maps: Tensor) -> int:
    """Positions of a map, whether channels are the second axis or the last one."""
    _, second, third, last = maps.shape
    return third * min(second, last)


def _pools_all(images: object, output: object) -> bool:
    """Whether (S, C, H, W) has become (S, C) or (S, C, 1, 1)."""
    if not (isinstance(images, Tensor) and isinstance(output, Tensor)):
        return False
    one_pixel = output.dim() == 2 or (output.dim() == 4 and tuple(output.shape[2:]) == (1, 1))
    return images.dim() == 4 and one_pixel and output.shape[:2] == images.shape[:2]
