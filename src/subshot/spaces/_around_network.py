"""Networks around a model: take its tree of modules without values, change some of it, and give it values anew."""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.spaces._around_layers import (
    OVER_MAPS,
    channel_axis,
    kind_of,
    resize_parameter,
    set_activations,
    set_heads,
    set_input,
    set_kernel,
    set_output,
)
from subshot.spaces._around_trace import evaluating
from subshot.spaces._shapes import ShapesOnly

# Sides of images to try where no example is given.
_USUAL_SIZES = (224, 32, 28, 64, 96, 128, 160, 192, 256, 299, 384)

# Where a module of a changed tree comes from in the model; copies of a block have the same origin.
_ORIGIN = "_subshot_origin"


@dataclass(frozen=True)
class Width:
    """One width, of coupled layers.

    Attributes:
        layers: Paths of convolutions and linear layers that put it out.
        parameters: Paths of bare parameters, with the axis.
        attributes: Module and name of attributes that state it as a number.
    """

    layers: tuple[str, ...]
    parameters: tuple[tuple[str, int], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Depth:
    """A run of identical residual blocks.

    Attributes:
        container: Path of the sequence that holds them.
        first: Position of the first.
        count: How many there are.
    """

    container: str
    first: int
    count: int


@dataclass
class Plan:
    """What each choice acts on, by its name.

    Attributes:
        widths: Coupled layers.
        depths: Runs of blocks.
        kernels: Paths of convolutions.
        heads: Paths of attention layers.
        head: Layer whose channels are the outputs.
        outputs: How many the model has.
    """

    widths: dict[str, Width] = field(default_factory=dict)
    depths: dict[str, Depth] = field(default_factory=dict)
    kernels: dict[str, str] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    head: str | None = None
    outputs: int = 0


def skeleton(model: nn.Module, *, device: str = "meta") -> nn.Module:
    """A copy of ``model``, without values on the meta device, each module knowing its origin."""
    bare = copy.deepcopy(model)
    shared = _shared(bare)
    _share(bare.to(device), shared)
    for path, module in bare.named_modules():
        setattr(module, _ORIGIN, path)
    return bare


def origin_of(module: nn.Module) -> str:
    """Path in the model of the module that this one is, or is a copy of."""
    return str(getattr(module, _ORIGIN))


Places = list[tuple[nn.Module, str]]


def _shared(network: nn.Module) -> list[Places]:
    """Modules and names of parameters that stand at several places."""
    places: dict[int, Places] = {}
    for module in network.modules():
        for name, parameter in _present(module._parameters):
            places.setdefault(id(parameter), []).append((module, name))
    return [several for several in places.values() if len(several) > 1]


def _share(network: nn.Module, shared: list[Places]) -> nn.Module:
    """Put one parameter at several places again, after a move to another device has made copies."""
    for (first, name), *others in shared:
        for module, other in others:
            module._parameters[other] = first._parameters[name]
    return network


def shape_network(
    bare: nn.Module, plan: Plan, changes: Mapping[str, Value], example: Tensor, *, outputs: int | None = None
) -> nn.Module:
    """A changed copy of a skeleton, all layers fitted to what comes in.

    Args:
        bare: From :func:`skeleton`.
        plan: What choices act on.
        changes: Values of the choices that differ from the model.
        example: A batch, on the device of the skeleton.
        outputs: Number of outputs, if it differs.

    Raises:
        Exception: Whatever the model raises where a layer can't be fitted.
    """
    network = copy.deepcopy(bare)
    modules = dict(network.named_modules())
    for name, value in changes.items():
        if name in plan.widths:
            _set_width(modules, plan.widths[name], cast(int, value))
        elif name in plan.kernels:
            set_kernel(modules[plan.kernels[name]], cast(int, value))
        elif name in plan.heads:
            set_heads(modules[plan.heads[name]], cast(int, value))
        elif name not in plan.depths:
            set_activations(network, str(value))
    if outputs is not None and plan.head is not None:
        set_output(modules[plan.head], outputs)
    # From the back, so that positions in front stay what they are.
    for name, depth in sorted(plan.depths.items(), key=lambda item: -item[1].first):
        if name in changes:
            _set_depth(modules[depth.container], depth, cast(int, changes[name]))
    _fit(network, example)
    return network


def _set_width(modules: dict[str, nn.Module], width: Width, value: int) -> None:
    for path in width.layers:
        set_output(modules[path], value)
    for path, axis in width.parameters:
        module, _, name = path.rpartition(".")
        resize_parameter(modules[module], name, axis, value)
    for path, name in width.attributes:
        setattr(modules[path], name, value)


def _set_depth(container: nn.Module, depth: Depth, value: int) -> None:
    """Leave out the last blocks of a run, or repeat the last one.

    The others keep their names, which are those of the text, but for a ``ModuleList``, whose names are positions.
    """
    blocks = [(key, module) for key, module in container._modules.items() if module is not None]
    end = depth.first + depth.count
    name, last = blocks[end - 1]
    again = [(f"{name}_again{number + 1}", copy.deepcopy(last)) for number in range(value - depth.count)]
    kept = [*blocks[: depth.first + min(value, depth.count)], *again, *blocks[end:]]
    container._modules.clear()
    for number, (key, module) in enumerate(kept):
        container._modules[str(number) if isinstance(container, nn.ModuleList) else key] = module


def _fit(network: nn.Module, example: Tensor) -> None:
    """Run the network once; each layer takes the width of what comes in, in the order in which they run."""
    inside = 0

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal inside
        inside += 1
        x = next((one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)), None)
        if inside == 1 and x is not None:
            set_input(module, x.shape[channel_axis(module, x)])

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal inside
        inside -= 1

    hooks = []
    for module in network.modules():
        if kind_of(module):
            hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            hooks.append(module.register_forward_hook(leave))
    try:
        with evaluating(network), ShapesOnly(products=False):
            network(example)
    finally:
        for hook in hooks:
            hook.remove()


