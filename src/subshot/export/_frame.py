"""The forward pass of one module as plain lines, with names in place of tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from subshot.errors import NetworkError

_PLAIN = (int, float, bool, str, type(None), type(...), torch.dtype, torch.device, torch.memory_format)
_TAKEN = frozenset({"self", "torch", "nn", "F", "math"})


@dataclass(frozen=True)
class Name:
    """A tensor, by the expression that stands for it."""

    text: str


@dataclass(frozen=True)
class BatchSize:
    """A number that is a multiple of the batch's size."""

    multiple: int


@dataclass(frozen=True)
class Statement:
    """One line of a forward pass.

    Attributes:
        target: Name that the result gets.
        kind: ``layer`` (of torch), ``module``, ``function``, ``method``, ``property``, ``infix``, ``item`` or
            ``set_item``.
        what: The expression called, or the operator.
        args: What it is given: names, plain values, or nests of them.
        kwargs: Likewise, by keyword.
    """

    target: str
    kind: str
    what: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(eq=False)
class Frame:
    """The forward pass of one module.

    Attributes:
        module: Whose.
        inputs: What it was given, by the names of its parameters; those with tensors in them.
        statements: Its lines.
        output: What it returned.
        shapes: Of the tensors among the inputs, by expression.
        constants: Tensors that are neither inputs nor registered.
    """

    module: nn.Module
    inputs: dict[str, Any] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    output: Any = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known: dict[int, str] = {}
        self._alive: list[Tensor] = []  # an id may not be used again
        self._names: set[str] = set(_TAKEN)
        places = [
            *self.module.named_parameters(remove_duplicate=False),
            *self.module.named_buffers(remove_duplicate=False),
        ]
        for path, tensor in reversed(places):
            owner, _, name = path.rpartition(".")
            self._known[id(tensor)] = f"{path_expression(self.module, owner)}.{name}"

    def name(self, wanted: str) -> str:
        """A name that isn't taken."""
        base = wanted.strip("_") if wanted.strip("_").isidentifier() else "x"
        found, number = base, 1
        while found in self._names:
            number += 1
            found = f"{base}_{number}"
        self._names.add(found)
        return found

    def bind(self, value: Any, text: str) -> None:
        """Let an expression stand for a tensor, or its parts for the tensors in a nest."""
        if isinstance(value, Tensor):
            self._known[id(value)] = text
            self._alive.append(value)
        elif isinstance(value, (tuple, list)):
            for position, one in enumerate(value):
                self.bind(one, f"{text}[{position}]")
        elif isinstance(value, Mapping):
            for key, one in value.items():
                self.bind(one, f"{text}[{key!r}]")

    def give(self, parameter: str, value: Any) -> None:
        """Take an input."""
        self._names.add(parameter)
        self.inputs[parameter] = None
        self.bind(value, parameter)
        for tensor in tensors_in(value):
            self.shapes[self._known[id(tensor)]] = tuple(tensor.shape)

    def symbolic(self, value: Any) -> Any:
        """A value with names in place of tensors.

        Raises:
            NetworkError: It can't be written down.
        """
        if isinstance(value, Tensor):
            if id(value) not in self._known:
                name = f"constant_{len(self.constants) + 1}"
                self.constants[name] = value
                self.bind(value, f"self.{name}")
            return Name(self._known[id(value)])
        if isinstance(value, (tuple, list)):
            parts = [self.symbolic(one) for one in value]
            return parts if isinstance(value, list) else tuple(parts)
        if isinstance(value, Mapping):
            return {key: self.symbolic(one) for key, one in value.items()}
        if isinstance(value, slice):
            return slice(*map(self.symbolic, (value.start, value.stop, value.step)))
        if isinstance(value, _PLAIN):
            return value
        raise NetworkError(
            f"{type(self.module).__name__} uses a {type(value).__name__}, which can't be written into a file.",
            "Export the network as onnx or torch.",
        )

    def add(self, result: Any, kind: str, what: str, args: Any, kwargs: Mapping[str, Any], *, hint: str) -> None:
        """Write a line down, and remember what its result is called."""
        line = (kind, what, self.symbolic(tuple(args)), self.symbolic(dict(kwargs)))
        target = self.name(hint)
        self.statements.append(Statement(target, *line))
        self.bind(result, target)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a nest."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [tensor for one in value for tensor in tensors_in(one)]
    if isinstance(value, Mapping):
        return [tensor for one in value.values() for tensor in tensors_in(one)]
    return []


def path_expression(root: nn.Module, path: str) -> str:
    """How a module is reached from ``self``."""
    text, module = "self", root
    for key in path.split(".") if path else ():
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and not key.isidentifier():
            text += f"[{list(module._modules).index(key)}]"
        elif isinstance(module, nn.ModuleDict):
            text += f"[{key!r}]"
        else:
            text += f".{key}" if key.isidentifier() else f".get_submodule({key!r})"
        child = module._modules[key]
        assert child is not None
        module = child
    return text
