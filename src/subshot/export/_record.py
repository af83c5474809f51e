"""What a network does, module by module, seen while it runs: each call of a layer, function or tensor method.

Nothing symbolic passes through the network, so that code may look at shapes, count and branch as it likes. What is
recorded is then one path through it; two runs, with other values and another batch size, tell which numbers stand for
the size of the batch, and refuse networks whose path depends on values.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from subshot.errors import NetworkError
from subshot.export._frame import BatchSize, Frame, Statement, path_expression, tensors_in

# Methods that have a plain form; ``__radd__`` and the like are turned round.
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "truediv": "/", "floordiv": "//", "matmul": "@", "pow": "**"}
_IN_PLACE = {"__iadd__": "add_", "__isub__": "sub_", "__imul__": "mul_", "__itruediv__": "div_"}
_HOMES = (
    ("F", F),
    ("torch", torch),
    ("torch.special", torch.special),
    ("torch.linalg", torch.linalg),
    ("torch.fft", torch.fft),
)


class _Watcher(TorchFunctionMode):
    """Tells the innermost frame of each function that is called."""

    def __init__(self, recorder: "_Recorder") -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__iter__:
            parts = args[0].unbind(0)
            self._recorder.note(Tensor.unbind, (args[0], 0), {}, parts)
            return iter(parts)
        result = func(*args, **(kwargs or {}))
        self._recorder.note(func, args, kwargs or {}, result)
        return result


class _Recorder:
    def __init__(self, leaves: set[int]) -> None:
        self._leaves = leaves
        self._stack: list[Frame] = []
        self._quiet = 0
        self.frames: list[Frame] = []

    def call(self, original: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
        """A module is called."""
        if self._quiet:
            return original(module, *args, **kwargs)
        caller = self._stack[-1] if self._stack else None
        if id(module) in self._leaves:
            self._quiet += 1
            try:
                result = original(module, *args, **kwargs)
            finally:
                self._quiet -= 1
            if caller is not None:
                self._note_module(caller, module, "layer", args, kwargs, result)
            return result
        frame = Frame(module)
        given = _named(module, args, kwargs)
        for parameter, value in given.items():
            frame.give(parameter, value)
        self._stack.append(frame)
        try:
            result = original(module, *args, **kwargs)
        finally:
            self._stack.pop()
        frame.output = frame.symbolic(result)
        self.frames.append(frame)
        if caller is not None:
            self._note_module(caller, module, "module", tuple(given.values()), {}, result)
        return result

    def _note_module(self, caller: Frame, module: nn.Module, kind: str, args: Any, kwargs: Any, result: Any) -> None:
        paths = [path for path, one in caller.module.named_modules(remove_duplicate=False) if one is module]
        if not paths:
            raise NetworkError(
                f"{type(caller.module).__name__} calls a {type(module).__name__} that isn't a part of it.",
                "Make it an attribute, or export the network as onnx or torch.",
            )
        words = [part for part in paths[0].split(".") if part.isidentifier()]
        called = path_expression(caller.module, paths[0])
        caller.add(result, kind, called, args, kwargs, hint=words[-1] if words else "x")

    def note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """A function is called."""
        setting = func is Tensor.__setitem__
        if self._quiet or not self._stack or not (setting or tensors_in(result)):
            return
        frame, name = self._stack[-1], getattr(func, "__name__", "")
        if name == "__get__":
            owner = func.__self__
            wanted = (owner.fget if isinstance(owner, property) else owner).__name__  # type: ignore[union-attr]
            frame.add(result, "property", wanted, args[:1], {}, hint=wanted)
        elif name in ("__getitem__", "__setitem__"):
            frame.add(result, "set_item" if setting else "item", "", args, {}, hint="part")
        elif name in _IN_PLACE:
            frame.add(result, "method", _IN_PLACE[name], args, kwargs, hint="x")
        else:
            bare = name.strip("_")
            turned = bare.startswith("r") and bare[1:] in INFIX and name.startswith("__")
            operator = bare[1:] if turned else bare
            wrapped = str(getattr(func, "__qualname__", "")).startswith(("Tensor.", "TensorBase."))
            method = hasattr(Tensor, name) and (wrapped or getattr(Tensor, name) == func)
            if operator in INFIX and method and len(args) == 2 and not kwargs:
                frame.add(result, "infix", INFIX[operator], args[::-1] if turned else args, {}, hint="x")
            elif method:
                frame.add(result, "method", name, args, kwargs, hint=bare)
            else:
                frame.add(result, "function", _function(func), args, kwargs, hint=bare)


def _named(module: nn.Module, args: Any, kwargs: Any) -> dict[str, Any]:
    """Arguments with tensors in them, by the names of the parameters of ``forward``."""
    bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    signature = inspect.signature(module.forward).parameters
    for name in bound:
        if signature[name].kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) and bound[name]:
            raise NetworkError(
                f"{type(module).__name__}.forward takes *{name}.", "Name its parameters, or export as onnx or torch."
            )
    return {name: value for name, value in bound.items() if tensors_in(value)}


def _function(func: Any) -> str:
    """Where a function is found, by its public name where it has one."""
    for text, home in _HOMES:
        names = [name for name, value in vars(home).items() if value is func]
        if names:
            name = min(names, key=lambda one: one.startswith("_"))
            public = name.lstrip("_")
            return f"{text}.{public if hasattr(home, public) else name}"
    raise NetworkError(f"The network calls {func!r}, which has no public name.", "Export it as onnx or torch.")


@contextmanager
def _watching(recorder: _Recorder) -> Iterator[None]:
    original = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return recorder.call(original, module, args, kwargs)

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        with _Watcher(recorder):
            yield
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]


def record(network: nn.Module, examples: tuple[Tensor, Tensor], *, is_leaf: Callable[[nn.Module], bool]) -> list[Frame]:
    """The forward passes of all modules that aren't leaves, inner ones first; :class:`BatchSize` stands in them.

    Args:
        network: In evaluation mode.
        examples: Two batches (S, ...) and (S', ...) of different size and values.
        is_leaf: Whether a module is called as it is, and not looked into.

    Raises:
        NetworkError: What it does depends on values, or can't be written down.
    """
    leaves = {id(module) for module in network.modules() if is_leaf(module)}  # before anything is watched
    runs = []
    for example in examples:
        recorder = _Recorder(leaves)
        with torch.no_grad(), _watching(recorder):
            network(example)
        runs.append(recorder.frames)
    first, second = runs
    if [frame.module for frame in first] != [frame.module for frame in second]:
        raise _depends(network)
    sizes = (len(examples[0]), len(examples[1]))
    for one, other in zip(first, second, strict=True):
        one.statements = _merged(one.statements, other.statements, one, sizes)
        one.output = _merged(one.output, other.output, one, sizes)
        for expression, shape in one.shapes.items():
            one.shapes[expression] = _batch_axes(shape, other.shapes[expression], sizes)
    return first


def _batch_axes(one: tuple[int, ...], other: tuple[int, ...], sizes: tuple[int, int]) -> tuple[int, ...]:
    """For each axis how many times the batch's size it is, 0 if it isn't."""
    return tuple(
        a // sizes[0] if a != b and a * sizes[1] == b * sizes[0] else 0 for a, b in zip(one, other, strict=True)
    )


def _merged(one: Any, other: Any, frame: Frame, sizes: tuple[int, int]) -> Any:
    """Two records of one thing, with numbers that follow the batch's size marked."""
    if type(one) is not type(other):
        raise _depends(frame.module)
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            raise _depends(frame.module)
        return type(one)(_merged(a, b, frame, sizes) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        if list(one) != list(other):
            raise _depends(frame.module)
        return {key: _merged(one[key], other[key], frame, sizes) for key in one}
    if isinstance(one, slice):
        return slice(*(_merged(getattr(one, k), getattr(other, k), frame, sizes) for k in ("start", "stop", "step")))
    if isinstance(one, Statement):
        if (one.target, one.kind, one.what) != (other.target, other.kind, other.what):
            raise _depends(frame.module)
        args = _merged(one.args, other.args, frame, sizes)
        return Statement(
            one.target, one.kind, one.what, args, _merged(dict(one.kwargs), dict(other.kwargs), frame, sizes)
        )
    if one == other:
        return one
    if type(one) is int and one % sizes[0] == 0 and one * sizes[1] == other * sizes[0]:
        return BatchSize(one // sizes[0])
    raise _depends(frame.module)


def _depends(module: nn.Module) -> NetworkError:
    return NetworkError(
        f"What {type(module).__name__} does depends on the values of its input, or is random.",
        "Such a network can't be written down as plain code.",
    )
