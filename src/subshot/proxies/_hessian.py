"""Products of the loss's Hessian with its gradient, and whether a network can be differentiated twice."""

from collections.abc import Sequence

import torch
from torch import Tensor

from subshot.errors import NetworkError


def hessian_products(value: Tensor, weights: Sequence[Tensor]) -> list[Tensor | None]:
    """H g for each weight, Hessian of the loss times its gradient, in two backward passes.

    The gradient is taken apart from that of :func:`first_order`: some functions of torch run other kernels where their
    backward pass has to be differentiable itself, and no value may depend on what else is computed.

    Raises:
        NetworkError: Network or loss compute something that can be differentiated once only.
    """
    try:
        gradients = torch.autograd.grad(value, list(weights), create_graph=True, allow_unused=True)
        check_twice(gradients)
        # d/dw of <stop(g), g> is H g: the graph of g is differentiated once, in the direction g.
        terms = [(one.detach() * one).sum() for one in gradients if one is not None and one.requires_grad]
        if not terms:  # the loss is linear in the weights
            return [None for _ in weights]
        found = torch.autograd.grad(sum(terms[1:], terms[0]), list(weights), allow_unused=True)
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise NetworkError(f"Network or loss can't be differentiated twice: {str(error).rstrip('.')}.") from None
    return [None if one is None else one.detach() for one in found]


def check_twice(gradients: Sequence[Tensor | None]) -> None:
    """Look for functions that are marked as differentiable once: torch leaves them out of second derivatives silently.

    Raises:
        NetworkError: There is one.
    """
    todo = [one.grad_fn for one in gradients if one is not None and one.grad_fn is not None]
    seen = set(todo)
    while todo:
        node = todo.pop()
        if node.name().endswith("::Error"):
            raise NetworkError("Network or loss can't be differentiated twice: a function of their own is marked so.")
        for one, _ in node.next_functions:
            if one is not None and one not in seen:
                seen.add(one)
                todo.append(one)
