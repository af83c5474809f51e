"""What torch's functions do to tags: which ones move numbers, and how tags follow those that don't."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from subshot.spaces._around_tags import NONE, compress, constant

MOVES = frozenset(
    {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT", "adjoint"}
    | {"reshape", "view", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "__getitem__", "select"}
    | {"narrow", "chunk", "split", "tensor_split", "unbind", "cat", "concat", "concatenate", "stack", "hstack"}
    | {"vstack", "expand", "expand_as", "broadcast_to", "repeat", "tile", "view_as", "reshape_as", "roll"}
    | {"flip", "index_select", "repeat_interleave", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle"}
    | {"unfold"}
)
REDUCTIONS = frozenset({"mean", "sum", "amax", "amin", "max", "min", "std", "var", "logsumexp", "norm", "nanmean"})
PRODUCTS = frozenset(
    {"matmul", "__matmul__", "__rmatmul__", "bmm", "mm", "mv", "dot", "einsum", "tensordot", "baddbmm"}
    | {"addmm", "addbmm", "linear", "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d"}
    | {"conv_transpose2d", "conv_transpose3d", "scaled_dot_product_attention", "embedding", "cdist", "outer"}
    | {"multi_head_attention_forward", "lstm", "gru", "rnn_tanh", "grid_sample", "cumsum", "cumprod", "sort"}
    | {"gather", "scatter", "where_index"}
)


def moved(
    func: Any, call: tuple[tuple[Any, ...], dict[str, Any]], inputs: list[Tensor], tags: list[Tensor | None]
) -> list[Tensor] | None:
    """The same movement of the tags."""
    by_id = {}
    for tensor, tag in zip(inputs, tags, strict=True):
        if tag is not None:
            by_id[id(tensor)] = tag.clone(memory_format=torch.contiguous_format)
        elif tensor.is_floating_point():
            by_id[id(tensor)] = torch.full(tensor.shape, NONE)
    try:
        args, kwargs = tree_map(lambda leaf: by_id.get(id(leaf), leaf) if isinstance(leaf, Tensor) else leaf, call)
        moved = func(*args, **kwargs)
    except Exception:  # such as an index without values, on the meta device
        return None
    return [leaf for leaf in tree_leaves(moved) if isinstance(leaf, Tensor)]


def broadcasts(shape: tuple[int, ...], tags: Tensor) -> bool:
    """Whether a tensor of ``shape`` has length 1 wherever tags differ."""
    varying = [axis - tags.dim() for axis in range(tags.dim()) if not constant(tags, axis)]
    return all(-axis > len(shape) or shape[axis] == 1 for axis in varying)


def spread(tags: Tensor, results: list[Tensor]) -> list[Tensor] | None:
    """Tags of results that differ only along axes on which the tags are alike, as after pooling; else ``None``."""
    small = compress(tags)
    for result in results:
        if result.dim() != tags.dim() or any(n not in (1, m) for n, m in zip(small.shape, result.shape, strict=True)):
            return None
    return [small.expand(result.shape) for result in results]
