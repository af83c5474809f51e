"""One pass over the shapes of a network: its operations and the memory that its activations need.

The network is built and run on torch's meta device, where tensors have shapes and no content: nothing is computed,
nothing large is allocated, and a network that fits no memory can be looked at too. A network that can't be built or run
there, because it looks at its numbers, runs for real.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from subshot._types import Arch, InputSpec, TaskSpec
from subshot.costs._evaluating import evaluating
from subshot.networks._macs import _formulas
from subshot.spaces._space import Space

# What an operation on certain shapes is, and which tensors it makes; None where that must be seen each time.
_Known = tuple["Operation | None", "tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...] | None"]


@dataclass(frozen=True)
class Operation:
    """One call of a torch operator.

    Attributes:
        kind: What it does, for example ``convolution 3x3``.
        detail: The kind with all shapes, so that operations of the same detail take the same time.
        side: Height, or length, of what it makes.
        macs: Multiply-accumulates.
        elements: Numbers read, weights included, and written.
    """

    kind: str
    detail: str
    side: int
    macs: float
    elements: float


@dataclass(frozen=True)
class Trace:
    """A forward pass of a network in evaluation mode.

    Attributes:
        operations: How often each operation runs; views, which move nothing, have one kind in common.
        macs: Multiply-accumulates of all.
        peak_bytes: Most bytes of activations alive at once; see :mod:`subshot.costs.memory`.
        parameter_bytes: Bytes of parameters and buffers.
    """

    operations: Mapping[Operation, int]
    macs: float
    peak_bytes: int
    parameter_bytes: int


def trace(network: nn.Module, task: TaskSpec, *, batch_size: int = 1) -> Trace:
    """Run the network once on the device that it is on, and note what happens.

    Args:
        network: The network, real or on the meta device; it is left as found.
        task: Its inputs.
        batch_size: Samples at a time.
    """
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    own = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    inputs = {spec.name: _zeros(spec, batch_size, device) for spec in task.inputs}
    recorder = _Recorder(list(own.values()), list(inputs.values()))
    with evaluating(network), torch.no_grad(), recorder:
        network(**inputs) if len(inputs) > 1 else network(*inputs.values())
    weights = sum(tensor.numel() * tensor.element_size() for tensor in own.values())
    macs = sum(operation.macs * count for operation, count in recorder.operations.items())
    return Trace(recorder.operations, macs, recorder.peak, weights)


def trace_architecture(
    space: Space, arch: Arch, task: TaskSpec, *, variant: str | None = None, batch_size: int = 1
) -> Trace:
    """The trace of an architecture's network, without memory for it where that is possible."""
    try:
        with torch.device("meta"):
            network = space.build(arch, task, variant=variant)
        return trace(network, task, batch_size=batch_size)
    except Exception:  # what a network does to meet a tensor without content is beyond counting
        return trace(space.build(arch, task, variant=variant), task, batch_size=batch_size)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations and, after each, which storages are alive."""

    # Shape inference takes most of the time and meets the same shapes in all networks of a space.
    _known: dict[Any, _Known] = {}

    def __init__(self, own: list[Tensor], inputs: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Counter[Operation] = Counter()
        self.peak = 0
        self._weights = {tensor.untyped_storage()._cdata for tensor in own}
        self._alive: dict[int, tuple[Any, int]] = {}
        self._bytes = 0
        self._note(inputs)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func``, or make what it is known to return on the meta device."""
        kwargs = kwargs or {}
        given = _tensors((*args, *kwargs.values()))
        key = _key(func, args, kwargs)
        known = self._known.get(key) if key is not None else None
        if known is not None and known[1] is not None and all(tensor.is_meta for tensor in given):
            made = [torch.empty_strided(size, step, dtype=dtype, device="meta") for size, step, dtype in known[1]]
            output: Any = made[0] if len(made) == 1 else tuple(made)
        else:
            output = func(*args, **kwargs)
            made = _tensors((output,))
        if known is None:
            known = _describe(func, args, kwargs, given, made, output)
            if key is not None:
                self._known[key] = known
        if known[0] is not None:
            self.operations[known[0]] += 1
        self._note(_lasting(func, made))
        return output

    def _note(self, made: list[Tensor]) -> None:
        """Forget storages that are gone, add new ones; what ``func`` was given is alive while it runs."""
        gone = [key for key, (reference, _) in self._alive.items() if _expired(reference)]
        for key in gone:
            self._bytes -= self._alive.pop(key)[1]
        for tensor in made:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._alive and storage._cdata not in self._weights:
                size = storage.nbytes()
                self._alive[storage._cdata] = (_reference(storage), size)
                self._bytes += size
        self.peak = max(self.peak, self._bytes)


def _lasting(func: Any, made: list[Tensor]) -> list[Tensor]:
    """What an operator makes, without batch norm's statistics, which are for training and empty on some devices."""
    return made[:1] if func._overloadpacket is torch.ops.aten.native_batch_norm else made


def _reference(storage: Any) -> Any:
    """Knows whether a storage is still there, without keeping it."""
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]


def _expired(reference: Any) -> bool:
    return bool(reference.expired())


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += _tensors(value)
    return found


def _key(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What decides the shapes of the result; ``None`` for arguments that can't be compared."""
    key = (func, _plain(args), tuple(sorted((name, _plain(value)) for name, value in kwargs.items())))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype, value.is_meta)
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    return (type(value), value)  # 1, 1.0 and True are equal


def _describe(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[Tensor], made: list[Tensor], output: Any
) -> _Known:
    storages = {tensor.untyped_storage()._cdata for tensor in given}
    shared = any(tensor.untyped_storage()._cdata in storages for tensor in made)
    writes = any(one.alias_info is not None and one.alias_info.is_write for one in func._schema.arguments)
    flat = isinstance(output, Tensor) or (isinstance(output, tuple) and all(isinstance(one, Tensor) for one in output))
    shapes = None
    if flat and not shared and not writes and all(tensor.is_meta for tensor in made):
        shapes = tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in made)
    if not given:  # a new tensor, not part of the computation to speak of
        return None, shapes
    if shared and not writes:
        return Operation("view", "view", 0, 0, 0), shapes
    count = _formulas().get(func._overloadpacket)
    macs = count(*args, **kwargs, out_val=output) / 2 if count else 0.0
    touched = (*given, *_lasting(func, made))
    elements = float(sum(tensor.numel() for tensor in touched))
    side = made[0].shape[-2] if made and made[0].dim() > 1 else 0
    kind = _kind(func, args)
    signature = ",".join("x".join(map(str, tensor.shape)) for tensor in touched)
    return Operation(kind, f"{kind} {signature}", side, macs, elements), shapes


def _kind(func: Any, args: tuple[Any, ...]) -> str:
    """The operator's name; kernel size and grouping matter to the speed of a convolution."""
    name = func._overloadpacket._qualified_op_name.rpartition("::")[2].rstrip("_")
    if name != "convolution":
        return str(name)
    weight, stride, groups = args[1], args[3], args[8]
    grouping = "" if groups == 1 else " depthwise" if weight.shape[1] == 1 else " grouped"
    return f"{name} {'x'.join(map(str, weight.shape[2:]))} / {max(stride)}{grouping}"


def _zeros(spec: InputSpec, batch_size: int, device: torch.device) -> Tensor:
    return torch.zeros((batch_size, *spec.shape), dtype=getattr(torch, spec.dtype), device=device)
