"""Which layers of a network must have the same width: one run in which every value carries where it came from.

Beside each tensor runs a tensor of tags, of the same shape: the layer that made a number and its channel there.
Functions that move numbers (reshape, concatenate, cut) move the tags too; where numbers meet element by element, their
layers are coupled; what is not understood closes the layers that lead to it. So residual additions, gates,
concatenations and position embeddings need no rules of their own, and the network's code may do what it likes.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from subshot.errors import NetworkError
from subshot.spaces._around_functions import MOVES, PRODUCTS, REDUCTIONS, broadcasts, moved, spread
from subshot.spaces._around_layers import channel_axis, divisor_of, is_depthwise, kind_of, remember_axis, width_of
from subshot.spaces._around_tags import NONE, STEP, Group, Ledger, Owner, Trace, Visit, compress, constant
from subshot.spaces._shapes import ShapesOnly


def trace(network: nn.Module, example: Tensor) -> Trace:
    """Run ``network`` once on ``example``, which is on the same device.

    Raises:
        NetworkError: It fails on the example; the module is named.
    """
    tracer = _Tracer(network)
    with evaluating(network), tracer.hooked(network):
        try:
            with ShapesOnly(products=False), tracer:
                output = network(example)
        except Exception as error:
            where = tracer.stack[-1] if tracer.stack else ""
            raise NetworkError(
                f"The model fails on the example of shape {tuple(example.shape)}, in {where or 'itself'}: "
                f"{type(error).__name__}: {error}.",
                "Give an example that it accepts: a batch of one tensor.",
            ) from error
        return tracer.result(output)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients and without fused attention, which hides its parts; put back afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        network.eval()
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes:
            module.training = training


class _Tracer(TorchFunctionMode):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.stack: list[str] = []
        self._tags: dict[int, Tensor] = {}
        self._kept: list[Any] = []  # so that no identity is used twice
        self._inside = 0  # of a layer that is known as a whole
        self._ledger = Ledger()
        self._layers: dict[str, int] = {}
        self._rows: dict[str, Tensor] = {}
        self._meetings = 0
        self._open: list[int] = []
        self._visits: dict[str, list[tuple[Tensor, Tensor, bool]]] = {}
        self._called: list[str] = []
        known = {id(p) for m in network.modules() if kind_of(m) for p in m.parameters()}
        self._bare = {id(p): name for name, p in network.named_parameters() if id(p) not in known}
        self._bare_owner: dict[int, int] = {}
        times: dict[int, int] = {}
        for _, parameter in network.named_parameters(remove_duplicate=False):
            times[id(parameter)] = times.get(id(parameter), 0) + 1
        self._tied = {one for one, count in times.items() if count > 1}

    # --- hooks --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def hooked(self, network: nn.Module) -> Iterator[None]:
        """Watch every module for as long as the context lasts."""
        hooks = []
        for path, module in network.named_modules():
            hooks.append(module.register_forward_pre_hook(self._entering(path, module), with_kwargs=True))
            hooks.append(module.register_forward_hook(self._leaving(path, module), with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _entering(self, path: str, module: nn.Module) -> Callable[..., None]:
        def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
            self.stack.append(path)
            self._open.append(self._meetings)
            self._inside += kind_of(module) is not None

        return enter

    def _leaving(self, path: str, module: nn.Module) -> Callable[..., None]:
        def leave(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
            kind = kind_of(module)
            if kind is not None and self._inside == 1 and tensors and results:
                self._layer(path, module, tensors, results[0])
            self._inside -= kind is not None
            met = self._meetings > self._open.pop()
            if kind is None and len(tensors) == len(results) == 1:
                self._visits.setdefault(path, []).append((tensors[0], results[0], met))
                self._kept += [tensors[0], results[0]]
            self.stack.pop()

        return leave

    def _layer(self, path: str, module: nn.Module, tensors: list[Tensor], output: Tensor) -> None:
        """A layer that is known as a whole: what comes in, and the tags of what goes out."""
        x = tensors[0]
        remember_axis(module, x)
        row: Tensor | None = None
        for tensor in tensors[: 3 if isinstance(module, nn.MultiheadAttention) else 1]:
            tags = self._tags.get(id(tensor))
            if tags is None:
                continue
            if constant(tags, channel_axis(module, tensor)):
                self._across(path, module, tags, output)
                return
            found = self._row(tags, channel_axis(module, tensor))
            if row is not None:
                self._ledger.couple(row, found)
            row = found
        if row is not None:
            if path in self._rows:  # called again: both inputs meet the same weights
                self._ledger.couple(self._rows[path], row)
            self._rows[path] = row
            self._ledger.divide(row, divisor_of(module))
        self._called.append(path)
        tied = any(id(parameter) in self._tied for parameter in module.parameters())
        if tied and row is not None:
            self._ledger.close(row, f"{path} shares its weights")
        axis = channel_axis(module, x)
        if kind_of(module) in ("conv", "linear") and not is_depthwise(module):
            if path not in self._layers:
                self._layers[path] = self._ledger.new(Owner(path, width_of(module)))
                if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
                    self._ledger.divisors[self._layers[path]] = module.groups
            owner = self._layers[path]
            row = owner * STEP + torch.arange(width_of(module))
            if tied:
                self._ledger.close(row, f"{path} shares its weights")
            if width_of(module) == 1:
                self._ledger.close(row, "it has one channel")
                return
        elif row is not None and output.shape[axis] != len(row):
            row = row.repeat_interleave(output.shape[axis] // len(row))
        if row is not None:
            shape = [1] * output.dim()
            shape[axis] = -1
            self._tag(output, row.view(shape).expand(output.shape))

    def _across(self, path: str, module: nn.Module, tags: Tensor, output: Tensor) -> None:
        """A layer over places: channels pass through, and since tags follow one axis only, its own width stays."""
        self._called.append(path)
        if kind_of(module) in ("conv", "linear") and path not in self._layers:
            self._layers[path] = self._ledger.new(Owner(path, width_of(module)))
            self._ledger.closed[self._layers[path]] = "it works across places, not channels"
        found = spread(tags, [output])
        if found is None:
            self._ledger.close(tags, f"{path} works across places")
        else:
            self._tag(output, found[0])

    # --- functions ----------------------------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._inside:
            return func(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        shapes = [tuple(one.shape) for one in inputs]  # before anything happens in place
        tags = [self._tags_of(one) for one in inputs]
        output = func(*args, **kwargs)
        results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        if results and any(one is not None for one in tags):
            name = getattr(func, "__name__", "")
            if name == "__get__":
                name = getattr(func.__self__, "__name__", "")
            self._propagate(name, func, (args, kwargs), inputs, shapes, tags, results)
        return output

    def _propagate(
        self,
        name: str,
        func: Any,
        call: tuple[tuple[Any, ...], dict[str, Any]],
        inputs: list[Tensor],
        shapes: list[tuple[int, ...]],
        tags: list[Tensor | None],
        results: list[Tensor],
    ) -> None:
        name = name.rstrip("_") if not name.startswith("__") else name
        known = [one for one in tags if one is not None]
        if name in MOVES:
            found = moved(func, call, inputs, tags)
            if found is not None and [tuple(one.shape) for one in found] == [tuple(one.shape) for one in results]:
                for result, tag in zip(results, found, strict=True):
                    self._tag(result, tag)
                return
        elif name in REDUCTIONS and len(known) == 1:
            reduced = self._reduce(known[0], call, results[0])
            if reduced is not None:
                for result in results:
                    self._tag(result, reduced)
                return
        elif name not in PRODUCTS:
            if len(results) == 1 and self._elementwise(shapes, tags, results[0]):
                return
            found = spread(known[0], results) if len(inputs) == 1 else None
            if found is not None:
                for result, tag in zip(results, found, strict=True):
                    self._tag(result, tag)
                return
        if all(result.numel() <= 1 for result in results):
            return  # a number has no channels
        for tag in known:
            self._ledger.close(tag, f"{name or 'a function'} in {self.stack[-1] if self.stack else 'the model'}")

    def _reduce(self, tags: Tensor, call: tuple[tuple[Any, ...], dict[str, Any]], result: Tensor) -> Tensor | None:
        """Tags after the mean (or the like) over some axes, along which they are all alike."""
        args, kwargs = call
        dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
        if dims is None or isinstance(dims, Tensor):
            return None
        axes = [dims] if isinstance(dims, int) else list(dims)
        if not all(isinstance(axis, int) for axis in axes):
            return None
        for keep in (False, True):
            low, high = torch.amin(tags, axes, keepdim=keep), torch.amax(tags, axes, keepdim=keep)
            if low.shape == result.shape:
                if not torch.equal(low, high):  # tokens of different origin are mixed
                    self._ledger.couple(tags, torch.amax(tags, axes, keepdim=True))
                return high
        return None

    def _elementwise(self, shapes: list[tuple[int, ...]], tags: list[Tensor | None], result: Tensor) -> bool:
        """Whether inputs were combined element by element; if so, couple them and tag the result."""
        try:
            whole = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
        except RuntimeError:
            return False
        if tuple(whole) != tuple(result.shape):
            return False
        first: Tensor | None = None
        for tag in tags:
            if tag is None:
                continue
            if first is None:
                first = tag
            else:
                self._ledger.couple(first, tag)
                if first.shape != result.shape == tag.shape:  # the first was broadcast
                    first = tag
        assert first is not None
        for shape, tag in zip(shapes, tags, strict=True):
            if tag is None and not broadcasts(shape, first):
                self._ledger.close(first, "it meets a tensor of fixed size")
        self._meetings += sum(tag is not None for tag in tags) > 1
        self._tag(result, first.expand(result.shape))
        return True

    # --- tags ---------------------------------------------------------------------------------------------------------

    def _tags_of(self, tensor: Tensor) -> Tensor | None:
        tags = self._tags.get(id(tensor))
        if tags is not None or id(tensor) not in self._bare or tensor.numel() == 1:
            return tags
        if id(tensor) not in self._bare_owner:
            path = self._bare[id(tensor)]
            self._bare_owner[id(tensor)] = self._ledger.new(Owner(path, 0, tuple(tensor.shape)))
        numbers = torch.arange(tensor.numel()).view(tensor.shape)
        self._kept.append(tensor)
        self._tags[id(tensor)] = tags = self._bare_owner[id(tensor)] * STEP + numbers
        if id(tensor) in self._tied:
            self._ledger.close(tags, "it is a shared parameter")
        return tags

    def _tag(self, tensor: Tensor, tags: Tensor) -> None:
        self._kept.append(tensor)
        self._tags[id(tensor)] = tags

    def _row(self, tags: Tensor, axis: int) -> Tensor:
        """Tags along the channels; what stands at different places of the same channel is coupled."""
        rows = compress(tags, keep=axis).movedim(axis, -1).flatten(0, -2)
        rows = torch.unique(rows, dim=0) if len(rows) > 1 else rows
        # A layer's tags go first: of a bare parameter it isn't known yet which axis has the channels.
        rows = rows[torch.argsort(torch.tensor([self._is_bare(row[0]) for row in rows]).int(), stable=True)]
        for row in rows[1:]:
            self._ledger.couple(rows[0], row)
        return rows[0]

    def _is_bare(self, tag: Tensor) -> bool:
        return int(tag) == NONE or self._ledger.owners[int(tag) // STEP].shape is not None

    # --- result -------------------------------------------------------------------------------------------------------

    def result(self, output: Any) -> Trace:
        """Groups and visits, after the run."""
        outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        head: str | None = None
        for leaf in outputs:
            tags = self._tags.get(id(leaf))
            if tags is not None:
                owners = torch.unique(tags // STEP).tolist()
                if len(outputs) == 1 and len(owners) == 1 and owners[0] >= 0 and not self._ledger.is_param(owners[0]):
                    head = self._ledger.owners[owners[0]].path
                self._ledger.close(tags, "its channels are the outputs")
        found: dict[int, Group] = {}
        for number, owner in enumerate(self._ledger.owners):
            group = found.setdefault(self._ledger.root(number), Group())
            if owner.shape is None:
                group.layers.append(owner.path)
                group.width = owner.width
            elif owner.axis is not None:
                group.parameters.append((owner.path, owner.axis))
            elif not group.closed:
                group.closed = f"{owner.path} is used in a way that isn't understood"
            group.closed = group.closed or self._ledger.closed.get(number, "")
            group.divisor = int(
                torch.lcm(torch.tensor(group.divisor), torch.tensor(self._ledger.divisors.get(number, 1)))
            )
        groups = [group for group in found.values() if group.layers]
        feeds = {}
        for path, row in self._rows.items():
            roots = {self._ledger.root(owner) for owner in torch.unique(row[row != NONE] // STEP).tolist()}
            if len(roots) == 1 and (first := found[roots.pop()]).layers:
                feeds[path] = first.layers[0]
        visits = {
            path: [Visit(id(x), id(y), met and self._same(x, y)) for x, y, met in calls]
            for path, calls in self._visits.items()
        }
        size = outputs[0].shape[-1] if outputs and outputs[0].dim() else 1
        return Trace(groups, visits, head, size, list(dict.fromkeys(self._called)), feeds)

    def _same(self, x: Tensor, y: Tensor) -> bool:
        """Whether two tensors have the same shape and the same channels, in coupled layers."""
        first, second = self._tags.get(id(x)), self._tags.get(id(y))
        if first is None or second is None or x.shape != y.shape or (first < 0).any() or (second < 0).any():
            return False
        roots = torch.tensor([self._ledger.root(owner) for owner in range(len(self._ledger.owners))])
        bare = torch.tensor([self._ledger.is_param(owner) for owner in range(len(self._ledger.owners))])
        agree = (first % STEP == second % STEP) | bare[first // STEP] | bare[second // STEP]
        return bool((roots[first // STEP] == roots[second // STEP]).all() and agree.all())
