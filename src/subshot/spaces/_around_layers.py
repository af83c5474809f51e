"""Layers whose widths can be changed in place: what goes in, what comes out, and how to resize them.

A resized parameter is left without values; see ``_around_network.materialise``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU)

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "mish": nn.Mish,
}
_IN_PLACE = {"relu", "relu6", "silu", "hardswish", "leaky_relu", "elu", "mish"}
_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "hardswish": nn.functional.hardswish,
}
# Classes of other libraries.
_OTHER_NAMES = {"swish": "silu", "gelutanh": "gelu", "quickgelu": "gelu"}

# Set on layer norms while their widths are still the model's, since later the shapes don't tell.
OVER_MAPS = "_subshot_over_maps"

_KINDS = {kind: name for name, kind in ACTIVATIONS.items()}


def kind_of(module: nn.Module) -> str | None:
    """``conv``, ``linear``, ``norm`` or ``attention``; ``None`` for anything else, which is looked into."""
    if "parametrizations" in module._modules:
        return None
    if isinstance(module, _CONVOLUTIONS):
        return "conv"
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, _NORMS):
        shaped = isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and len(module.normalized_shape) > 1
        return None if shaped or (isinstance(module, nn.PReLU) and module.num_parameters == 1) else "norm"
    if isinstance(module, nn.MultiheadAttention):
        plain = module._qkv_same_embed_dim and module.bias_k is None and not module.add_zero_attn
        return "attention" if plain else None
    return "attention" if _is_fused_attention(module) else None


def _is_fused_attention(module: nn.Module) -> bool:
    """Self-attention with one layer for queries, keys and values, as in timm: known by names and shapes."""
    qkv, proj = (module._modules.get(name) for name in ("qkv", "proj"))
    return (
        isinstance(qkv, nn.Linear)
        and isinstance(proj, nn.Linear)
        and head_name(module) is not None
        and qkv.out_features == 3 * qkv.in_features
        and proj.in_features == proj.out_features == qkv.in_features
    )


def head_name(module: nn.Module) -> str | None:
    """Name of the attribute that holds the number of heads."""
    for name in ("num_heads", "heads", "n_heads"):
        if isinstance(getattr(module, name, None), int):
            return name
    return None


def heads_are_free(module: nn.Module) -> bool:
    """Whether no parameter of an attention layer has the heads in its shape."""
    return isinstance(module, nn.MultiheadAttention) or not list(module.parameters(recurse=False))


def channel_axis(module: nn.Module, x: Tensor) -> int:
    """Axis of the input over which the layer has weights."""
    if isinstance(module, _CONVOLUTIONS):
        return x.dim() - len(module.kernel_size) - 1
    images = isinstance(module, (_NormBase, nn.GroupNorm, nn.PReLU)) or (
        isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and _is_over_maps(module, x)
    )
    return 1 if images and x.dim() > 1 else x.dim() - 1


def _is_over_maps(module: "nn.LayerNorm | nn.RMSNorm", x: Tensor) -> bool:
    """Whether a layer norm permutes maps (N, C, H, W) by itself."""
    known: bool | None = getattr(module, OVER_MAPS, None)
    if known is not None:
        return known
    (width,) = module.normalized_shape
    if x.dim() != 4 or x.shape[1] != width:
        return False
    return x.shape[-1] != width or "2d" in type(module).__name__.lower()


def remember_axis(module: nn.Module, x: Tensor) -> None:
    """Note on a layer norm which axis it norms, before its width changes."""
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        setattr(module, OVER_MAPS, _is_over_maps(module, x))


def is_depthwise(module: nn.Module) -> bool:
    """Whether the layer filters each channel by itself."""
    return isinstance(module, _CONVOLUTIONS) and module.groups == module.in_channels > 1


def divisor_of(module: nn.Module) -> int:
    """What the width of the layer's input has to be a multiple of."""
    if isinstance(module, _CONVOLUTIONS):
        return 1 if is_depthwise(module) else module.groups
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    return int(getattr(module, head_name(module) or "", 1)) if kind_of(module) == "attention" else 1


def width_of(module: nn.Module) -> int:
    """Channels that a convolution or linear layer puts out."""
    assert isinstance(module, (*_CONVOLUTIONS, nn.Linear))
    return module.out_features if isinstance(module, nn.Linear) else module.out_channels


def set_output(module: nn.Module, width: int) -> None:
    """Give a convolution or linear layer another output width."""
    if isinstance(module, nn.Linear):
        module.out_features = width
    else:
        assert isinstance(module, _CONVOLUTIONS)
        module.out_channels = width
    _fit(module)


