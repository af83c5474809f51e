"""From recorded forward passes to Python source: one class for each kind of module, layers of torch as they are."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from subshot.errors import NetworkError
from subshot.export._frame import BatchSize, Frame, Name, Statement

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_WIDTH = 110


def is_container(module: nn.Module) -> bool:
    """Whether it is one of torch's containers, or does just what one does."""
    return isinstance(module, _CONTAINERS) and (
        type(module) in _CONTAINERS or type(module).forward is nn.Sequential.forward
    )


def constructor(module: nn.Module) -> str | None:
    """The expression that makes a layer of torch like this one; ``None`` for anything else, and if there is none."""
    kind = type(module)
    if not kind.__module__.startswith("torch.nn.modules") or is_container(module):
        return None
    found: dict[str, Any] = {}
    needed: list[Any] = []
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return None
        if name.startswith("_") or name in ("device", "dtype"):
            continue
        value = _setting(module, name)
        if value is inspect.Parameter.empty and parameter.default is not parameter.empty:
            continue  # a name of old
        if value is inspect.Parameter.empty or not _plain(value):
            return None
        if isinstance(value, tuple) and len(value) > 1 and len(set(value)) == 1:
            value = value[0]  # a kernel of 3, not (3, 3)
        if parameter.default is parameter.empty and not found:
            needed.append(value)
        elif value != parameter.default or type(value) is not type(parameter.default):
            found[name] = value
    if not _alike(_made(kind, needed, found), module):
        return None
    for name in list(found):  # what follows from the others is left out; older versions of torch may not know it
        fewer = {key: value for key, value in found.items() if key != name}
        if _alike(_made(kind, needed, fewer), module):
            found = fewer
    settings = [*map(repr, needed), *(f"{name}={value!r}" for name, value in found.items())]
    return f"nn.{kind.__name__}({', '.join(settings)})"


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is called as it is: a layer of torch that can be made anew."""
    return constructor(module) is not None


def _setting(module: nn.Module, name: str) -> Any:
    """What a layer was made with, from its attributes."""
    if name == "bias":
        own = "in_proj_bias" if isinstance(module, nn.MultiheadAttention) else "bias"
        return getattr(module, own, None) is not None
    if name == "add_bias_kv":
        return getattr(module, "bias_k", None) is not None
    return getattr(module, name, inspect.Parameter.empty)


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_plain, value))
    return value is None or isinstance(value, (int, float, bool, str))


def _made(kind: type[nn.Module], needed: Sequence[Any], settings: Mapping[str, Any]) -> nn.Module | None:
    try:
        with torch.device("meta"):
            return kind(*needed, **settings)
    except Exception:
        return None


def _alike(made: nn.Module | None, module: nn.Module) -> bool:
    return made is not None and repr(made) == repr(module) and _look(made) == _look(module)


def _look(module: nn.Module) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """What tells two layers of one type apart."""
    own = {name: value for name, value in vars(module).items() if name != "training" and _plain(value)}
    return own, {name: tuple(value.shape) for name, value in module.state_dict().items()}


class Writer:
    """Writes the classes of a network, inner ones first; equal ones once.

    Args:
        frames: Of :func:`subshot.export._record.record`.

    Attributes:
        classes: Their sources.
    """

    def __init__(self, frames: list[Frame]) -> None:
        self.classes: list[str] = []
        self._names: dict[int, str] = {}  # class of a module, by its id
        self._written: dict[tuple[str, str], str] = {}  # name of a class, by original name and source
        self._frames: dict[int, Frame] = {}
        for frame in frames:
            if not is_container(frame.module):
                self._write(frame)

    def build(self, module: nn.Module, indent: int = 8) -> str:
        """The expression that makes a module."""
        if id(module) in self._names:
            return f"{self._names[id(module)]}()"
        made = constructor(module)
        if made is not None:
            return made
        if not is_container(module):
            return "nn.Identity()"  # it is never called: only its place is kept
        children = [(key, self.build(child, indent + 4)) for key, child in module.named_children()]
        counted = [key for key, _ in children] == [str(number) for number in range(len(children))]
        if isinstance(module, nn.ModuleDict):
            return _wrapped("nn.ModuleDict({", [f"{key!r}: {text}" for key, text in children], "})", indent)
        if isinstance(module, nn.ModuleList):
            return _wrapped("nn.ModuleList([", [text for _, text in children], "])", indent)
        if counted:
            return _wrapped("nn.Sequential(", [text for _, text in children], ")", indent)
        pairs = [f"{key!r}: {text}" for key, text in children]
        return _wrapped("nn.Sequential(OrderedDict({", pairs, "}))", indent)

    def _write(self, frame: Frame) -> None:
        original = type(frame.module).__name__
        body = "\n".join([*self._init(frame), "", *_forward(frame)])
        known = self._written.get((original, body))
        if known is None:
            others = sum(kind == original for kind, _ in self._written)
            known = f"{original}{others + 1}" if others else original
            self._written[original, body] = known
            self.classes.append(f"class {known}(nn.Module):\n{body}\n")
        if self._names.setdefault(id(frame.module), known) != known:
            raise NetworkError(
                f"A {original} is called in several ways.", "Give each use a module of its own, or export as onnx."
            )

    def _init(self, frame: Frame) -> list[str]:
        module = frame.module
        lines = ["    def __init__(self):", "        super().__init__()"]
        for key, child in module.named_children():
            made = self.build(child)
            if made != "nn.Identity()" or isinstance(child, nn.Identity):
                plain = key.isidentifier()
                lines.append(f"        self.{key} = {made}" if plain else f"        self.add_module({key!r}, {made})")
        for key, parameter in module.named_parameters(recurse=False):
            lines.append(f"        self.{key} = nn.Parameter({_empty(parameter)})")
        buffers = [*module.named_buffers(recurse=False), *frame.constants.items()]
        lines += [f'        self.register_buffer("{key}", {_empty(value)})' for key, value in buffers]
        return lines


def _empty(tensor: Tensor) -> str:
    dtype = "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"
    return f"torch.empty({tuple(tensor.shape)}{dtype})"


def _wrapped(opening: str, parts: list[str], closing: str, indent: int) -> str:
    line = f"{opening}{', '.join(parts)}{closing}"
    if "\n" not in line and indent + len(line) <= _WIDTH - 20:
        return line
    space = " " * (indent + 4)
    return f"{opening}\n" + "".join(f"{space}{part},\n" for part in parts) + " " * indent + closing


def _forward(frame: Frame) -> list[str]:
    lines = [f"    def forward({', '.join(['self', *frame.inputs])}):"]
    for statement in _needed(frame):
        text = _expression(statement, frame)
        lines.append(f"        {text}" if statement.kind == "set_item" else f"        {statement.target} = {text}")
    return [*lines, f"        return {_text(frame.output, frame)}"]


def _needed(frame: Frame) -> list[Statement]:
    """The lines without those whose result nobody reads; what changes a tensor in place stays."""
    read, kept = _names_in(frame.output), []
    for statement in reversed(frame.statements):
        changes = statement.kind == "set_item" or (statement.kind != "item" and statement.what.endswith("_"))
        if changes or statement.target in read:
            read |= _names_in([statement.args, statement.kwargs])
            kept.append(statement)
    return kept[::-1]


def _names_in(value: Any) -> set[str]:
    if isinstance(value, Name):
        return {value.text.partition("[")[0]}
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, slice):
        value = [value.start, value.stop, value.step]
    return set().union(*map(_names_in, value)) if isinstance(value, (tuple, list)) else set()


def _expression(statement: Statement, frame: Frame) -> str:
    texts = [_text(one, frame) for one in statement.args]
    named = [f"{key}={_text(one, frame)}" for key, one in statement.kwargs.items()]
    if statement.kind == "property":
        return f"{texts[0]}.{statement.what}"
    if statement.kind == "infix":
        left, right = (f"({text})" if " " in text else text for text in texts)
        return f"{left} {statement.what} {right}"
    if statement.kind in ("item", "set_item"):
        item = f"{texts[0]}[{_index(statement.args[1], frame)}]"
        return item if statement.kind == "item" else f"{item} = {texts[2]}"
    if statement.kind == "method":
        return f"{texts[0]}.{statement.what}({', '.join([*texts[1:], *named])})"
    return f"{statement.what}({', '.join([*texts, *named])})"


def _index(value: Any, frame: Frame) -> str:
    if isinstance(value, tuple) and value:
        return ", ".join(_index(one, frame) for one in value) + ("," if len(value) == 1 else "")
    if isinstance(value, slice):
        ends = ["" if one is None else _text(one, frame) for one in (value.start, value.stop)]
        return ":".join(ends if value.step is None else [*ends, _text(value.step, frame)])
    return _text(value, frame)


def _text(value: Any, frame: Frame) -> str:
    if isinstance(value, Name):
        return value.text
    if isinstance(value, BatchSize):
        return _batch_size(value, frame)
    if isinstance(value, slice):
        return f"slice({_text(value.start, frame)}, {_text(value.stop, frame)}, {_text(value.step, frame)})"
    if isinstance(value, tuple):
        return f"({', '.join(_text(one, frame) for one in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(_text(one, frame) for one in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_text(one, frame)}" for key, one in value.items()) + "}"
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return f'float("{value}")'
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    return "..." if value is Ellipsis else repr(value)


def _batch_size(value: BatchSize, frame: Frame) -> str:
    """The batch's size, taken from an input."""
    for expression, multiples in frame.shapes.items():
        for axis, multiple in enumerate(multiples):
            if multiple and value.multiple % multiple == 0:
                times = value.multiple // multiple
                return f"{expression}.shape[{axis}]" + (f" * {times}" if times > 1 else "")
            if multiple and multiple % value.multiple == 0:
                return f"{expression}.shape[{axis}] // {multiple // value.multiple}"
    raise NetworkError(
        f"{type(frame.module).__name__} uses the size of the batch without seeing it.", "Export the network as onnx."
    )
