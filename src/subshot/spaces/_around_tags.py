"""Who made which number: tags of layer and channel, and the book of what has to have the same width."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

NONE = -1
STEP = 1 << 32  # tags are owner * STEP + channel


@dataclass
class Owner:
    """A layer, or a bare parameter, that decides how many channels there are.

    Attributes:
        path: Name in the network.
        width: Channels.
        shape: Of a bare parameter.
        axis: Which axis of a bare parameter has the channels, once known.
    """

    path: str
    width: int
    shape: tuple[int, ...] | None = None
    axis: int | None = None


@dataclass
class Group:
    """Layers and bare parameters that must have the same width.

    Attributes:
        layers: Paths, in the order in which they run.
        parameters: Paths and axes.
        width: Channels now.
        divisor: What the width has to be a multiple of.
        closed: Why the width can't change.
    """

    layers: list[str] = field(default_factory=list)
    parameters: list[tuple[str, int]] = field(default_factory=list)
    width: int = 0
    divisor: int = 1
    closed: str = ""


@dataclass
class Visit:
    """One call of a module.

    Attributes:
        source: Identity of the input tensor.
        result: Identity of the output tensor.
        residual: Whether the output has the channels and shape of the input, to which something was added.
    """

    source: int
    result: int
    residual: bool


@dataclass
class Trace:
    """What a run showed.

    Attributes:
        groups: Coupled layers.
        visits: Calls of each module that maps one tensor to one, by path.
        head: Path of the layer whose channels are the outputs.
        outputs: How many there are.
        called: Paths of the layers that ran.
        feeds: By the path of a layer, the first layer of the group that feeds it.
    """

    groups: list[Group]
    visits: dict[str, list[Visit]]
    head: str | None
    outputs: int
    called: list[str]
    feeds: dict[str, str]


class Ledger:
    """Owners of channels, in groups that grow as their channels meet."""

    def __init__(self) -> None:
        self.owners: list[Owner] = []
        self.closed: dict[int, str] = {}
        self.divisors: dict[int, int] = {}
        self._parents: list[int] = []

    def new(self, owner: Owner) -> int:
        """A number for a new owner."""
        self.owners.append(owner)
        self._parents.append(len(self._parents))
        return len(self._parents) - 1

    def root(self, owner: int) -> int:
        """The owner that stands for its group."""
        while self._parents[owner] != owner:
            owner = self._parents[owner]
        return owner

    def close(self, tags: Tensor, reason: str) -> None:
        """The owners of these tags can't change their widths; the first reason counts."""
        for owner in torch.unique(tags[tags != NONE] // STEP).tolist():
            self.closed.setdefault(owner, reason)

    def divide(self, row: Tensor, divisor: int) -> None:
        """The widths of the owners of these tags have to be multiples."""
        for owner in torch.unique(row[row != NONE] // STEP).tolist() if divisor > 1 else ():
            known = self.divisors.get(owner, 1)
            self.divisors[owner] = int(torch.lcm(torch.tensor(known), torch.tensor(divisor)))

    def couple(self, first: Tensor, second: Tensor) -> None:
        """Make the owners of two broadcastable tensors of tags one group, if their channels agree."""
        if first.shape == second.shape and torch.equal(first, second):
            return
        one, two = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]
        axes = [axis for axis in range(one.dim()) if not (constant(one, axis) and constant(two, axis))]
        for axis in set(range(one.dim())) - set(axes):
            one, two = one.narrow(axis, 0, 1), two.narrow(axis, 0, 1)
        pairs = torch.stack([one.reshape(-1), two.reshape(-1)])
        # Where something comes from nowhere, the other side can't follow it.
        alone = (pairs == NONE).any(dim=0)
        self.close(pairs[:, alone], "it meets channels of fixed number")
        pairs = pairs[:, ~alone]
        owners = torch.unique(pairs // STEP, dim=1).T.tolist()
        owners.sort(key=lambda pair: sum(self.owners[o].axis is None and self.is_param(o) for o in pair))
        for a, b in owners:
            chosen = pairs[:, (pairs[0] // STEP == a) & (pairs[1] // STEP == b)] % STEP
            self._unite(a, b, chosen[0], chosen[1])

    def is_param(self, owner: int) -> bool:
        """Whether it is a bare parameter."""
        return self.owners[owner].shape is not None

    def _unite(self, a: int, b: int, left: Tensor, right: Tensor) -> None:
        """Unite two owners whose channels ``left`` meet the channels ``right``."""
        if self.is_param(a) and self.owners[a].axis is None:
            a, b, left, right = b, a, right, left
        if self.is_param(a):
            if self.owners[a].axis is None:  # both of unknown axis: two embeddings of the same shape
                if a != b and not torch.equal(left, right):
                    self.closed.setdefault(a, "its axes aren't clear")
                    self.closed.setdefault(b, "its axes aren't clear")
                elif a != b:
                    self._parents[self.root(b)] = self.root(a)
                return
            left = self._channel(a, left)
        if self.is_param(b):
            if self.owners[b].axis is None:
                self._find_axis(b, left, right, self.width(a))
            if self.owners[b].axis is None:
                self.closed.setdefault(a, "it meets a parameter of another shape")
                self.closed.setdefault(b, "it meets channels of another number")
                return
            right = self._channel(b, right)
        if not torch.equal(left, right):
            self.closed.setdefault(a, "its channels meet others in another order")
            self.closed.setdefault(b, "its channels meet others in another order")
        if a != b:
            self._parents[self.root(b)] = self.root(a)

    def width(self, owner: int) -> int:
        one = self.owners[owner]
        return one.width if one.shape is None else one.shape[one.axis or 0]

    def _find_axis(self, owner: int, channels: Tensor, numbers: Tensor, width: int) -> None:
        shape = self.owners[owner].shape
        assert shape is not None
        for axis in reversed(range(len(shape))):
            if shape[axis] == width and torch.equal(_unravelled(numbers, shape, axis), channels):
                self.owners[owner].axis = axis
                return

    def _channel(self, owner: int, numbers: Tensor) -> Tensor:
        one = self.owners[owner]
        assert one.shape is not None
        assert one.axis is not None
        return _unravelled(numbers, one.shape, one.axis)


def constant(tags: Tensor, axis: int) -> bool:
    """Whether tags are alike along an axis."""
    return tags.shape[axis] == 1 or bool((tags == tags.narrow(axis, 0, 1)).all())


def compress(tags: Tensor, keep: int | None = None) -> Tensor:
    """The tags with length 1 along every axis on which they are alike, but for one to keep."""
    for axis in range(tags.dim()):
        if axis != keep and constant(tags, axis):
            tags = tags.narrow(axis, 0, 1)
    return tags


def _unravelled(numbers: Tensor, shape: tuple[int, ...], axis: int) -> Tensor:
    step = 1
    for size in shape[axis + 1 :]:
        step *= size
    return numbers // step % shape[axis]
