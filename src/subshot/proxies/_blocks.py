"""Which modules of a network are its blocks.

A network names its own by a method, in the order in which they run::

    def feature_blocks(self) -> Sequence[nn.Module]: ...

For any other they are guessed: the tree of modules is followed from the network through sequences, lists and stacks of
like layers (such as a transformer encoder), and what is found at their ends is a block if it has parameters.
"""

from torch import nn


def find_blocks(network: nn.Module) -> tuple[list[nn.Module], bool]:
    """The network's blocks, and whether they had to be guessed."""
    named = getattr(network, "feature_blocks", None)
    if callable(named) and not isinstance(named, nn.Module):
        return list(named()), False
    children = list(network.children())
    if len(children) == 1:  # a wrapper
        return find_blocks(children[0])
    found = {id(block): block for child in children for block in _ends(child)}  # one that stands twice is one
    return list(found.values()), True


def _ends(module: nn.Module) -> list[nn.Module]:
    """Modules with parameters at the ends of containers."""
    if _contains(module):
        return [block for child in module.children() for block in _ends(child)]
    return [module] if next(module.parameters(), None) is not None else []


def _contains(module: nn.Module) -> bool:
    """Whether a module is nothing but its children one after the other."""
    if isinstance(module, nn.ModuleList) or type(module).forward is nn.Sequential.forward:
        return True
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len(child) > 1:
            kinds = {type(one) for one in child}
            if len(kinds) == 1 and nn.Sequential not in kinds and next(child[0].children(), None) is not None:
                return True
    return False
