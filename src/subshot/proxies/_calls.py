"""See or replace the calls that a network makes into torch, wherever it makes them."""

import abc
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]


class CallMode(TorchFunctionMode, abc.ABC):
    """While active, every call into torch goes through :meth:`call`.

    No module is patched and no hook is needed, so a module that is used twice is seen twice, and a functional call like
    any module. Calls inside compiled or scripted code are out of sight.
    """

    @abc.abstractmethod
    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the network gets in place of ``func(*args, **kwargs)``."""

    def __torch_function__(
        self, func: Function, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Torch's way in."""
        return self.call(func, args, kwargs or {})


def batch_norm_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``F.batch_norm`` by name."""
    return dict(zip(_BATCH_NORM, args, strict=False)) | dict(kwargs)


def first_argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What a function of one tensor is given: torch calls it ``input``."""
    return args[0] if args else kwargs.get("input")


_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
