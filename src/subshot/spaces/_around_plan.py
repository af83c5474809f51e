"""Find what can be chosen around a model: widths, depths, kernels, heads and the activation; try each one."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from subshot._choice import Value
from subshot.spaces._around_layers import (
    activation_names,
    attention_width,
    has_open_kernel,
    head_name,
    heads_are_free,
    kind_of,
)
from subshot.spaces._around_network import Depth, Plan, Width, origin_of, shape_network
from subshot.spaces._around_tags import Group, Trace, Visit
from subshot.spaces._around_trace import trace
from subshot.spaces._choice_moves import sample
from subshot.spaces._choices import ChoiceSet, Domain

# Attributes that are likely to state a width as a number, followed where nothing else helps.
_WIDTH_NAMES = frozenset(
    {"channels", "d_model", "dim", "embed_dim", "embed_dims", "features", "head_hidden_dim", "hidden_dim"}
    | {"hidden_size", "num_features", "width"}
)
_RANDOM_TRIALS = 3

Condition = tuple[tuple[str, tuple[Value, ...]], ...]


class Opening:
    """The choices around one model.

    Args:
        bare: The model without values.
        traced: What its run showed.
        example: The batch of that run.
        widths: Multiples of a width to choose from.
        kernels: Kernel sizes to choose from.
        activations: Activations to choose from.
    """

    def __init__(
        self,
        bare: nn.Module,
        traced: Trace,
        example: Tensor,
        *,
        widths: Sequence[float],
        kernels: Sequence[int],
        activations: Sequence[str],
    ) -> None:
        self.plan = Plan(head=traced.head, outputs=traced.outputs)
        self.domains: dict[str, Domain] = {}
        self.start: dict[str, Value] = {}
        self.closed: dict[str, str] = {}
        self._bare = bare
        self._example = example
        self._modules = dict(bare.named_modules())
        self._fixed = {layer for group in traced.groups if group.closed for layer in group.layers}
        self._activation(activations)
        blocks = list(self._depths(traced))
        for group in traced.groups:
            self._width(group, widths, blocks)
        for path in traced.called:
            self._kernel(path, kernels, blocks)
            self._heads(path, f"{traced.feeds.get(path)}.width", blocks)
        self._try()

    # --- candidates ---------------------------------------------------------------------------------------------------

    def _add(self, name: str, values: Sequence[Value], start: Value, condition: Condition, *, ordered: bool) -> None:
        if len(values) > 1:
            self.domains[name] = Domain(tuple(values), ordered, condition)
            self.start[name] = start

    def _activation(self, activations: Sequence[str]) -> None:
        present = activation_names(list(self._modules.values()))
        if present:
            own = present[0] if len(present) == 1 else "mixed"
            self._add("act", [own, *(name for name in activations if name != own)], own, (), ordered=False)

    def _depths(self, traced: Trace) -> Iterator[tuple[str, str, int]]:
        """Open runs of blocks; yields path, choice, and the depth from which on it is there, of each block."""
        runs: dict[str, list[tuple[int, int]]] = {}
        for path, container in self._modules.items():
            if type(container) is nn.Sequential or isinstance(container, nn.ModuleList):
                blocks = self._children(path)
                found = _runs([self._modules[one] for one in blocks], [traced.visits.get(one, []) for one in blocks])
                runs |= {path: found} if found else {}
        for path, found in runs.items():
            blocks = self._children(path)
            # A block that itself has runs inside is a stage, not a block.
            found = [
                (first, count)
                for first, count in found
                if not any(one.startswith(f"{blocks[n]}.") for one in runs for n in range(first, first + count))
            ]
            for first, count in found:
                key = blocks[first].rpartition(".")[2] if len(found) > 1 else ""
                name = ".".join(part for part in (path, key, "depth") if part)
                lowest = max(0 if first > 0 else 1, count // 2)
                values = list(range(lowest, count + max(1, count // 2) + 1))
                self._add(name, values, count, (), ordered=True)
                self.plan.depths[name] = Depth(path, first, count)
                for number, block in enumerate(blocks[first : first + count], 1):
                    yield block, name, number

    def _children(self, path: str) -> list[str]:
        """Paths of the modules in a container."""
        return [f"{path}.{key}" if path else key for key in self._modules[path]._modules]

    def _width(self, group: Group, widths: Sequence[float], blocks: Sequence[tuple[str, str, int]]) -> None:
        name = f"{group.layers[0]}.width"
        if group.closed:
            self.closed[name] = group.closed
            return
        step = _step(group.width, group.divisor)
        values = {group.width} | {max(step, round(group.width * factor / step) * step) for factor in widths}
        values = {value for value in values if value % group.divisor == 0 and value > 1}  # one channel has no order
        self._add(
            name,
            sorted(values),
            group.width,
            self._condition([*group.layers, *(p for p, _ in group.parameters)], blocks),
            ordered=True,
        )
        self.plan.widths[name] = Width(tuple(group.layers), tuple(group.parameters))

    def _kernel(self, path: str, kernels: Sequence[int], blocks: Sequence[tuple[str, str, int]]) -> None:
        module = self._modules[path]
        if has_open_kernel(module):
            assert isinstance(module, nn.Conv2d)
            own = module.kernel_size[0]
            self._add(f"{path}.kernel", sorted({own, *kernels}), own, self._condition([path], blocks), ordered=True)
            self.plan.kernels[f"{path}.kernel"] = path

    def _heads(self, path: str, stream: str, blocks: Sequence[tuple[str, str, int]]) -> None:
        module = self._modules[path]
        if kind_of(module) != "attention" or not heads_are_free(module):
            return
        own = int(getattr(module, head_name(module) or ""))
        all_widths = self.domains[stream].values if stream in self.domains else (attention_width(module),)
        # Half and double, as far as they divide every width that the layer may get.
        values = [
            heads
            for heads in sorted({max(1, own // 2), own, own * 2})
            if all(isinstance(one, int) and one % heads == 0 for one in all_widths)
        ]
        if own in values:
            self._add(f"{path}.heads", values, own, self._condition([path], blocks), ordered=True)
            self.plan.heads[f"{path}.heads"] = path

    def _condition(self, paths: Sequence[str], blocks: Sequence[tuple[str, str, int]]) -> Condition:
        """The depth from which on all of ``paths`` are there, if they stand in one block that may be left out."""
        for block, name, number in blocks:
            if name in self.domains and all(path.startswith(f"{block}.") for path in paths):
                depths = tuple(v for v in self.domains[name].values if isinstance(v, int) and v >= number)
                return () if depths == self.domains[name].values else ((name, depths),)
        return ()

    # --- trials -------------------------------------------------------------------------------------------------------

    def _try(self) -> None:
        """Close choices until everything smallest, everything largest and random architectures run."""
        while failure := self._first_failure():
            changes, reason = failure
            name = self._culprit(changes)
            if name in self.plan.widths and not self.plan.widths[name].attributes:
                width = self.plan.widths[name]
                self.plan.widths[name] = self._with_attributes(width, int(str(self.start[name])))
                if self.plan.widths[name] != width and not self._failure({name: changes[name]}):
                    continue
            self._close(name, reason)

    def _first_failure(self) -> tuple[dict[str, Value], str] | None:
        """Changes that fail, and why."""
        if not self.domains:
            return None
        choices = ChoiceSet("trial", self.domains)
        rng = np.random.default_rng(0)
        trials = [{name: domain.values[end] for name, domain in self.domains.items()} for end in (0, -1)]
        trials += [choices.values(sample(choices, rng)) for _ in range(_RANDOM_TRIALS)]
        for trial in trials:
            changes = {name: value for name, value in trial.items() if value != self.start[name]}
            if reason := self._failure(changes):
                return changes, reason
        return None

    def _culprit(self, changes: dict[str, Value]) -> str:
        """The change with which the changes before it, in order, begin to fail; found by halving."""
        names = list(changes)
        runs, fails = 0, len(names)
        while fails - runs > 1:
            middle = (runs + fails) // 2
            if self._failure({name: changes[name] for name in names[:middle]}):
                fails = middle
            else:
                runs = middle
        return names[fails - 1]

    def _failure(self, changes: dict[str, Value]) -> str:
        """Why a changed network doesn't run, or with its channels in disorder, as by a reshape to a fixed number."""
        try:
            network = shape_network(self._bare, self.plan, changes, self._example)
            traced = trace(network, self._example)
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:300]
        modules = dict(network.named_modules())
        for group in traced.groups:
            for layer in group.layers if group.closed else ():
                if origin_of(modules[layer]) not in self._fixed:
                    return f"{layer}: {group.closed}"
        return ""

    def _with_attributes(self, width: Width, value: int) -> Width:
        """The width with the attributes that state it, of modules around its layers."""
        found = [
            (path, name)
            for path, module in self._modules.items()
            if kind_of(module) is None and any(not path or layer.startswith(f"{path}.") for layer in width.layers)
            for name in sorted(_WIDTH_NAMES)
            if type(vars(module).get(name)) is int and vars(module)[name] == value
        ]
        return replace(width, attributes=tuple(found))

    def _close(self, name: str, reason: str) -> None:
        self.closed[name] = reason
        for part in (self.domains, self.start, self.plan.widths, self.plan.depths, self.plan.heads, self.plan.kernels):
            part.pop(name, None)
        for other, domain in self.domains.items():
            condition = tuple(item for item in domain.condition if item[0] != name)
            self.domains[other] = replace(domain, condition=condition)