def set_input(module: nn.Module, width: int) -> None:
    """Fit a layer to the width that comes in.

    Raises:
        ValueError: The layer's groups or heads don't divide it.
    """
    if width % divisor_of(module):
        raise ValueError(f"{type(module).__name__} can't have {width} channels in {divisor_of(module)} groups")
    if isinstance(module, nn.Linear):
        module.in_features = width
    elif isinstance(module, _CONVOLUTIONS):
        if is_depthwise(module):
            module.out_channels = width * (module.out_channels // module.in_channels)
            module.groups = width
        module.in_channels = width
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        module.normalized_shape = (width,)
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = width
    elif isinstance(module, nn.PReLU):
        module.num_parameters = width
    elif isinstance(module, _NormBase):
        module.num_features = width
    else:
        _set_attention(module, width)
        return
    _fit(module)


def set_heads(module: nn.Module, heads: int) -> None:
    """Give an attention layer another number of heads."""
    name = head_name(module)
    assert name is not None
    setattr(module, name, heads)
    _set_attention(module, attention_width(module))


def attention_width(module: nn.Module) -> int:
    """Width of what goes into an attention layer."""
    qkv = module.out_proj if isinstance(module, nn.MultiheadAttention) else module._modules["qkv"]
    assert isinstance(qkv, nn.Linear)
    return qkv.in_features


def _set_attention(module: nn.Module, width: int) -> None:
    heads = int(getattr(module, head_name(module) or ""))
    if isinstance(module, nn.MultiheadAttention):
        module.embed_dim = module.kdim = module.vdim = width
        module.head_dim = width // heads
        _resize(module, "in_proj_weight", (3 * width, width))
        _resize(module, "in_proj_bias", (3 * width,))
        set_input(module.out_proj, width)
        set_output(module.out_proj, width)
        return
    for name, child in module.named_children():
        if name == "qkv":
            set_input(child, width)
            set_output(child, 3 * width)
        elif isinstance(child, nn.Linear):  # the projection, a gate
            set_input(child, width)
            set_output(child, width)
        elif kind_of(child) == "norm":  # of each head, or of all together
            set_input(child, width if name == "norm" else width // heads)
    for name, value in (
        ("head_dim", width // heads),
        ("attn_dim", width),
        ("dim", width),
        ("scale", (width // heads) ** -0.5),
    ):
        if isinstance(getattr(module, name, None), (int, float)):
            setattr(module, name, value)


def set_kernel(module: nn.Module, size: int) -> None:
    """Give a convolution with padding of its own size another square kernel, and the padding that goes with it."""
    assert isinstance(module, nn.Conv2d)
    module.kernel_size = (size, size)
    if not isinstance(module.padding, str):
        module.padding = (size // 2, size // 2)
        module._reversed_padding_repeated_twice = [size // 2] * 4
    _fit(module)


def has_open_kernel(module: nn.Module) -> bool:
    """Whether the map keeps its size (but for the stride) with any odd kernel."""
    return (
        type(module) is nn.Conv2d
        and module.kernel_size[0] == module.kernel_size[1] > 1
        and module.kernel_size[0] % 2 == 1
        and module.dilation == (1, 1)
        and module.padding == (module.kernel_size[0] // 2,) * 2
    )


def activation_of(module: nn.Module) -> str | None:
    """Name of the activation that a module is, also of other libraries' classes of the same names."""
    if type(module) in _KINDS:
        return _KINDS[type(module)]
    name = type(module).__name__.lower()
    plain = not module._modules and not module._parameters and not module._buffers
    name = _OTHER_NAMES.get(name, name)
    return name if plain and name in ACTIVATIONS else None


def activation_names(modules: Sequence[nn.Module]) -> list[str]:
    """Names of the activations among modules, transformer layers' included, each once."""
    names = [activation_of(module) for module in modules]
    of_function = {function: name for name, function in _FUNCTIONS.items()}
    for module in modules:
        if isinstance(module, nn.TransformerEncoderLayer):
            names.append(of_function.get(module.activation))
    return sorted({name for name in names if name is not None})


def set_activations(network: nn.Module, name: str) -> None:
    """Replace every known activation."""
    for parent in list(network.modules()):
        for key, child in list(parent._modules.items()):
            if child is not None and activation_of(child):
                in_place = name in _IN_PLACE and bool(getattr(child, "inplace", False))
                new = ACTIVATIONS[name](inplace=True) if in_place else ACTIVATIONS[name]()
                new.train(child.training)
                parent._modules[key] = new
        if isinstance(parent, nn.TransformerEncoderLayer):
            if not isinstance(parent.activation, nn.Module) and parent.activation in _FUNCTIONS.values():
                parent.activation = _FUNCTIONS.get(name) or ACTIVATIONS[name]()
            parent.activation_relu_or_gelu = {"relu": 1, "gelu": 2}.get(name, 0)


def resize_parameter(module: nn.Module, name: str, axis: int, width: int) -> None:
    """Give a bare parameter another length along one axis."""
    shape = list(module._parameters[name].shape)  # type: ignore[union-attr]
    shape[axis] = width
    _resize(module, name, tuple(shape))


def _fit(module: Any) -> None:
    """Bring the parameters of a layer to the shapes that its attributes say."""
    if isinstance(module, nn.Linear):
        shape: tuple[int, ...] = (module.out_features, module.in_features)
        length = module.out_features
    elif isinstance(module, _CONVOLUTIONS):
        shape = (module.out_channels, max(1, module.in_channels // module.groups), *module.kernel_size)
        length = module.out_channels
    else:
        sizes = ("num_features", "num_channels", "num_parameters")
        stated = [getattr(module, size) for size in sizes if hasattr(module, size)]
        length = stated[0] if stated else module.normalized_shape[0]
        shape = (length,)
    _resize(module, "weight", shape)
    for name in ("bias", "running_mean", "running_var"):
        _resize(module, name, (length,))


def _resize(module: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    parameter = module._parameters.get(name)
    if parameter is not None and tuple(parameter.shape) != shape:
        module._parameters[name] = nn.Parameter(parameter.new_empty(shape), requires_grad=parameter.requires_grad)
    buffer = module._buffers.get(name)
    if buffer is not None and tuple(buffer.shape) != shape:
        module._buffers[name] = torch.empty(shape, dtype=buffer.dtype, device=buffer.device)