def materialise(shaped: nn.Module, model: nn.Module) -> nn.Module:
    """Give values to a network without any: each layer's own initialisation.

    Parameters that no layer's rule reaches (position embeddings, scales) keep the model's values where their shape is
    the same, and else are drawn with its mean and spread. Other buffers keep the model's values.

    Raises:
        ValueError: A buffer of another shape than the model's, whose values can't be known.
    """
    shared = _shared(shaped)
    network = _share(shaped.to_empty(device="cpu"), shared)
    origins = dict(model.named_modules())
    for module in reversed(list(network.modules())):  # inner modules first, as when a network is made
        origin = origins[getattr(module, _ORIGIN)] if hasattr(module, _ORIGIN) else None
        reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        if origin is not None:
            _keep_values(module, origin)
        for mark in (_ORIGIN, OVER_MAPS):
            vars(module).pop(mark, None)
        if callable(reset) and (module._parameters or module._buffers):
            reset()
    return network


def _keep_values(module: nn.Module, origin: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in _present(module._parameters):
            old = origin._parameters[name]
            assert old is not None
            if old.shape == parameter.shape:
                parameter.copy_(old)
            elif (old == old.flatten()[0]).all():
                parameter.fill_(old.flatten()[0].item())
            else:
                parameter.normal_(old.float().mean().item(), old.float().std().item())
        ruled = kind_of(module) == "norm"
        for name, buffer in _present(module._buffers):
            known = origin._buffers[name]
            assert known is not None
            if known.shape == buffer.shape:
                buffer.copy_(known)
            elif not ruled:
                raise ValueError(f"the buffer {name} of {type(module).__name__} would need another shape")


def _present(tensors: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, tensor) for name, tensor in tensors.items() if tensor is not None)


def usual_images(model: nn.Module) -> Tensor:
    """One image of zeros that the model accepts, of the first usual size that fits.

    Raises:
        OptionError: None of them does.
    """
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    channels = first.in_channels if first is not None else 3
    for device in ("meta", "cpu"):
        network = skeleton(model, device=device)
        for size in _USUAL_SIZES:
            with contextlib.suppress(Exception), evaluating(network), torch.random.fork_rng(devices=[]):
                network(torch.zeros(1, channels, size, size, device=device))
                return torch.zeros(1, channels, size, size)
    raise OptionError(
        f"The model accepts no image of {channels} channels and {', '.join(map(str, _USUAL_SIZES))} pixels.",
        "Give an example: around(model, batch).",
    )