def _step(width: int, divisor: int) -> int:
    """What widths are rounded to: a multiple of the divisor, and of 8, 4 or 2 where that is at most an eighth."""
    for wish in (8, 4, 2):
        step = math.lcm(wish, divisor)
        if width % step == 0 and width >= 8 * step:
            return step
    return divisor


def _runs(modules: Sequence[nn.Module], visits: Sequence[Sequence[Visit]]) -> list[tuple[int, int]]:
    """First position and length of each run of identical residual blocks, each fed by the one before."""
    found: list[tuple[int, int]] = []
    for number, (module, calls) in enumerate(zip(modules, visits, strict=True)):
        visit = calls[0] if len(calls) == 1 else None
        if visit is None or not visit.residual or type(module) in (nn.Sequential, nn.ModuleList):
            continue
        if found and sum(found[-1]) == number and _alike(modules[number - 1], module):
            before = visits[number - 1][0]
            if before.result == visit.source:
                found[-1] = (found[-1][0], found[-1][1] + 1)
                continue
        found.append((number, 1))
    return found


def _alike(first: nn.Module, second: nn.Module) -> bool:
    """Whether two blocks have the same layers of the same shapes."""
    if type(first) is not type(second):
        return False
    pairs = itertools.zip_longest(first.named_modules(), second.named_modules(), fillvalue=("", None))
    return all(name == other and type(a) is type(b) and _facts(a) == _facts(b) for (name, a), (other, b) in pairs)


def _facts(module: nn.Module | None) -> tuple[object, ...]:
    if module is None:
        return ()
    shapes = tuple((name, tuple(p.shape)) for name, p in module.named_parameters(recurse=False))
    geometry = tuple(str(getattr(module, key, "")) for key in ("stride", "padding", "dilation", "groups", "num_heads"))
    return shapes, geometry
