"""Hidden layers of feed-forward networks on tokens: linear layers that hand their output straight to an activation."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from subshot.proxies._attempt import attempt
from subshot.proxies._axes import is_map
from subshot.proxies._calls import CallMode, Function, first_argument
from subshot.proxies._capture import activation_functions
from subshot.proxies._proxy import Need
from subshot.proxies._recording import Recording
from subshot.proxies._spectra import eigenvalues


@dataclass(frozen=True)
class Hidden:
    """The hidden layer of a feed-forward network on tokens, before its activation.

    Attributes:
        name: Name of the linear layer.
        width: Features F.
        rows: Samples times tokens.
        spectrum: Eigenvalues of the covariance of features, ascending, the min(rows, F) largest, float64.
    """

    name: str
    width: int
    rows: int
    spectrum: Tensor


class HiddenMaps(CallMode):
    """While active, sees what activation functions are given, before they can change it in place.

    Args:
        recording: How.
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._recording = recording
        self._missing = recording.missing
        self._activations = activation_functions()
        self._found: list[tuple[str, int, int, Tensor]] = []
        # Outputs of linear layers, held only as long as the network holds them.
        self._linear: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
        self._names: dict[int, str] = {}

    def hook_for(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        """A forward hook for linear layers that notes whose output is whose."""

        def see(module: nn.Module, inputs: Any, output: Any) -> None:
            if is_map(output) and output.dim() > 2:
                self._linear[id(output)] = output
                self._names[id(output)] = name

        return see

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func``; take the covariance of its input if it is an activation and a linear layer gave it."""
        if func in self._activations:
            given = first_argument(args, kwargs)
            if isinstance(given, Tensor) and self._linear.get(id(given)) is given:
                del self._linear[id(given)]  # a second activation makes no second network
                name = self._names[id(given)]
                rows = given.detach().reshape(-1, given.shape[-1])
                measure = self._recording.uncounted(lambda given: self._take(name, given))
                attempt(self._missing, Need.HIDDEN, lambda: measure(rows))
        return func(*args, **kwargs)

    def _take(self, name: str, rows: Tensor) -> None:
        count, width = rows.shape
        centred = rows.double() - rows.mean(dim=0, dtype=torch.float64)
        # The smaller of the two products has the same eigenvalues, but for zeros.
        product = centred @ centred.T if count < width else centred.T @ centred
        self._found.append((name, width, count, product / max(count - 1, 1)))

    def collect(self) -> tuple[Hidden, ...]:
        """What was seen, in the order of runs."""
        spectra = attempt(self._missing, Need.HIDDEN, lambda: eigenvalues([one[3] for one in self._found])) or ()
        return tuple(
            Hidden(name, width, rows, spectrum)
            for (name, width, rows, _), spectrum in zip(self._found, spectra, strict=False)
            if spectrum is not None
        )
